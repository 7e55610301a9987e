"""A Pod evicted by its own kubelet ends its run, although the Job creates another: that would be evicted as well."""

from dataclasses import replace

import pytest

from adapters.kube.observing import (
    DRAINED,
    EXPIRED,
    FAILED,
    LIMITS,
    NEXT,
    NOTHING,
    RUN,
    SUSPENDED,
    job_end,
    measured,
    message,
    seen,
)
from factories.kube_objects import at, make_bound, make_ended, make_job, make_pod, make_running
from infpop_operator.adapters.kube.observe import RunHints, observe_run
from infpop_operator.adapters.kube.records import JobRecord, PodRecord
from infpop_operator.core.model import Finished, Lost, Running, Waiting
from infpop_runner.contract import Broken

LOW = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 24Mi. Container runner was using 9Gi"
WORDS = f"the kubelet evicted the Pod: {LOW}"
DISK = "The node was low on resource: ephemeral-storage. "
# As the kubelet leaves the Pod.
EVICTED = {
    "phase": "Failed",
    "failure": f"Evicted: {LOW}",
    "evicted": LOW,
    "disrupted": f"TerminationByKubelet: {LOW}",
    "disrupted_at": at(100),
}
REPLACEMENTS = [
    make_pod(**NEXT, unschedulable="0/1 nodes: memory-pressure"),
    make_bound(**NEXT | {"scheduled_at": at(210)}),
    make_running(**NEXT),
    make_ended(143, "", **NEXT | DRAINED, finished=250),
    make_ended(1, "another cause", **NEXT, finished=250),
]


def evicted(code: int = 137, left: str = "", **changes: object) -> PodRecord:
    """Return a Pod that was evicted for memory at second 100 and left this message."""
    return make_ended(code, left, **EVICTED | changes)


@pytest.mark.parametrize("job", [make_job(), make_job(**FAILED), make_job(**EXPIRED), make_job(**SUSPENDED)])
@pytest.mark.parametrize(
    "pod",
    [
        evicted(),
        evicted(0, "loaded 80 %"),
        evicted(0, message(broken="Stopped"), phase="Succeeded", failure=None),  # the runner responded in time
        evicted(143, message(complete=False)),
    ],
)
def test_an_eviction_for_memory_is_the_runs_own_loss(job: JobRecord, pod: PodRecord) -> None:
    """It uses the failure budget, with the kubelet's message, whatever the runner did in its last second."""
    lost = seen(job, pod)
    assert isinstance(lost, Lost)
    assert (lost.reason, lost.counts, lost.ended_at) == ("HostOutOfMemory", True, at(100))
    assert lost.detail.startswith(WORDS)


@pytest.mark.parametrize(
    "words",
    [
        DISK,
        "The node was low on resource: inodes. ",
        "The node was low on resource: pids. ",
        "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ",
        'Container runner exceeded its local ephemeral storage limit "1Gi". ',
        'Usage of EmptyDir volume "memory" exceeds the limit "4Gi". ',
    ],
)
@pytest.mark.parametrize("disrupted", [None, "TerminationByKubelet: x"])
def test_an_eviction_for_anything_else_has_a_name_of_its_own(words: str, disrupted: str | None) -> None:
    """Disk and process ids are not memory; the kubelet's message says which resource ran short."""
    detail = f"the kubelet evicted the Pod: {words.strip()}; {NOTHING}"
    pod = evicted(evicted=words, disrupted=disrupted)
    assert seen(make_job(), pod) == Lost(reason="Evicted", detail=detail, ended_at=at(100))


def test_a_pod_that_was_evicted_before_it_ran_is_reported_in_the_same_way() -> None:
    """Its container has no message."""
    lost = seen(make_job(), make_bound(**EVICTED | {"evicted": DISK}))
    detail = f"the kubelet evicted the Pod: {DISK.strip()}; {NOTHING}"
    assert lost == Lost(reason="Evicted", detail=detail, ended_at=at(100))


def test_a_pod_that_is_being_evicted_is_waited_for_under_its_own_name() -> None:
    """The kubelet reports it before the container has ended: the run is not preempted, and no other Pod takes over."""
    pod = make_running(evicted=LOW, disrupted=EVICTED["disrupted"], disrupted_at=at(90))
    assert seen(make_job(), pod) == Waiting(reason="HostOutOfMemory", detail=WORDS)
    lost = seen(make_job(), pod, now=3700)  # its Node does not respond any more
    assert isinstance(lost, Lost)
    assert (lost.reason, lost.counts) == ("HostOutOfMemory", True)


