"""Every state of a run on a cluster has a name, a reason within sight, and an end."""

from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.kube.objects import at, make_bound, make_ended, make_job, make_pod, make_running
from conformance.entries import make_run
from infpop_operator.adapters.kube.observe import PhaseLimits, RunHints, observe_run
from infpop_operator.adapters.kube.records import ContainerRecord, JobEnd, JobRecord, PodRecord
from infpop_operator.core.model import Finished, Lost, Observation, Phase, Running, Waiting
from infpop_runner.contract import Broken, Measured, Provenance, RunResult
from simulation.factories import START, make_measured

RUN = make_run()  # two trials, indexes 0 and 1
LIMITS = PhaseLimits(schedule_seconds=600, pull_seconds=1800, run_seconds=3600)
PROVENANCE = Provenance(engine="simulated")
QUOTA = "exceeded quota: gpus, requested: requests.nvidia.com/gpu=2"
REFUSED = f'pods "study-1-x" is forbidden: {QUOTA}'
POLICY = 'violates PodSecurity "restricted:latest": runAsNonRoot != true'
EVICTED = {"disrupted": "EvictionByEvictionAPI: drained", "disrupted_at": at(90)}
SUSPENDED = {"suspended": True, "started_at": None}
NEXT = {"job_uid": "job-uid", "created_at": at(200), "name": "study-1-next"}


def job_end(reason: str, *, complete: bool = False) -> JobEnd:
    """Return the end of a Job at second 120."""
    return JobEnd(complete=complete, reason=reason, message="m", at=at(120))


EXPIRED = {"end": job_end("DeadlineExceeded")}
FAILED = {"end": job_end("BackoffLimitExceeded")}


def measured(index: int) -> Measured:
    """Return a measurement of one of the run's trials."""
    return make_measured(5.0, index=index, batch_size=8 * (index + 1))


def message(*trials: int, broken: str | None = None, complete: bool = True, **changes: object) -> str:
    """Return a termination message with these trials measured."""
    result = RunResult(
        run=RUN.name,
        trials=tuple(measured(index) for index in trials),
        provenance=PROVENANCE,
        broken=None if broken is None else Broken.model_validate({"reason": broken}),
        started_at=START,
        ended_at=at(99) if complete else None,
    )
    return result.model_copy(update=changes).model_dump_json()


def seen(job: JobRecord, *pods: PodRecord, hints: RunHints | None = None, now: float = 100) -> Observation:
    """Return what is seen of the run `now` seconds after its Job's creation."""
    return observe_run(RUN, job, pods, hints or RunHints(), LIMITS, at(now)).observation


def waiting(reason: str, message: str | None = None) -> PodRecord:
    """Return a Pod on its node whose container waits."""
    return make_bound(container=ContainerRecord(waiting_reason=reason, waiting_message=message))


