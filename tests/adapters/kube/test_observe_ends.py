"""However a run on a cluster ends: measured trials are kept, and missing ones have a reason."""

from dataclasses import replace
from datetime import timedelta
from json import dumps

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
from factories.studies import START
from infpop_operator.adapters.kube.observe import RunHints, observe_run
from infpop_operator.adapters.kube.records import ContainerRecord, JobRecord, PodRecord
from infpop_operator.core.model import Finished, Lost, Phase, Running, Waiting
from infpop_runner.contract import Broken, RunResult


@pytest.mark.parametrize(
    ("job", "pod"),
    [
        (make_job(), make_ended(0, message(0, 1))),
        (make_job(), make_ended(1, message(0, 1))),  # what the container did after its result does not matter
        (make_job(), make_ended(0, message(0, 1), **DRAINED)),
        (make_job(), make_ended(0, message(0, 1), deleting=True)),
        (make_job(end=job_end("Complete", complete=True)), make_ended(0, message(0, 1))),
        (make_job(**EXPIRED), make_ended(0, message(0, 1))),
        (make_job(), make_ended(0, message(broken="LoadTimeout"))),
        (make_job(**EXPIRED), make_ended(0, message(broken="LoadTimeout"))),
    ],
)
def test_a_complete_result_is_the_end_whatever_else_happened(job: JobRecord, pod: PodRecord) -> None:
    """The Pod shows it before the Job controller has reported anything."""
    assert pod.container is not None
    result = RunResult.model_validate_json(pod.container.terminated_message or "")
    assert seen(job, pod) == Finished(result=result, ended_at=at(100))


@pytest.mark.parametrize(
    ("pod", "reason", "detail"),
    [
        (
            make_ended(137, reason="OOMKilled"),
            "HostOutOfMemory",
            f"the container was killed at its memory limit (OOMKilled); {NOTHING}",
        ),
        (make_ended(137), "Killed", f"the runner was killed (SIGKILL); {NOTHING}"),
        (
            make_ended(2, "infpop-runner: run spec: no"),
            "RunnerError",
            f"the runner did not accept its arguments or spec: infpop-runner: run spec: no; {NOTHING}",
        ),
        (
            make_ended(1, "loading\n\x1b[31mValueError: x\x1b[0m\n"),
            "RunnerError",
            f"the runner ended with exit code 1; its last output: loading | ValueError: x; {NOTHING}",
        ),
        (make_ended(1), "RunnerError", f"the runner ended with exit code 1; {NOTHING}"),
        (make_ended(0, ""), "MetricsMissing", f"the runner ended with exit code 0; {NOTHING}"),
        (
            make_ended(0, "done"),
            "MetricsMissing",
            (
                "the runner ended with exit code 0; the termination message is not a result: "
                "Invalid JSON: expected value at line 1 column 1"
            ),
        ),
    ],
)
def test_an_end_without_a_result_is_reported_with_the_last_words(pod: PodRecord, reason: str, detail: str) -> None:
    """Out-of-memory on the host, a kill, a crash, an invalid result: each has a name and uses the failure budget."""
    assert seen(make_job(), pod) == Lost(reason=reason, detail=detail, ended_at=at(100))


def test_the_message_of_another_run_is_not_a_result() -> None:
    """A result counts only for the run that it names."""
    observation = seen(make_job(), make_ended(0, message(0, 1, run="other-run")))
    assert isinstance(observation, Lost)
    assert observation.detail.endswith("the termination message belongs to the run 'other-run'")


def test_last_words_are_cut_to_their_end() -> None:
    """A log of any length is cut to the thousand most informative characters."""
    for log in ("a" * 3000 + "the cause", "x\n" * 3000 + "the cause"):
        observation = seen(make_job(), make_ended(1, log))
        assert isinstance(observation, Lost)
        assert len(observation.detail) <= 1000
        assert "the cause" in observation.detail


@pytest.mark.parametrize("reason", ["ContainerStatusUnknown", "Unknown"])
def test_a_lost_node_is_not_counted(reason: str) -> None:
    """A restarted Node has forgotten the container."""
    observation = seen(make_job(), make_ended(255, "could not be located", reason=reason))
    detail = f"the node lost the container: could not be located; {NOTHING}"
    assert observation == Lost(reason="NodeLost", detail=detail, ended_at=at(100), counts=False)


