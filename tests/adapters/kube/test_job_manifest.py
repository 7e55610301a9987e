"""A run's Job is reviewed as a whole: each golden manifest is exactly what the API server receives."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from factories.kube_objects import OWNER, make_node, make_planned_run, make_spec
from infpop_operator.adapters.kube.job_manifest import (
    PodSettings,
    build_job,
    escape_expansion,
)
from infpop_operator.adapters.kube.labels import GPU_PRODUCT_LABELS
from infpop_operator.adapters.kube.node_pools import MatchedPool, PoolQuery, match_pool
from infpop_operator.adapters.kube.scale_up import NodeLabels
from infpop_operator.api.spec_pool import Toleration
from infpop_operator.core.model import PlannedTrial
from infpop_operator.core.study import Configuration
from infpop_runner.contract import EngineSpec, FileSource, ModelSpec, RunSpec

MANIFESTS = Path(__file__).with_name("manifests")
RUN = make_planned_run()
DEFAULT = PodSettings(image="runner:1")
EVERYTHING = PodSettings(
    image="registry.example/runner@sha256:0",
    image_pull_secrets=("pull-a", "pull-b"),
    token_secret=("hf-token", "token"),
    cache_claim="hf-cache",
    workload_config_map=("prompts", "prompts.jsonl"),
    node_selector={"pool": "gpu"},
    tolerations=(
        Toleration(key="dedicated", value="tuning", effect="NoExecute", toleration_seconds=60),
        Toleration(operator="Exists"),
    ),
    node_labels=NodeLabels(
        any_of=(("nvidia.com/gpu.product", ("NVIDIA-A100-SXM4-40GB",)), ("cloud.google.com/gke-accelerator", ("a",)))
    ),
    queue_name="gpus",
    cpu="8",
    memory="64Gi",
    priority_class="low",
)
EXTRA_RUN = replace(
    RUN,
    attempt=2,
    trials=(PlannedTrial(index=0, configuration=Configuration(gpu_count=8, batch_size=4, extra=(("x", 0.5),))),),
)


@pytest.mark.parametrize(
    ("name", "run", "settings"),
    [
        ("default", RUN, DEFAULT),
        ("everything", EXTRA_RUN, EVERYTHING),
        ("cpu", RUN, replace(DEFAULT, gpu_resource="cpu", memory="16Gi")),
    ],
)
def test_the_whole_manifest_is_as_reviewed(name: str, run: Any, settings: PodSettings) -> None:  # noqa: ANN401
    """Every change to a Job is visible as a diff of a golden manifest."""
    spec = make_spec(run)
    job = build_job(OWNER, run, spec, settings, deadline_seconds=5400)
    variables = job["spec"]["template"]["spec"]["containers"][0]["env"]
    assert variables[0] == {"name": "INFPOP_RUN_SPEC", "value": spec.model_dump_json()}
    variables[0] = {"name": "INFPOP_RUN_SPEC", "value": "the spec"}
    assert job == yaml.safe_load((MANIFESTS / f"{name}.yaml").read_text())


def test_the_same_run_has_the_same_manifest() -> None:
    """A second creation conflicts with the first, byte for byte."""
    once, again = (build_job(OWNER, RUN, make_spec(RUN), EVERYTHING, deadline_seconds=1) for _ in range(2))
    assert json.dumps(once) == json.dumps(again)


def terms_of(settings: PodSettings) -> Any:  # noqa: ANN401 - JSON
    """Return the terms of the Pod's node affinity, one of which a Node must meet."""
    pod = build_job(OWNER, RUN, make_spec(RUN), settings, deadline_seconds=1)["spec"]["template"]["spec"]
    return pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]


def test_hosts_are_avoided_whichever_label_matches() -> None:
    """Each alternative excludes them, and without labels they are all that is excluded."""
    avoided = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["h1", "h2"]}
    hosts = replace(DEFAULT, avoided_hosts=("h1", "h2"))
    assert terms_of(hosts) == [{"matchExpressions": [avoided]}]
    labelled = terms_of(replace(hosts, node_labels=EVERYTHING.node_labels))
    assert [term["matchExpressions"][1:] for term in labelled] == [[avoided], [avoided]]
    assert [{"matchExpressions": term["matchExpressions"][:1]} for term in labelled] == terms_of(
        replace(DEFAULT, node_labels=EVERYTHING.node_labels)
    )