@pytest.mark.parametrize(
    ("pod", "hint", "reason", "detail"),
    [
        (None, None, "Starting", "the Job has no Pod yet"),
        (None, REFUSED, "QuotaExceeded", QUOTA),
        (None, f'pods "study-1-x" is forbidden: {POLICY}', "PodRefused", POLICY),
        (make_pod(), QUOTA, "Starting", "the Pod waits for the scheduler"),
        (make_pod(unschedulable="0/3\nnodes: \x1b[1mno"), None, "Unschedulable", "0/3 | nodes: no"),
        (make_pod(unschedulable=""), None, "Unschedulable", ""),
        (make_bound(), None, "ContainerCreating", ""),
        (waiting("ContainerCreating"), None, "ContainerCreating", ""),
        (waiting("ErrImagePull", "no such tag"), None, "ImagePull", "ErrImagePull: no such tag"),
        (waiting("ImagePullBackOff"), None, "ImagePull", "ImagePullBackOff: "),
        (waiting("InvalidImageName", "x"), None, "ImagePull", "InvalidImageName: x"),
        (waiting("ErrImageNeverPull", "x"), None, "ImagePull", "ErrImageNeverPull: x"),
        (waiting("RegistryUnavailable", "x"), None, "ImagePull", "RegistryUnavailable: x"),
        (
            waiting("CreateContainerConfigError", 'secret "hf" not found'),
            None,
            "MissingSecret",
            'secret "hf" not found',
        ),
        (
            waiting("CreateContainerConfigError", "couldn't find key token in Secret ns/hf"),
            None,
            "MissingSecret",
            "couldn't find key token in Secret ns/hf",
        ),
        (
            waiting("CreateContainerConfigError", "image will run as root"),
            None,
            "InvalidContainerConfig",
            "CreateContainerConfigError: image will run as root",
        ),
        (waiting("RunContainerError", "no infpop-runner"), None, "InvalidContainerConfig", "RunContainerError: no"),
        (waiting("CreateContainerError", "x"), None, "InvalidContainerConfig", "CreateContainerError: x"),
        (make_bound(deleting=True), None, "Deleted", "somebody deleted the Pod of this run"),
        (make_running(deleting=True), None, "Deleted", "somebody deleted the Pod of this run"),
        (make_running(**EVICTED), None, "Preempted", "EvictionByEvictionAPI: drained"),
        (make_pod(disrupted="PreemptionByScheduler: by x"), None, "Preempted", "PreemptionByScheduler: by x"),
    ],
)
def test_a_run_that_does_not_move_says_why(pod: PodRecord | None, hint: str | None, reason: str, detail: str) -> None:
    """The reason is a word, the detail is what the cluster said, on one line."""
    observation = seen(make_job(), *([pod] if pod else []), hints=RunHints(failed_create=hint))
    assert isinstance(observation, Waiting)
    assert observation.reason == reason
    assert observation.detail.startswith(detail)
    assert observation.detail.isprintable()


@pytest.mark.parametrize("phase", [None, Running(phase=Phase.MEASURING, trial_index=1)])
def test_a_running_container_is_in_the_phase_that_it_says(phase: Running | None) -> None:
    """Until it says one, it is starting."""
    expected = phase or Running(phase=Phase.STARTING)
    assert seen(make_job(), make_running(), hints=RunHints(phase=phase)) == expected


QUEUED = Waiting(reason="Queued", detail="the Job is suspended until its queue has room for it")


@pytest.mark.parametrize(
    "pods", [(), (make_running(deleting=True),), (make_ended(143, "", deleting=True),), (make_bound(phase="Failed"),)]
)
def test_a_queue_may_take_its_time_and_take_back_what_it_gave(pods: tuple[PodRecord, ...]) -> None:
    """Kueue holds Jobs back by suspending them: never an error, never too late."""
    assert seen(make_job(**SUSPENDED), *pods, now=10**7) == QUEUED


