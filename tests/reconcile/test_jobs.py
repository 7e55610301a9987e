"""The Job of a run: its time limits, the settings of its Pod, and how API server refusals are handled."""

from dataclasses import replace

import pytest

from factories.kube_objects import OWNER, make_node
from factories.resolved import SETTINGS, make_resolved
from factories.studies import START, make_cell
from infpop_operator.adapters.kube.errors import KubeQuotaError, KubeRefusedError
from infpop_operator.adapters.kube.job_manifest import PodSettings, build_job
from infpop_operator.adapters.kube.observe import PhaseLimits
from infpop_operator.adapters.kube.scale_up import NodeLabels
from infpop_operator.api.spec_pool import Toleration
from infpop_operator.cluster.jobs import job_of, phase_limits, pod_settings, refusal
from infpop_operator.core.model import Lost, PlannedTrial, Run
from infpop_operator.core.run_spec import build_run_spec
from infpop_operator.settings import PrometheusSettings, Settings

TIMEOUTS = {"schedule": "11m", "pull": "13m", "load": "17m", "measure": "19m500ms"}
SCHEDULE, PULL, LOAD, MEASURE = 660.0, 780.0, 1020.0, 1140.5
START_AND_RESULT, LAST_RESORT = 120.0, 60.0
HELD = replace(SETTINGS, prometheus=PrometheusSettings(url="http://prometheus:9090"), scrape_grace_seconds=45.0)
EVERYTHING = {
    "model": {
        "name": "example/model",
        "tokenSecretRef": {"name": "hf-token", "key": "token"},
        "cacheClaim": "hf-cache",
    },
    "engine": {"name": "vllm", "image": "example.org/vllm:2", "imagePullSecrets": [{"name": "a"}, {"name": "b"}]},
    "workload": {"source": {"configMap": {"name": "prompts", "key": "file.jsonl", "field": "prompt"}}},
    "measurement": {"timeouts": TIMEOUTS},
    "nodePools": [
        {"name": "v100", "gpuProduct": "V100"},
        {
            "name": "a100",
            "gpuProduct": "A100",
            "image": "example.org/a100:3",
            "nodeSelector": {"zone": "one"},
            "tolerations": [
                {"key": "dedicated", "value": "tuning", "effect": "NoExecute", "tolerationSeconds": 60},
                {"operator": "Exists"},
            ],
            "resources": {"cpu": 8, "memory": "64Gi"},
        },
    ],
    "scheduling": {"queueName": "gpus", "priorityClassName": "low"},
}
SETTINGS_OF_EVERYTHING = PodSettings(
    image="example.org/a100:3",
    image_pull_secrets=("a", "b"),
    token_secret=("hf-token", "token"),
    cache_claim="hf-cache",
    workload_config_map=("prompts", "file.jsonl"),
    node_selector={"zone": "one"},
    tolerations=(
        Toleration(key="dedicated", value="tuning", effect="NoExecute", toleration_seconds=60),
        Toleration(operator="Exists"),
    ),
    node_labels=NodeLabels(any_of=(("nvidia.com/gpu.product", ("NVIDIA-A100-SXM4-40GB",)),)),
    gpu_resource="nvidia.com/gpu",
    cpu="8",
    memory="64Gi",
    queue_name="gpus",
    priority_class="low",
)
NODE = make_node(labels={"zone": "one"})


def make_run(trials: int, *, longer: bool = False) -> Run:
    """Return a run of this many trials on two GPUs of the pool a100."""
    planned = tuple(PlannedTrial(index=index, configuration=make_cell(2, 8 << index)) for index in range(trials))
    return Run(name="study-1", pool="a100", round=1, attempt=1, trials=planned, longer=longer)