@pytest.mark.parametrize(("log", "said"), [("", ""), ("loading\nexit(-1)\n", "; its last output: loading | exit(-1)")])
def test_a_container_that_the_runtime_lost_is_not_taken_for_a_crash(log: str, said: str) -> None:
    """A runner never exits with 255: containerd reports it when a shim died.

    Log lines are included if there are any.
    """
    detail = f"the container runtime lost the container (exit code 255), as when its shim dies{said}; {NOTHING}"
    assert seen(make_job(), make_ended(255, log)) == Lost(reason="ContainerLost", detail=detail, ended_at=at(100))


@pytest.mark.parametrize(
    ("pod", "job", "broken"),
    [
        (make_ended(137, message(0, complete=False), reason="OOMKilled"), make_job(), "HostOutOfMemory"),
        (make_ended(137, message(0, complete=False)), make_job(), "EngineCrash"),
        (make_ended(255, message(0, complete=False), reason="Unknown"), make_job(), "Stopped"),
        (make_ended(255, message(0, complete=False)), make_job(), "EngineCrash"),
        (make_ended(139, message(0, complete=False)), make_job(), "RunnerError"),
        (make_ended(0, message(0, broken="Stopped"), **DRAINED), make_job(), "Stopped"),
        (make_ended(137, message(0, complete=False), **DRAINED), make_job(), "Stopped"),
        (make_ended(0, message(0, broken="Stopped"), deleting=True), make_job(), "Stopped"),
        (make_ended(0, message(0, broken="Stopped")), make_job(**SUSPENDED), "Stopped"),
        (make_ended(0, message(0, broken="Stopped"), deleting=True), make_job(**EXPIRED), "MeasureTimeout"),
        (
            make_ended(0, message(0, broken="Stopped"), deleting=True),
            make_job(ending=job_end("DeadlineExceeded")),
            "MeasureTimeout",
        ),
    ],
)
def test_what_was_measured_is_kept(pod: PodRecord, job: JobRecord, broken: str) -> None:
    """Whatever ended the run, its first trial has its number, and the second says why it has none."""
    observation = seen(job, pod)
    assert isinstance(observation, Finished)
    assert observation.result.trials == (measured(0),)
    assert observation.result.broken is not None
    assert observation.result.broken.reason == broken
    assert observation.ended_at == at(100)


def test_a_deadline_after_a_load_is_reported_for_the_trial() -> None:
    """The engine was loaded and measured nothing until the deadline: the trial is a suspect."""
    left = message(broken="Stopped", load_seconds=5.0)
    observation = seen(make_job(**EXPIRED), make_ended(0, left, deleting=True))
    assert isinstance(observation, Finished)
    assert observation.result.broken == Broken(reason="MeasureTimeout", detail="m")


def test_an_end_has_the_time_of_the_container() -> None:
    """The time is not that of the observation: devices were held only until the container ended."""
    for left in (message(0, 1), "crashed"):
        observation = seen(make_job(), make_ended(1, left, finished=90), now=1000)
        assert isinstance(observation, Finished | Lost)
        assert observation.ended_at == at(90)


def test_nothing_is_broken_where_all_was_measured() -> None:
    """A Node that disappears after the last trial costs nothing."""
    observation = seen(make_job(), make_ended(137, message(0, 1, complete=False)))
    assert isinstance(observation, Finished)
    assert observation.result.broken is None


