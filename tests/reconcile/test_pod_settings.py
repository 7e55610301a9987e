"""The Pod settings of a pool: every study field about Pods, compared as a whole."""

from api import whole_pod_templates
from api.documents import changed_of
from api.whole_studies import SOURCES, WHOLE
from factories.kube_objects import make_node
from factories.resolved import resolve_study
from factories.studies import START
from infpop_operator.adapters.kube.job_manifest import PodSettings
from infpop_operator.adapters.kube.scale_up import NodeLabels
from infpop_operator.api.merged_pod_template import merge_pod_templates
from infpop_operator.api.spec_pod_template import PodTemplate
from infpop_operator.api.spec_pool import Toleration
from infpop_operator.cluster.jobs import pod_settings
from infpop_operator.core.model import History
from infpop_operator.settings import Settings

ENGINE, POOL = (PodTemplate.model_validate(each) for each in (whole_pod_templates.ENGINE, whole_pod_templates.POOL))
GPU_NODE = make_node(labels={"node-key": "node-value"})
BODY = changed_of(WHOLE, {"metadata.uid": "uid-of-the-study", "spec.workload.source": SOURCES["config-map"]})


def settings_of(pool: str, changes: dict[str, object] | None = None) -> PodSettings:
    """Return the Pod settings of a pool of the whole study, with values of the study replaced."""
    settings = Settings(runner_image="example.org/default:3")
    resolved = resolve_study(changed_of(BODY, changes or {}), [GPU_NODE], History(started_at=START), settings)
    return pod_settings(resolved, pool, settings)


def test_every_field_of_a_study_that_is_about_pods_reaches_them() -> None:
    """Images, Secrets, claim, ConfigMap, placement, resources, queue and priority arrive in their own fields."""
    assert settings_of("a100") == PodSettings(
        image="example.org/pool:2",
        image_pull_secrets=("pull-one", "pull-two"),
        token_secret=("hub-secret", "hub-key"),
        cache_claim="model-cache",
        workload_config_map=("map-name", "map-key.jsonl"),
        node_selector={"node-key": "node-value"},
        tolerations=(
            Toleration(key="dedicated", operator="Equal", value="tuning", effect="NoExecute", toleration_seconds=61),
            Toleration(key="spot", operator="Exists", value=None, effect="NoSchedule", toleration_seconds=None),
        ),
        node_labels=NodeLabels(any_of=(("nvidia.com/gpu.product", ("NVIDIA-A100-SXM4-40GB",)),)),
        gpu_resource="nvidia.com/gpu",
        cpu="23",
        memory="65Gi",
        queue_name="local-queue",
        priority_class="low-priority",
        template=merge_pod_templates(ENGINE, POOL),
    )


def test_each_pool_has_its_own_part() -> None:
    """Settings of one pool do not apply to another; settings of the study apply to both."""
    assert settings_of("ranks") == PodSettings(
        image="example.org/engine:1",
        image_pull_secrets=("pull-one", "pull-two"),
        token_secret=("hub-secret", "hub-key"),
        cache_claim="model-cache",
        workload_config_map=("map-name", "map-key.jsonl"),
        gpu_resource="cpu",
        memory="29Gi",
        queue_name="local-queue",
        priority_class="low-priority",
        template=ENGINE,
    )


def test_what_a_study_leaves_out_its_pods_do_not_get() -> None:
    """Without its own image a study uses the operator's; other omitted settings stay empty."""
    bare = {"name": "here", "gpuResource": "cpu"}
    changes: dict[str, object] = {
        "spec.model": {"name": "org/codegen"},
        "spec.engine": {"name": "vllm"},
        "spec.workload": {},
        "spec.nodePools": [bare],
        "spec.scheduling": {},
    }
    assert settings_of("here", changes) == PodSettings(image="example.org/default:3", gpu_resource="cpu")