@pytest.mark.parametrize(
    ("trials", "longer", "settings", "run_seconds"),
    [
        (1, False, SETTINGS, LOAD + MEASURE + START_AND_RESULT),
        (3, False, SETTINGS, 3 * (LOAD + MEASURE) + START_AND_RESULT),
        (1, True, SETTINGS, LOAD + 3 * MEASURE + START_AND_RESULT),
        (2, True, HELD, 2 * (LOAD + 3 * MEASURE) + 45.0 + START_AND_RESULT),
    ],
    ids=["one trial", "three trials", "measured longer", "held for a scrape"],
)
def test_each_phase_of_a_run_has_its_own_limit(
    trials: int,
    longer: bool,  # noqa: FBT001 - a column of the table
    settings: Settings,
    run_seconds: float,
) -> None:
    """A run may load again for each trial; a second measurement takes longer, which extends only its own limit."""
    spec = make_resolved(measurement={"timeouts": TIMEOUTS}).document.spec
    expected = PhaseLimits(schedule_seconds=SCHEDULE, pull_seconds=PULL, run_seconds=run_seconds)
    assert phase_limits(spec, make_run(trials, longer=longer), settings) == expected


def test_the_whole_job_of_a_run() -> None:
    """The Job has its owner, the run spec, its Pod, and a deadline later than all of InfPop's own limits."""
    resolved, run = make_resolved(NODE, settings=HELD, **EVERYTHING), make_run(2)
    run_seconds = 2 * (LOAD + MEASURE) + 45.0 + START_AND_RESULT
    expected = build_job(
        OWNER,
        run,
        build_run_spec(resolved.study, run, scrape_grace_seconds=45.0),
        SETTINGS_OF_EVERYTHING,
        deadline_seconds=int(SCHEDULE + PULL + run_seconds + LAST_RESORT),
    )
    assert job_of(resolved, run, HELD) == expected


def test_a_deadline_is_rounded_up_to_whole_seconds() -> None:
    """The Job never ends before InfPop's own limits do."""
    job = job_of(make_resolved(measurement={"timeouts": TIMEOUTS}), make_run(1), SETTINGS)
    limits = SCHEDULE + PULL + LOAD + MEASURE + START_AND_RESULT + LAST_RESORT
    assert job["spec"]["activeDeadlineSeconds"] == int(limits) + 1


def test_a_pod_gets_everything_that_the_study_says_of_its_pool() -> None:
    """Field by field, the settings come from the run's own pool."""
    assert pod_settings(make_resolved(NODE, **EVERYTHING), "a100", SETTINGS) == SETTINGS_OF_EVERYTHING


def test_a_pod_gets_nothing_that_the_study_leaves_out() -> None:
    """A minimal study gets the operator's image, and the labels of the Nodes that its pool matched."""
    found = pod_settings(make_resolved(), "a100", SETTINGS)
    labels = (("nvidia.com/gpu.product", ("NVIDIA-A100-SXM4-40GB",)),)
    assert found == PodSettings(image="example.org/runner:1", node_labels=NodeLabels(any_of=labels))


def test_a_pod_has_the_image_of_its_engine_unless_its_pool_has_one() -> None:
    """The operator's image is only the default."""
    changes = {"engine": EVERYTHING["engine"]}
    assert pod_settings(make_resolved(**changes), "a100", SETTINGS).image == "example.org/vllm:2"


def test_a_pool_without_nodes_names_no_labels() -> None:
    """Its node selector is then all that is known of its Nodes."""
    resolved = make_resolved(NODE, **EVERYTHING)
    assert pod_settings(resolved, "v100", SETTINGS).node_labels == NodeLabels()


def test_a_pool_of_cpus_asks_for_cpus() -> None:
    """A GPU count is then a number of CPU ranks."""
    resolved = make_resolved(nodePools=[{"name": "a100", "gpuResource": "cpu"}])
    assert pod_settings(resolved, "a100", SETTINGS).gpu_resource == "cpu"


def test_a_full_quota_is_not_counted_as_a_failure() -> None:
    """The quota may have room later; the message is the API server's."""
    expected = Lost(reason="QuotaExceeded", detail="exceeded quota: gpus", ended_at=START, counts=False)
    assert refusal(KubeQuotaError("exceeded quota: gpus"), START) == expected


def test_a_refused_job_is_counted_as_a_failure() -> None:
    """A user has to change a policy or a name; the failure budget ends the retries."""
    expected = Lost(reason="JobRefused", detail="denied by policy", ended_at=START, counts=True)
    assert refusal(KubeRefusedError("denied by policy"), START) == expected
