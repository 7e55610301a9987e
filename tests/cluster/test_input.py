"""Invariants 9 and 10: the text of a study is data everywhere, and an error is reported before a GPU is taken."""

import json
import re
from typing import Any

import pytest

from cluster.place import Body, Place, throughput
from cluster.studies import find_condition
from controlplane.behaviours import replay
from infpop_runner.contract import RunSpec

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("quick_operator")]

# Kubernetes replaces $(NAME) of variables that it knows and makes $$ one $ (third_party/forked/golang/expansion in its
# sources); shells, Python's templates and YAML have their own ideas of the rest.
HOSTILE = (
    "$(INFPOP_NODE_NAME) $$(HOME) $HOME ${HOME} $(cmd) `cmd`; rm -rf / && {0.__class__} %s %(x)s "
    "\\n \" ' <&> 模型 !!python"
)


def expanded(text: str, known: dict[str, str]) -> str:
    """Return the value of a container's variable, expanded from its pod as the kubelet does."""

    def replacement(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else known.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", replacement, text)


def spec_in(pod: Body) -> RunSpec:
    """Return the spec that the runner in the pod reads."""
    variables = pod["spec"]["containers"][0]["env"]
    known: dict[str, str] = {}
    for variable in variables:
        known[variable["name"]] = expanded(variable.get("value", "of the node"), known)
    return RunSpec.model_validate_json(known["INFPOP_RUN_SPEC"])


def test_arguments_are_data(place: Place) -> None:
    """Invariant 9: names and arguments of a study reach the runner and the result as they were written."""
    place.study(
        model={"name": f"weights {HOSTILE}", "revision": "$(cmd) {x}"},
        engine={"name": "vllm", "args": {"chat_template": HOSTILE, "hf_overrides": '{"a": "$(HF_TOKEN)"}'}},
        searchSpace={
            "gpuCount": [1],
            "batchSize": [8],
            "extra": [{"name": "quantization", "values": [f"--foo; rm -rf / {HOSTILE}"]}],
        },
        publish={"configMap": "best"},
    )
    with place.kubelet(replay(throughput)):
        status = place.wait_for("Succeeded")
        place.wait_until(lambda: place.find("configmap", "best"), what="the ConfigMap")
    (pod,) = place.objects("pod")
    spec = spec_in(pod)
    assert (spec.model.name, spec.model.revision) == (f"weights {HOSTILE}", "$(cmd) {x}")
    assert spec.engine.args == {
        "chat_template": HOSTILE,
        "hf_overrides": '{"a": "$(HF_TOKEN)"}',
        "quantization": f"--foo; rm -rf / {HOSTILE}",
    }
    published = json.loads(place.get("configmap", "best")["data"]["args"])
    assert published == status["best"]["engineArgs"]
    assert f"--chat-template={HOSTILE}" in published
    assert f"--quantization=--foo; rm -rf / {HOSTILE}" in published
    assert pod["spec"]["containers"][0]["command"] == ["infpop-runner"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"nodePools": [{"name": "a100", "gpuProduct": "A100["}]},
            r"nodePools\[0\].gpuProduct: A100\[: is not a regular",
        ),
        (
            {
                "searchSpace": {
                    "gpuCount": [1],
                    "batchSize": [8],
                    "extra": [{"name": "block_size", "values": ["1", "1.0"]}],
                }
            },
            r"searchSpace.extra\[0\].values: 1.0: is listed more than once. List each value once",
        ),
        (
            {"workload": {"source": {"file": {"path": "prompts.jsonl"}}}},
            r"workload.source.file.path: prompts.jsonl: is a relative path.* Give an absolute path",
        ),
        ({"model": {"name": "./weights"}}, r"model.name: ./weights: is a relative path.* Give an absolute path"),
    ],
    ids=["pattern", "equal-values", "relative-file", "relative-model"],
)
def test_problems_beyond_the_schema_are_reported_before_any_gpu_is_taken(
    place: Place, change: dict[str, Any], complaint: str
) -> None:
    """Invariant 10: Accepted=False has field, value and remedy, no Job is created, and a corrected study is tuned."""
    place.study(**change, budget={"maxTrials": 1})
    status = place.wait_for("Accepted", "False", reason="InvalidSpec")
    assert re.search(rf"^spec\.{complaint}", find_condition(status, "Accepted")["message"])
    assert {kind: find_condition(status, kind)["status"] for kind in ("Ready", "Stalled", "Reconciling")} == {
        "Ready": "False",
        "Stalled": "True",
        "Reconciling": "False",
    }
    assert place.objects("job") == []
    place.wait_until(place.reasons, what="an Event")
    assert place.reasons() == ["InvalidSpec"]
    right = place.document(budget={"maxTrials": 1}, workload={"source": {"file": None, "builtin": "code-infilling-v1"}})
    place.patch(
        "study", "study", {"spec": {**right["spec"], "searchSpace": {**right["spec"]["searchSpace"], "extra": None}}}
    )
    with place.kubelet(replay(throughput)):
        place.wait_for("Succeeded")
    assert find_condition(place.status(), "Accepted")["status"] == "True"


def test_a_mistake_keeps_what_was_found(place: Place) -> None:
    """Invariant 10: a change that makes an ended study invalid is reported, and its best stays."""
    place.study(budget={"maxTrials": 1})
    with place.kubelet(replay(throughput)):
        before = place.wait_for("Succeeded")
    place.change(nodePools=[place.pool(gpuProduct="A100[")])
    status = place.wait_for("Accepted", "False")
    assert (status["best"], status["trials"]) == (before["best"], before["trials"])
    place.change(nodePools=[place.pool()])
    status = place.wait_for("Ready")
    assert (status["best"], len(place.objects("job"))) == (before["best"], 1)
