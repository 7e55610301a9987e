"""Pods that their Node refused, or ended in its own favour: named, not counted, and told apart from failures."""

from typing import Any

import pytest

from adapters.kube.observing import DRAINED, EXPIRED, LIMITS, NOTHING, RUN, message, seen
from factories.kube_objects import at, job_body, make_bound, make_ended, make_job, pod_body
from infpop_operator.adapters.kube.observe import RunHints, SeenRun, observe_run
from infpop_operator.adapters.kube.record_parsing import parse_pod
from infpop_operator.adapters.kube.records import ContainerRecord, JobRecord, PodRecord
from infpop_operator.core.model import Finished, Lost, Waiting
from infpop_runner.contract import Broken

# The kubelet's own words, Kubernetes 1.24 to 1.34, and those of NVIDIA's device plugin.
REFUSALS = [
    ("OutOfnvidia.com/gpu", "Node didn't have enough resource: nvidia.com/gpu, requested: 1, used: 0, capacity: 0"),
    ("OutOfcpu", "Pod was rejected: Node didn't have enough resource: cpu, requested: 8000, used: 1, capacity: 7"),
    ("OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: 110, capacity: 110"),
    ("UnexpectedAdmissionError", "Pod was rejected: Allocate failed due to no healthy devices present"),
    ("UnexpectedAdmissionError", "Allocate failed due to rpc error: nvml: GPU is lost, which is unexpected"),
    ("NodeAffinity", "Pod was rejected: Predicate NodeAffinity failed"),
    ("NodeName", "Pod was rejected: Predicate NodeName failed"),
    ("TopologyAffinityError", "Resources cannot be allocated with Topology locality"),
    ("Evicted", "Pod was rejected: The node had condition: [DiskPressure]."),
    ("SomethingNew", "of a later kubelet"),
]
NEVER_STARTED: list[dict[str, Any]] = [
    {},
    {"waiting": {"reason": "ContainerCreating"}},
    {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "message": "could not be located"}},
]


def observed(**status: Any) -> SeenRun:  # noqa: ANN401 - a status is JSON
    """Return what is seen of a run whose Pod is bound to a Node and has this status."""
    body = pod_body(job_body(), **status)
    body["spec"]["nodeName"] = "gpu-7"
    return observe_run(RUN, make_job(), [parse_pod(body)], RunHints(), LIMITS, at(100))


@pytest.mark.parametrize("state", NEVER_STARTED)
@pytest.mark.parametrize(("reason", "words"), REFUSALS)
def test_a_refusal_of_the_node_is_named_and_not_counted(reason: str, words: str, state: dict[str, Any]) -> None:
    """The study did nothing wrong, and the run never had a device; the node is named for the person who repairs it."""
    more = {"containerStatuses": [{"name": "runner", "state": state}]} if state else {}
    found = observed(phase="Failed", reason=reason, message=words, **more)
    detail = f"node gpu-7 refused the Pod: {reason}: {words}"
    assert found.observation == Lost(reason="NodeRefused", detail=detail, ended_at=at(100), counts=False, node="gpu-7")
    assert found.held_since is None


@pytest.mark.parametrize(
    ("reason", "words", "lost"),
    [
        ("Terminated", "Pod was terminated in response to imminent node shutdown.", "NodeShutdown"),
        ("NodeShutdown", "Pod was rejected as the node is shutting down.", "NodeShutdown"),
        ("Shutdown", "Node is shutting, evicting pods", "NodeShutdown"),
        ("Preempting", "Preempted in order to admit critical pod", "Preempted"),
    ],
)
@pytest.mark.parametrize("state", [*NEVER_STARTED, {"terminated": {"exitCode": 143, "reason": "Error"}}])
def test_a_pod_that_ends_for_its_node_is_not_counted(reason: str, words: str, lost: str, state: dict[str, Any]) -> None:
    """The node shuts down, or a critical Pod needs the room; a kubelet may say so without a DisruptionTarget."""
    more = {"containerStatuses": [{"name": "runner", "state": state}]} if state else {}
    found = observed(phase="Failed", reason=reason, message=words, **more).observation
    detail = f"node gpu-7: {reason}: {words}; {NOTHING}"
    assert found == Lost(reason=lost, detail=detail, ended_at=at(100), counts=False)