@pytest.mark.parametrize(
    ("pod", "job", "lost"),
    [
        (
            make_ended(0, message(broken="Stopped"), **DRAINED),
            make_job(),
            Lost(
                reason="Preempted",
                detail="EvictionByEvictionAPI: drained; nothing was measured",
                ended_at=at(100),
                counts=False,
            ),
        ),
        (
            make_ended(143, "loading", **DRAINED),
            make_job(**FAILED),
            Lost(
                reason="Preempted", detail=f"EvictionByEvictionAPI: drained; {NOTHING}", ended_at=at(100), counts=False
            ),
        ),
        (
            make_ended(143, "", **DRAINED),
            make_job(ending=job_end("BackoffLimitExceeded")),
            Lost(
                reason="Preempted", detail=f"EvictionByEvictionAPI: drained; {NOTHING}", ended_at=at(100), counts=False
            ),
        ),
        (
            make_ended(0, message(broken="Stopped"), deleting=True),
            make_job(),
            Lost(
                reason="Deleted",
                detail="a user or another controller deleted the Pod of this run; nothing was measured",
                ended_at=at(100),
            ),
        ),
        (
            make_bound(phase="Failed", deleting=True),
            make_job(),
            Lost(
                reason="Deleted",
                detail=f"a user or another controller deleted the Pod of this run; {NOTHING}",
                ended_at=at(100),
            ),
        ),
        (
            make_ended(137, "", deleting=True),
            make_job(**EXPIRED),
            Lost(reason="DeadlineExceeded", detail=f"m; {NOTHING}", ended_at=at(100)),
        ),
        (
            make_bound(phase="Failed", failure="something without a reason: no healthy devices"),
            make_job(),
            Lost(
                reason="PodFailed",
                detail=f"something without a reason: no healthy devices; {NOTHING}",
                ended_at=at(100),
            ),
        ),
        (
            make_bound(phase="Succeeded"),
            make_job(),
            Lost(
                reason="PodFailed",
                detail=f"the Pod is Succeeded and reports no state of its container; {NOTHING}",
                ended_at=at(100),
            ),
        ),
    ],
)
def test_who_ended_a_run_decides_what_it_costs(pod: PodRecord, job: JobRecord, lost: Lost) -> None:
    """The end of its Node costs nothing; a deletion and a deadline cost a failure."""
    assert seen(job, pod) == lost


@pytest.mark.parametrize(
    ("job", "lost"),
    [
        (
            make_job(**EXPIRED),
            Lost(reason="DeadlineExceeded", detail=f"m; {NOTHING}", ended_at=at(120)),
        ),
        (
            make_job(**FAILED),
            Lost(
                reason="ResultMissing",
                detail=f"the Job failed and its Pod is gone; BackoffLimitExceeded: m; {NOTHING}",
                ended_at=at(120),
            ),
        ),
        (
            make_job(end=job_end("Complete", complete=True)),
            Lost(
                reason="ResultMissing",
                detail=f"the Job completed and its Pod is gone; Complete: m; {NOTHING}",
                ended_at=at(120),
            ),
        ),
    ],
)
def test_an_ended_job_whose_pod_is_gone_is_lost(job: JobRecord, lost: Lost) -> None:
    """The operator does not wait for a message that can no longer arrive."""
    assert seen(job, now=500) == lost


@pytest.mark.parametrize("pod", [make_running(), make_running(**DRAINED), make_running(deleting=True)])
def test_an_ended_job_has_no_live_pod(pod: PodRecord) -> None:
    """The last known state of a Pod does not keep a run alive whose Job has ended."""
    assert isinstance(seen(make_job(**FAILED), pod, now=500), Lost)


def test_the_last_words_of_a_job_that_is_ending_are_waited_for() -> None:
    """The Job controller first asks the Pod to end; until it has ended, its result may still arrive."""
    job = make_job(ending=job_end("DeadlineExceeded"))
    assert seen(job, make_running(deleting=True)) == Waiting(reason="DeadlineExceeded", detail="m")


@pytest.mark.parametrize(
    "pod",
    [
        make_ended(143, "", **DRAINED),
        make_ended(137, message(complete=False), **DRAINED),
        make_ended(1, message(broken="Stopped"), **DRAINED),
        make_bound(phase="Failed", failure="Evicted: disk", **DRAINED),
    ],
)
def test_a_pod_that_was_taken_away_is_replaced(pod: PodRecord) -> None:
    """The Job creates another Pod by itself: the run waits, and the failure budget is not used."""
    assert seen(make_job(), pod) == Waiting(reason="Preempted", detail="EvictionByEvictionAPI: drained")
    assert seen(make_job(), pod, make_pod(**NEXT), now=300) == Waiting(
        reason="Starting", detail="the Pod waits for the scheduler"
    )