@pytest.mark.parametrize("replacement", REPLACEMENTS)
def test_a_replacement_is_not_waited_for(replacement: PodRecord) -> None:
    """An operator that was down meanwhile also sees the eviction, and the devices of the replacement."""
    observed = observe_run(RUN, make_job(), [evicted(), replacement], RunHints(), LIMITS, at(300))
    lost = observed.observation
    assert isinstance(lost, Lost)
    assert (lost.reason, lost.counts) == ("HostOutOfMemory", True)
    assert observed.pod == evicted()
    finished_at = None if replacement.container is None else replacement.container.finished_at
    held_until = None if replacement.scheduled_at is None else finished_at or at(300)
    assert (lost.ended_at, observed.held_until) == (at(100), held_until)


@pytest.mark.parametrize("replacement", [*REPLACEMENTS, None])
def test_what_was_measured_before_an_eviction_is_kept(replacement: PodRecord | None) -> None:
    """A complete result counts; in a partial one the missing trials have the eviction as their reason."""
    others = [] if replacement is None else [replacement]
    whole = seen(make_job(), evicted(0, message(0, 1)), *others, now=300)
    assert isinstance(whole, Finished)
    assert (whole.result.trials, whole.result.broken) == ((measured(0), measured(1)), None)
    part = seen(make_job(), evicted(0, message(0, broken="Stopped")), *others, now=300)
    assert isinstance(part, Finished)
    assert (part.result.trials, part.result.broken) == (
        (measured(0),),
        Broken(reason="HostOutOfMemory", detail=WORDS),
    )


def test_what_a_replacement_measured_is_kept() -> None:
    """If the operator was down, the replacement may have done the work: the Pod that measured most counts."""
    done = make_ended(0, message(0, 1), **NEXT, finished=290)
    for left in ("", message(0, complete=False)):
        observed = observe_run(RUN, make_job(), [evicted(137, left), done], RunHints(), LIMITS, at(300))
        assert isinstance(observed.observation, Finished)
        assert observed.observation.result.broken is None
        assert (observed.pod, observed.observation.ended_at, observed.held_until) == (done, at(290), None)


def test_of_several_evictions_the_last_is_reported() -> None:
    """Each Pod that the Job created meanwhile was evicted."""
    second = replace(evicted(**NEXT), evicted=DISK)
    lost = seen(make_job(), evicted(), second, now=300)
    assert isinstance(lost, Lost)
    assert lost.reason == "Evicted"


def test_a_load_that_an_eviction_ended_is_reported_for_the_trial() -> None:
    """The engine was loaded and had measured nothing: the trial on which it died is a suspect."""
    observation = seen(make_job(), evicted(137, message(complete=False, load_seconds=5.0)))
    assert isinstance(observation, Finished)
    assert observation.result.broken == Broken(reason="HostOutOfMemory", detail=WORDS)
    disk = seen(make_job(), evicted(137, message(complete=False, load_seconds=5.0), evicted=DISK))
    assert isinstance(disk, Finished)
    assert disk.result.broken == Broken(reason="RunnerError", detail=f"the kubelet evicted the Pod: {DISK.strip()}")


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Terminated", "Pod was terminated in response to imminent node shutdown."),
        ("Preempting", "Preempted in order to admit critical pod"),
    ],
)
def test_an_eviction_in_favour_of_other_pods_costs_nothing(reason: str, words: str) -> None:
    """Its Node shuts down, or a critical Pod needs the room: the Job creates another Pod, and the run waits for it."""
    taken = {"disrupted": f"TerminationByKubelet: {words}", "disrupted_at": at(90), "failure": f"{reason}: {words}"}
    pod = make_ended(143, "", **taken)
    assert seen(make_job(), pod) == Waiting(reason="Preempted", detail=f"TerminationByKubelet: {words}")
    lost = seen(make_job(ending=job_end("BackoffLimitExceeded")), pod)
    assert isinstance(lost, Lost)
    assert (lost.reason, lost.counts) == ("Preempted", False)
    assert isinstance(seen(make_job(), pod, make_running(**NEXT), now=300), Running)


def test_a_pod_that_its_kubelet_refuses_was_not_evicted() -> None:
    """The kubelet also calls it Evicted; it is a refusal like others, and the run never had a device."""
    refused = "Evicted: Pod was rejected: The node had condition: [MemoryPressure]."
    assert seen(make_job(), make_bound(phase="Failed", failure=refused)) == Lost(
        reason="NodeRefused", detail=f"node n1 refused the Pod: {refused}", ended_at=at(100), counts=False, node="n1"
    )