def test_what_was_measured_before_a_shutdown_is_kept() -> None:
    """The runner writes its result on SIGTERM; the missing trial is retried, and no failure is counted."""
    words = "Terminated: Pod was terminated in response to imminent node shutdown."
    found = seen(make_job(), make_ended(143, message(0, broken="Stopped"), failure=words))
    assert isinstance(found, Finished)
    assert [trial.index for trial in found.result.trials] == [0]
    assert found.result.broken == Broken(reason="Stopped", detail=f"node n1: {words}")


@pytest.mark.parametrize(
    ("pod", "job", "reason"),
    [
        (make_ended(1, "x", failure="OutOfcpu: x"), make_job(), "RunnerError"),
        (
            make_bound(phase="Failed", failure="DeadlineExceeded: Pod was active too long"),
            make_job(),
            "DeadlineExceeded",
        ),
        (make_ended(143, "x", failure="DeadlineExceeded: Pod was active too long"), make_job(), "DeadlineExceeded"),
        (make_bound(phase="Failed", failure="a message alone"), make_job(), "PodFailed"),
        (make_bound(phase="Failed"), make_job(), "PodFailed"),
        (make_bound(phase="Failed", failure="OutOfcpu: x", node=None), make_job(), "PodFailed"),
        (make_bound(phase="Failed", failure="x", container=ContainerRecord(exit_code=1)), make_job(), "RunnerError"),
        (make_bound(phase="Failed"), make_job(**EXPIRED), "DeadlineExceeded"),
    ],
)
def test_other_ends_are_no_refusals(pod: PodRecord, job: JobRecord, reason: str) -> None:
    """A container that started, a Pod without a node or a reason, and a deadline are not the node's decision."""
    found = seen(job, pod)
    assert isinstance(found, Lost)
    assert (found.reason, found.node) == (reason, None)


def test_a_pod_that_was_taken_away_is_not_refused() -> None:
    """A drained Pod is replaced by its Job, whatever its kubelet calls it."""
    taken = make_bound(phase="Failed", failure="OutOfcpu: x", **DRAINED)
    assert seen(make_job(), taken) == Waiting(reason="Preempted", detail="EvictionByEvictionAPI: drained")


def test_a_runner_that_sigterm_ended_at_once_is_not_counted() -> None:
    """It cannot handle the signal while its interpreter starts: as when it stops later, the study is not at fault."""
    found = seen(make_job(), make_ended(143, "loading"))
    assert isinstance(found, Lost)
    assert (found.reason, found.counts) == ("Stopped", False)
    assert "exit code 143" in found.detail


@pytest.mark.parametrize(
    ("state", "reason", "detail"),
    [
        ({"waiting": {"reason": "ImagePullBackOff", "message": "x"}}, "ImagePull", "ImagePullBackOff: init container"),
        ({"waiting": {"reason": "CrashLoopBackOff", "message": "x"}}, "InvalidContainerConfig", "CrashLoopBackOff: "),
        ({"waiting": {"reason": "PodInitializing"}}, "ContainerCreating", ""),
        ({"running": {}}, "ContainerCreating", ""),
        ({"terminated": {"exitCode": 0}}, "ContainerCreating", ""),
        ({"terminated": {"exitCode": 1, "message": "no route"}}, "ContainerCreating", "exit code 1"),
    ],
)
def test_a_run_that_waits_for_an_init_container_says_for_which(state: dict[str, Any], reason: str, detail: str) -> None:
    """A mesh or a policy injects them; the runner's own container only says that the Pod initializes."""
    waiting = {"name": "runner", "state": {"waiting": {"reason": "PodInitializing"}}}
    first = {"name": "proxy", "state": state}
    found = observed(initContainerStatuses=[first], containerStatuses=[waiting]).observation
    assert isinstance(found, Waiting)
    assert found.reason == reason
    assert detail in found.detail
    assert bool(detail) == ("init container proxy" in found.detail)


def test_a_run_that_an_init_container_failed_names_it() -> None:
    """Its exit code and its words are the only trace: the runner's container never started."""
    waiting = {"name": "runner", "state": {"waiting": {"reason": "PodInitializing"}}}
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "loading\nkilled"}}
    found = observed(
        phase="Failed", initContainerStatuses=[{"name": "proxy", "state": ended}], containerStatuses=[waiting]
    ).observation
    assert isinstance(found, Lost)
    assert found.reason == "PodFailed"
    words = "the init container proxy failed (exit code 137, OOMKilled); its last output: loading | killed"
    assert found.detail == f"{words}; {NOTHING}"