@pytest.mark.parametrize("newest", [make_running(**NEXT, deleting=True, phase="Failed"), make_ended(143, "", **NEXT)])
def test_a_deadline_that_passed_because_of_a_disruption_uses_no_budget(newest: PodRecord) -> None:
    """The first Pod's time counted against the run's deadline."""
    lost = seen(make_job(**EXPIRED), make_running(**DRAINED), newest, now=300)
    assert isinstance(lost, Lost)
    assert (lost.reason, lost.counts) == ("DeadlineExceeded", False)
    alone = seen(make_job(**EXPIRED), newest, now=300)
    assert isinstance(alone, Lost)
    assert alone.counts


@pytest.mark.parametrize(
    "surplus",
    [make_pod(**NEXT, gone=True), make_bound(**NEXT, deleting=True), make_ended(137, **NEXT, deleting=True, gone=True)],
)
def test_a_pod_that_was_one_too_many_says_nothing(surplus: PodRecord) -> None:
    """A Job controller interrupted while creating a Pod creates another, and deletes one of the two."""
    assert seen(make_job(), make_running(), surplus) == Running(phase=Phase.STARTING)
    ended = make_ended(0, message(0, 1))
    assert isinstance(seen(make_job(), ended, surplus), Finished)
    first_taken = replace(make_ended(0, message(broken="Stopped")), deleting=True)
    assert seen(make_job(), first_taken, make_running(**NEXT), now=300) == Running(phase=Phase.STARTING)
    both_taken = seen(make_job(**FAILED), replace(make_running(), gone=True), surplus, now=300)
    assert isinstance(both_taken, Lost)


def test_time_continues_where_an_end_has_no_time() -> None:
    """A container without an end time ended now."""
    pod = make_ended(0, message(0, 1))
    assert pod.container is not None
    timeless = replace(pod, container=replace(pod.container, finished_at=None))
    observation = observe_run(RUN, make_job(), [timeless], RunHints(), LIMITS, START + timedelta(hours=1)).observation
    assert isinstance(observation, Finished)
    assert observation.ended_at == START + timedelta(hours=1)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8, please update your driver",
            "GpuMissing",
        ),
        ('exec: "infpop-runner": executable file not found in $PATH: unknown', "RunnerError"),
    ],
)
def test_a_container_that_cannot_be_started_says_why(words: str, reason: str) -> None:
    """The runtime's own message is the detail; a driver that does not fit the image is named as what it is."""
    pod = make_ended(128, f"failed to create containerd task: OCI runtime create failed\n{words}", reason="StartError")
    lost = seen(make_job(), pod)
    assert isinstance(lost, Lost)
    assert (lost.reason, lost.counts) == (reason, True)
    assert words in lost.detail


HOSTILE = "x\n2026-01-01 INFO forged\x1b[2J\x1b]0;t\x07\u202e\r"


@pytest.mark.parametrize(
    "pod",
    [
        make_ended(
            0, message(complete=True, broken="EngineCrash").replace('"detail":""', f'"detail":{dumps(HOSTILE)}')
        ),
        make_ended(0, message().replace('"broken":null', f'"broken":{{"reason":{dumps(HOSTILE)}}}')),
        make_ended(0, message().replace(f'"{RUN.name}"', dumps(HOSTILE))),
        make_ended(1, HOSTILE),
        make_ended(2, HOSTILE),
        make_ended(255, HOSTILE),
        make_ended(128, HOSTILE, reason="StartError"),
        make_ended(1, HOSTILE, reason="ContainerStatusUnknown"),
        make_bound(phase="Failed", failure=f"Rejected: {HOSTILE}"),
        make_bound(container=ContainerRecord(waiting_reason="CreateContainerError", waiting_message=HOSTILE)),
        make_pod(unschedulable=HOSTILE),
        make_ended(1, "", disrupted=HOSTILE, disrupted_at=at(90)),
        make_ended(1, "", evicted=f"The node was low on resource: memory. {HOSTILE}"),
    ],
)
def test_no_text_of_a_run_forges_a_line(pod: PodRecord) -> None:
    """Whatever a run writes, and wherever, its observation shows it as one line: in log, Events and status."""
    observation = seen(make_job(), pod)
    match observation:
        case Finished(result=result):
            assert result.broken is not None
            said = result.broken.detail
        case Running():
            said = ""
        case _:
            said = observation.detail
    assert said.isprintable()