@pytest.mark.parametrize("label", GPU_PRODUCT_LABELS)
def test_a_pod_goes_to_the_nodes_that_its_pool_matched(label: str) -> None:
    """Each cloud has its own product label; the affinity names the one that was found, and its value."""
    pool = match_pool(PoolQuery(name="a100", device="cuda", gpu_product="A100"), [make_node(label=label)])
    assert isinstance(pool, MatchedPool)
    settings = replace(DEFAULT, node_labels=pool.node_labels)
    pod = build_job(OWNER, RUN, make_spec(RUN), settings, deadline_seconds=1)["spec"]["template"]["spec"]
    term = {"matchExpressions": [{"key": label, "operator": "In", "values": ["NVIDIA-A100-SXM4-40GB"]}]}
    required = {"nodeSelectorTerms": [term]}
    assert pod["affinity"] == {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


def test_the_usual_toleration_is_there_once() -> None:
    """A study that lists the toleration itself gets it once."""
    usual = Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
    job = build_job(OWNER, RUN, make_spec(RUN), replace(DEFAULT, tolerations=(usual,)), deadline_seconds=1)
    assert len(job["spec"]["template"]["spec"]["tolerations"]) == 1


def expanded(text: str, variables: dict[str, str]) -> str:
    """Return what Kubernetes expands a variable's value to.

    After k8s.io/kubernetes/third_party/forked/golang/expansion/expand.go.
    """
    result, position = "", 0
    while position < len(text):
        if text[position] != "$" or position + 1 == len(text):
            result, position = result + text[position], position + 1
        elif text[position + 1] == "(" and ")" in text[position:]:
            end = text.index(")", position)
            name = text[position + 2 : end]
            result, position = result + variables.get(name, f"$({name})"), end + 1
        elif text[position + 1] == "$":
            result, position = result + "$", position + 2
        else:
            result, position = result + text[position : position + 2], position + 2
    return result


@pytest.mark.parametrize(
    ("text", "seen"),
    [("$(A)b", "secretb"), ("$(B)", "$(B)"), ("$$(A)", "$(A)"), ("$(A", "$(A"), ("$x", "$x"), ("a$", "a$")],
)
def test_kubernetes_would_expand_what_is_not_escaped(text: str, seen: str) -> None:
    """The reimplementation of the expansion follows its documentation."""
    assert expanded(text, {"A": "secret"}) == seen


@given(st.text(st.sampled_from("$()$Aé{ \\"), max_size=30))
def test_no_text_is_expanded(text: str) -> None:
    """Every text in a study reaches the runner unchanged."""
    assert expanded(escape_expansion(text), {"A": "secret", "": "secret"}) == text


@pytest.mark.parametrize("text", ["$(HF_TOKEN)", "$$(HF_TOKEN)", "`id`", "; rm -rf /", "{0.__class__}", '"', "\x00\n"])
def test_hostile_text_is_data(text: str) -> None:
    """A model named like a variable, a command or a format string is that model and nothing else."""
    spec = make_spec(RUN)
    hostile = spec.model_copy(
        update={
            "model": ModelSpec(name=text, revision=text),
            "engine": EngineSpec(name="vllm", args={"load_format": text}),
            "workload": spec.workload.model_copy(update={"source": FileSource(path=text, field=text)}),
        }
    )
    job = build_job(OWNER, RUN, hostile, DEFAULT, deadline_seconds=1)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (value,) = (each["value"] for each in container["env"] if each["name"] == "INFPOP_RUN_SPEC")
    seen = expanded(value, {"HF_TOKEN": "secret", "HOME": "/tmp"})
    assert RunSpec.model_validate_json(seen) == hostile
    expected = build_job(OWNER, RUN, spec, DEFAULT, deadline_seconds=1)
    container["env"] = expected["spec"]["template"]["spec"]["containers"][0]["env"]
    assert job == expected