@pytest.mark.parametrize(
    ("job", "pods", "hints", "end_s", "lost"),
    [
        (
            make_job(),
            (make_pod(unschedulable="0/3 nodes"),),
            RunHints(),
            601,
            Lost(reason="Unschedulable", detail="not scheduled within 10 min: 0/3 nodes", ended_at=START, counts=False),
        ),
        (
            make_job(),
            (),
            RunHints(failed_create=QUOTA),
            600,
            Lost(reason="QuotaExceeded", detail=f"not scheduled within 10 min: {QUOTA}", ended_at=START, counts=False),
        ),
        (
            make_job(),
            (),
            RunHints(failed_create=POLICY),
            600,
            Lost(reason="PodRefused", detail=f"not scheduled within 10 min: {POLICY}", ended_at=START),
        ),
        (
            make_job(started_at=None),
            (),
            RunHints(),
            600,
            Lost(
                reason="Starting",
                detail="not scheduled within 10 min: the Job has no Pod yet",
                ended_at=START,
                counts=False,
            ),
        ),
        (
            make_job(started_at=at(5000)),  # it was in a queue until then
            (),
            RunHints(),
            5600,
            Lost(
                reason="Starting",
                detail="not scheduled within 10 min: the Job has no Pod yet",
                ended_at=START,
                counts=False,
            ),
        ),
        (
            make_job(),
            (make_pod(created_at=at(2000), unschedulable="no"),),  # in place of a Pod that was taken away
            RunHints(),
            2600,
            Lost(reason="Unschedulable", detail="not scheduled within 10 min: no", ended_at=START, counts=False),
        ),
        (
            make_job(),
            (make_bound(),),
            RunHints(),
            1810,
            Lost(reason="ContainerCreating", detail="container not started within 30 min", ended_at=START),
        ),
        (
            make_job(),
            (waiting("ImagePullBackOff", "x"),),
            RunHints(),
            1810,
            Lost(reason="ImagePull", detail="container not started within 30 min: ImagePullBackOff: x", ended_at=START),
        ),
        (
            make_job(),
            (make_bound(deleting=True),),
            RunHints(),
            1810,
            Lost(
                reason="Deleted",
                detail="container not started within 30 min: somebody deleted the Pod of this run",
                ended_at=START,
            ),
        ),
        (
            make_job(),
            (make_running(deleting=True),),
            RunHints(),
            3660,
            Lost(
                reason="Deleted",
                detail="container not ended within 60 min: somebody deleted the Pod of this run",
                ended_at=START,
            ),
        ),
        (
            make_job(),
            (make_running(),),
            RunHints(phase=Running(phase=Phase.MEASURING)),
            3660,
            Lost(reason="DeadlineExceeded", detail="no end after 60 min, all time-outs included", ended_at=START),
        ),
        (
            make_job(),
            (make_running(**EVICTED),),
            RunHints(),
            690,
            Lost(
                reason="Preempted",
                detail="not scheduled within 10 min: EvictionByEvictionAPI: drained",
                ended_at=START,
                counts=False,
            ),
        ),
        (
            make_job(),
            (make_pod(disrupted="x"),),  # nobody says since when
            RunHints(),
            601,
            Lost(reason="Preempted", detail="not scheduled within 10 min: x", ended_at=START, counts=False),
        ),
    ],
)
def test_each_phase_has_a_limit_of_its_own(
    job: JobRecord, pods: tuple[PodRecord, ...], hints: RunHints, end_s: float, lost: Lost
) -> None:
    """A second before the limit the run waits or runs; at it, the run is lost for the reason that held it up."""
    assert isinstance(seen(job, *pods, hints=hints, now=end_s - 1), Waiting | Running)
    assert seen(job, *pods, hints=hints, now=end_s) == replace(lost, ended_at=at(end_s))


def test_limits_are_told_in_words() -> None:
    """Seconds below a minute, minutes above."""
    limits = replace(LIMITS, schedule_seconds=30)
    observation = observe_run(RUN, make_job(), (), RunHints(), limits, at(30)).observation
    assert isinstance(observation, Lost)
    assert observation.detail.startswith("not scheduled within 30 s")


@pytest.mark.parametrize(
    ("job", "pod"),
    [
        (make_job(), make_ended(0, message(0, 1))),
        (make_job(), make_ended(1, message(0, 1))),  # what it did after its result does not matter
        (make_job(), make_ended(0, message(0, 1), **EVICTED)),
        (make_job(), make_ended(0, message(0, 1), deleting=True)),
        (make_job(end=job_end("Complete", complete=True)), make_ended(0, message(0, 1))),
        (make_job(**EXPIRED), make_ended(0, message(0, 1))),
        (make_job(), make_ended(0, message(broken="LoadTimeout"))),
        (make_job(**EXPIRED), make_ended(0, message(broken="LoadTimeout"))),
    ],
)
def test_a_complete_result_is_the_end_whatever_else_happened(job: JobRecord, pod: PodRecord) -> None:
    """Seen on the Pod, before the Job controller has said anything."""
    assert pod.container is not None
    result = RunResult.model_validate_json(pod.container.terminated_message or "")
    assert seen(job, pod) == Finished(result=result, ended_at=at(100))


