"""What `kubectl get` and `kubectl describe` show of studies in each state: read on a terminal of 80 columns."""

from collections.abc import Iterator

import pytest

from cluster.place import Place, throughput
from controlplane.behaviours import Behaviour, Crashes, HangsLoading, PullFails, Succeeds

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("quick_operator")]
COLUMNS = 80
LONGEST_NAME = 28
# Names of 28 characters, by what becomes of the study: the reason of its condition Ready.
STATES = {
    "llama-3-1-8b-instruct-first0": "Succeeded",
    "mixtral-8x7b-instruct-v0-1-b": "Measuring",
    "qwen2-5-coder-14b-instruct-x": "ModelLoading",
    "codellama-13b-instruct-hf-00": "ImagePull",
    "deepseek-coder-6-7b-base-001": "TooManyFailures",
    "starcoder2-15b-instruct-v0-1": "Suspended",
    "gemma-2-27b-it-quantized-awq": "NoMatchingNodes",
    "phi-3-5-mini-instruct-128k-0": "InvalidSpec",
}
SPECS = {
    "Suspended": {"suspend": True},
    "NoMatchingNodes": {"nodePools": [{"name": "h100", "gpuProduct": "H100"}]},
    "InvalidSpec": {"nodePools": [{"name": "a100", "gpuProduct": "A100("}]},
    "TooManyFailures": {"budget": {"maxTrials": 4, "maxFailedTrials": 0}},
}


def behaviour(state: str) -> Behaviour:
    """Return what the runs of a study in this state do."""
    match state:
        case "ModelLoading":
            return HangsLoading()
        case "ImagePull":
            return PullFails(message='Back-off pulling image "registry.example.com/infpop-runner:0.1.0"')
        case "TooManyFailures":
            return Crashes(message="ValueError: unrecognized configuration class LlamaConfig")
        case "Measuring":
            return Succeeds(throughput=throughput, trial_seconds=600)
        case _:
            return Succeeds(throughput=throughput)


@pytest.fixture
def studies(place: Place) -> Iterator[Place]:
    """A place with a study in each state."""
    with place.kubelet(lambda spec, _attempt: behaviour(STATES[spec.model.name.removeprefix("example/")])):
        for name, state in STATES.items():
            spec = {"model": {"name": f"example/{name}"}, "searchSpace": {"gpuCount": [1], "batchSize": [8, 64, 256]}}
            place.study(name, **{**spec, **SPECS.get(state, {})})
        for name, state in STATES.items():
            place.wait_for("Ready", "True" if state == "Succeeded" else "False", reason=state, name=name)
        yield place


def test_the_list_of_studies_fits_on_a_terminal(studies: Place) -> None:
    """With names of up to 28 characters no line is longer than 80, whatever the studies do; `-o wide` has the rest."""
    assert {len(name) for name in STATES} == {LONGEST_NAME}
    table = studies.cluster.kubectl("get", "tstudy", "--namespace", studies.namespace)
    assert max(len(line.rstrip()) for line in table.splitlines()) <= COLUMNS, table
