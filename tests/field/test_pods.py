"""Pods from the field: how their runs ended, or what they wait for."""

import json
from pathlib import Path

from adapters.kube.observing import LIMITS, RUN
from factories.kube_objects import at, job_body, make_job, pod_body
from infpop_operator.adapters.kube.observe import RunHints, observe_run
from infpop_operator.adapters.kube.record_parsing import parse_pod
from infpop_operator.core.model import Lost, Observation, Waiting

# By the recording's id: the reason of the run's loss, and parts of its detail.
LOST = {
    "O01": ("NodeRefused", ("node gpu-7", "OutOfnvidia.com/gpu", "capacity: 0")),
    "O03": ("NodeRefused", ("node gpu-7", "UnexpectedAdmissionError", "GPU is lost")),
    "O05": ("NodeRefused", ("node gpu-7", "NodeAffinity")),
    "O06c": ("NodeShutdown", ("node gpu-7", "imminent node shutdown")),
}
WAITING = {"O07": ("InvalidContainerConfig", ("driver not loaded",))}


def test_recorded_pods_end_as_wanted(field: Path) -> None:
    """A refusal or a shutdown of the node is named and not counted; a Pod that waits names the driver."""
    cases = {case["id"]: case["status"] for case in json.loads((field / "pods.json").read_text())}
    assert cases.keys() == LOST.keys() | WAITING.keys()
    for case, (reason, parts) in (LOST | WAITING).items():
        found = _observed(cases[case])
        assert isinstance(found, Lost if case in LOST else Waiting), (case, found)
        assert found.reason == reason, case
        assert all(part in found.detail for part in parts), (case, found.detail)
        assert not isinstance(found, Lost) or not found.counts, case


def _observed(status: dict[str, object]) -> Observation:
    body = pod_body(job_body(), **status)
    body["spec"]["nodeName"] = "gpu-7"
    return observe_run(RUN, make_job(), [parse_pod(body)], RunHints(), LIMITS, at(100)).observation