NOTHING = "no result was written"


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
            f"the runner did not understand what to do: infpop-runner: run spec: no; {NOTHING}",
        ),
        (
            make_ended(1, "loading\n\x1b[31mValueError: x\x1b[0m\n"),
            "RunnerError",
            f"the runner ended with exit code 1; its last words: loading | ValueError: x; {NOTHING}",
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
def test_an_end_without_a_result_is_told_with_the_last_words(pod: PodRecord, reason: str, detail: str) -> None:
    """Memory of the host, a kill, a crash, rubbish: each has its name, and each uses the failure budget."""
    assert seen(make_job(), pod) == Lost(reason=reason, detail=detail, ended_at=at(100))


def test_the_message_of_another_run_is_no_result() -> None:
    """A result counts for the run that it names and for no other."""
    observation = seen(make_job(), make_ended(0, message(0, 1, run="other-run")))
    assert isinstance(observation, Lost)
    assert observation.detail.endswith("the termination message belongs to the run 'other-run'")


def test_last_words_are_cut_to_their_end() -> None:
    """A log of any length ends up as the thousand characters that say most."""
    for log in ("a" * 3000 + "the cause", "x\n" * 3000 + "the cause"):
        observation = seen(make_job(), make_ended(1, log))
        assert isinstance(observation, Lost)
        assert len(observation.detail) <= 1000
        assert "the cause" in observation.detail


@pytest.mark.parametrize("reason", ["ContainerStatusUnknown", "Unknown"])
def test_a_lost_node_is_nobodys_fault(reason: str) -> None:
    """A node that restarted has forgotten the container."""
    observation = seen(make_job(), make_ended(255, "could not be located", reason=reason))
    detail = f"the node lost the container: could not be located; {NOTHING}"
    assert observation == Lost(reason="NodeLost", detail=detail, ended_at=at(100), counts=False)


@pytest.mark.parametrize(
    ("pod", "job", "broken"),
    [
        (make_ended(137, message(0, complete=False), reason="OOMKilled"), make_job(), "HostOutOfMemory"),
        (make_ended(137, message(0, complete=False)), make_job(), "EngineCrash"),
        (make_ended(255, message(0, complete=False), reason="Unknown"), make_job(), "Stopped"),
        (make_ended(139, message(0, complete=False)), make_job(), "RunnerError"),
        (make_ended(0, message(0, broken="Stopped"), **EVICTED), make_job(), "Stopped"),
        (make_ended(137, message(0, complete=False), **EVICTED), make_job(), "Stopped"),
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
    """Whoever ended the run: its first trial has its number, and the second says why it has none."""
    observation = seen(job, pod)
    assert isinstance(observation, Finished)
    assert observation.result.trials == (measured(0),)
    assert observation.result.broken is not None
    assert observation.result.broken.reason == broken
    assert observation.ended_at == at(100)


def test_a_deadline_after_a_load_is_told_to_the_trial() -> None:
    """The engine was loaded and measured nothing until its time was over: the trial is a suspect."""
    left = message(broken="Stopped", load_seconds=5.0)
    observation = seen(make_job(**EXPIRED), make_ended(0, left, deleting=True))
    assert isinstance(observation, Finished)
    assert observation.result.broken == Broken(reason="MeasureTimeout", detail="m")


def test_an_end_has_the_time_of_the_container() -> None:
    """Not that of the look at it: devices were held until then and no longer."""
    for left in (message(0, 1), "crashed"):
        observation = seen(make_job(), make_ended(1, left, finished=90), now=1000)
        assert isinstance(observation, Finished | Lost)
        assert observation.ended_at == at(90)


def test_nothing_is_broken_where_all_was_measured() -> None:
    """A node that goes away after the last trial costs nothing."""
    observation = seen(make_job(), make_ended(137, message(0, 1, complete=False)))
    assert isinstance(observation, Finished)
    assert observation.result.broken is None


@pytest.mark.parametrize(
    ("pod", "job", "lost"),
    [
        (
            make_ended(0, message(broken="Stopped"), **EVICTED),
            make_job(),
            Lost(
                reason="Preempted",
                detail="EvictionByEvictionAPI: drained; nothing was measured",
                ended_at=at(100),
                counts=False,
            ),
        ),
        (
            make_ended(143, "loading", **EVICTED),
            make_job(**FAILED),
            Lost(
                reason="Preempted", detail=f"EvictionByEvictionAPI: drained; {NOTHING}", ended_at=at(100), counts=False
            ),
        ),
        (
            make_ended(143, "", **EVICTED),
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
                detail="somebody deleted the Pod of this run; nothing was measured",
                ended_at=at(100),
            ),
        ),
        (
            make_bound(phase="Failed", deleting=True),
            make_job(),
            Lost(reason="Deleted", detail=f"somebody deleted the Pod of this run; {NOTHING}", ended_at=at(100)),
        ),
        (
            make_ended(137, "", deleting=True),
            make_job(**EXPIRED),
            Lost(reason="DeadlineExceeded", detail=f"m; {NOTHING}", ended_at=at(100)),
        ),
        (
            make_bound(phase="Failed", failure="UnexpectedAdmissionError: no healthy devices"),
            make_job(),
            Lost(
                reason="PodFailed", detail=f"UnexpectedAdmissionError: no healthy devices; {NOTHING}", ended_at=at(100)
            ),
        ),
        (
            make_bound(phase="Succeeded"),
            make_job(),
            Lost(
                reason="PodFailed",
                detail=f"the Pod is Succeeded and says nothing of its container; {NOTHING}",
                ended_at=at(100),
            ),
        ),
    ],
)
def test_who_ended_a_run_decides_what_it_costs(pod: PodRecord, job: JobRecord, lost: Lost) -> None:
    """Its node's end costs nothing, a deletion and a deadline cost a failure."""
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
    """Nobody waits for a message that can no longer come."""
    assert seen(job, now=500) == lost


@pytest.mark.parametrize("pod", [make_running(), make_running(**EVICTED), make_running(deleting=True)])
def test_an_ended_job_has_no_live_pod(pod: PodRecord) -> None:
    """What was last heard of a Pod does not keep a run alive whose Job has ended."""
    assert isinstance(seen(make_job(**FAILED), pod, now=500), Lost)


def test_the_last_words_of_a_job_that_is_ending_are_waited_for() -> None:
    """The Job controller asks the Pod to end first; its result may come until it did."""
    job = make_job(ending=job_end("DeadlineExceeded"))
    assert seen(job, make_running(deleting=True)) == Waiting(reason="DeadlineExceeded", detail="m")


@pytest.mark.parametrize(
    "pod",
    [
        make_ended(143, "", **EVICTED),
        make_ended(137, message(complete=False), **EVICTED),
        make_ended(1, message(broken="Stopped"), **EVICTED),
        make_bound(phase="Failed", failure="Evicted: disk", **EVICTED),
    ],
)
def test_a_pod_that_was_taken_away_is_replaced(pod: PodRecord) -> None:
    """The Job makes another Pod by itself: the run waits, and its failure budget stays whole."""
    assert seen(make_job(), pod) == Waiting(reason="Preempted", detail="EvictionByEvictionAPI: drained")
    assert seen(make_job(), pod, make_pod(**NEXT), now=300) == Waiting(
        reason="Starting", detail="the Pod waits for the scheduler"
    )


def test_the_newest_pod_counts() -> None:
    """Of two made in the same second it is the one that was not taken away."""
    gone = make_running(name="study-1-zzzzz", **EVICTED)
    assert seen(make_job(), make_running(), gone) == Running(phase=Phase.STARTING)
    assert seen(make_job(), gone, replace(make_running(), created_at=at(2))) == Running(phase=Phase.STARTING)


def test_pods_of_another_job_never_count() -> None:
    """A Job that was deleted and made again does not inherit the result of the first."""
    other = replace(make_ended(0, message(0, 1)), job_uid="older")
    assert seen(make_job(), other) == Waiting(reason="Starting", detail="the Job has no Pod yet")


@pytest.mark.parametrize(
    ("pods", "held_since"),
    [
        ((), None),
        ((make_pod(unschedulable="no"),), None),
        ((make_bound(),), at(10)),
        ((make_running(),), at(10)),
        ((make_ended(0, message(0, 1)),), at(10)),
        ((make_running(**EVICTED), make_pod(**NEXT)), at(10)),
        ((make_running(**EVICTED), make_bound(**NEXT | {"scheduled_at": at(210)})), at(10)),
    ],
)
def test_devices_are_held_from_the_moment_of_scheduling(pods: tuple[PodRecord, ...], held_since: object) -> None:
    """A pull holds them, a queue does not; what a Pod held before it was taken away counts."""
    assert observe_run(RUN, make_job(), pods, RunHints(), LIMITS, at(100)).held_since == held_since


@pytest.mark.parametrize(
    ("job", "held_since"),
    [
        (make_job(**FAILED), at(0)),
        (make_job(end=job_end("Completed", complete=True)), at(0)),
        (make_job(**EXPIRED), None),
        (make_job(), None),
    ],
)
def test_a_job_without_a_pod_held_devices_where_it_had_one(job: JobRecord, held_since: object) -> None:
    """A Job that failed or completed had a Pod; one that a quota refused until its deadline had none."""
    assert observe_run(RUN, job, (), RunHints(), LIMITS, at(200)).held_since == held_since


@pytest.mark.parametrize("newest", [make_running(**NEXT, deleting=True, phase="Failed"), make_ended(143, "", **NEXT)])
def test_a_deadline_that_passed_because_of_a_disruption_uses_no_budget(newest: PodRecord) -> None:
    """The time that the first Pod had was taken from the run."""
    lost = seen(make_job(**EXPIRED), make_running(**EVICTED), newest, now=300)
    assert isinstance(lost, Lost)
    assert (lost.reason, lost.counts) == ("DeadlineExceeded", False)
    alone = seen(make_job(**EXPIRED), newest, now=300)
    assert isinstance(alone, Lost)
    assert alone.counts


def test_a_volume_that_cannot_be_mounted_is_told() -> None:
    """The Pod itself says ContainerCreating until the run is lost."""
    hints = RunHints(failed_mount='MountVolume.SetUp failed for volume "workload"\n: configmap "prompts" not found')
    words = 'MountVolume.SetUp failed for volume "workload" | : configmap "prompts" not found'
    for pod in (make_bound(), waiting("ContainerCreating")):
        assert seen(make_job(), pod, hints=hints) == Waiting(reason="MountFailed", detail=words)
    lost = seen(make_job(), make_bound(), hints=hints, now=2000)
    assert lost == Lost(reason="MountFailed", detail=f"container not started within 30 min: {words}", ended_at=at(2000))
    assert seen(make_job(), waiting("ErrImagePull", "x"), hints=hints) == Waiting(
        reason="ImagePull", detail="ErrImagePull: x"
    )
    assert seen(make_job(), make_running(), hints=hints) == Running(phase=Phase.STARTING)


def test_time_goes_on_where_an_end_has_no_time() -> None:
    """A container without an end time ended now."""
    pod = make_ended(0, message(0, 1))
    assert pod.container is not None
    timeless = replace(pod, container=replace(pod.container, finished_at=None))
    observation = observe_run(RUN, make_job(), [timeless], RunHints(), LIMITS, START + timedelta(hours=1)).observation
    assert isinstance(observation, Finished)
    assert observation.ended_at == START + timedelta(hours=1)
