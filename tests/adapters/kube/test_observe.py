"""Every state of a run on a cluster has a name, a visible reason, and a time limit."""

from dataclasses import replace

import pytest

from adapters.kube.observing import DRAINED, EXPIRED, FAILED, LIMITS, NEXT, RUN, SUSPENDED, job_end, message, seen
from factories.kube_objects import at, make_bound, make_ended, make_job, make_pod, make_running
from factories.studies import START
from infpop_operator.adapters.kube.observe import RunHints, observe_run
from infpop_operator.adapters.kube.records import ContainerRecord, JobRecord, PodRecord
from infpop_operator.core.model import Lost, Phase, Running, Waiting

QUOTA = "exceeded quota: gpus, requested: requests.nvidia.com/gpu=2"
REFUSED = f'pods "study-1-x" is forbidden: {QUOTA}'
POLICY = 'violates PodSecurity "restricted:latest": runAsNonRoot != true'


def waiting(reason: str, message: str | None = None) -> PodRecord:
    """Return a Pod on its Node whose container waits."""
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
        (
            make_pod(unschedulable='0/3 nodes are available: persistentvolumeclaim "hf-cache" not found. not found'),
            None,
            "ClaimNotReady",
            "PersistentVolumeClaim hf-cache does not exist in the namespace",
        ),
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
        (make_bound(deleting=True), None, "Deleted", "a user or another controller deleted the Pod of this run"),
        (make_running(deleting=True), None, "Deleted", "a user or another controller deleted the Pod of this run"),
        (make_running(**DRAINED), None, "Preempted", "EvictionByEvictionAPI: drained"),
        (make_pod(disrupted="PreemptionByScheduler: by x"), None, "Preempted", "PreemptionByScheduler: by x"),
    ],
)
def test_a_run_that_does_not_move_says_why(pod: PodRecord | None, hint: str | None, reason: str, detail: str) -> None:
    """The reason is one word, and the detail is the cluster's message on one line."""
    observation = seen(make_job(), *([pod] if pod else []), hints=RunHints(failed_create=hint))
    assert isinstance(observation, Waiting)
    assert observation.reason == reason
    assert observation.detail.startswith(detail)
    assert observation.detail.isprintable()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", "ScalingUp"),
        ('0/3 nodes are available: persistentvolumeclaim "hf-cache" not found. not found', "ClaimNotReady"),
        ("0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found", "ClaimNotReady"),
    ],
)
def test_a_claim_is_no_matter_of_an_autoscaler(words: str, reason: str) -> None:
    """On a pool that scales from zero a run says that its claim is missing or unbound, not that a node will come."""
    observation = seen(make_job(), make_pod(unschedulable=words), hints=RunHints(expects_node=True))
    assert isinstance(observation, Waiting)
    assert observation.reason == reason


@pytest.mark.parametrize(("seconds", "reason"), [(2.9, "Starting"), (3, "Unschedulable")])
def test_a_node_that_is_just_becoming_free_is_not_a_complaint(seconds: float, reason: str) -> None:
    """The scheduler's first refusal, while the previous run's devices are being released, is not reported."""
    pod = make_pod(unschedulable="1 Insufficient nvidia.com/gpu", created_at=at(10))
    observation = seen(make_job(), pod, now=10 + seconds)
    assert isinstance(observation, Waiting)
    assert observation.reason == reason


@pytest.mark.parametrize("phase", [None, Running(phase=Phase.MEASURING, trial_index=1)])
def test_a_running_container_is_in_the_phase_that_it_says(phase: Running | None) -> None:
    """Until the runner reports a phase, the run is starting."""
    expected = phase or Running(phase=Phase.STARTING)
    assert seen(make_job(), make_running(), hints=RunHints(phase=phase)) == expected


QUEUED = Waiting(reason="Queued", detail="the Job is suspended until its queue has capacity")


@pytest.mark.parametrize(
    "pods", [(), (make_running(deleting=True),), (make_ended(143, "", deleting=True),), (make_bound(phase="Failed"),)]
)
def test_a_queue_may_take_its_time_and_take_back_what_it_gave(pods: tuple[PodRecord, ...]) -> None:
    """Kueue holds Jobs back by suspending them: this is never an error and has no time limit."""
    assert seen(make_job(**SUSPENDED), *pods, now=10**7) == QUEUED
    words = RunHints(queued="Kueue: Pending: 8 > 4")
    assert seen(make_job(**SUSPENDED), *pods, hints=words, now=10**7) == replace(QUEUED, detail=words.queued)
    assert seen(make_job(), hints=words) != replace(QUEUED, detail=words.queued)


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
            (make_pod(created_at=at(2000), unschedulable="no"),),  # replaces a Pod that was deleted
            RunHints(),
            2600,
            Lost(reason="Unschedulable", detail="not scheduled within 10 min: no", ended_at=START, counts=False),
        ),
        (
            make_job(),
            (make_pod(created_at=at(2000), unschedulable='persistentvolumeclaim "c" not found'),),
            RunHints(),
            2600,
            Lost(
                reason="Unschedulable",
                detail="not scheduled within 10 min: PersistentVolumeClaim c does not exist in the namespace",
                ended_at=START,
                counts=False,
            ),
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
                detail="container not started within 30 min: a user or another controller deleted the Pod of this run",
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
                detail="container not ended within 60 min: a user or another controller deleted the Pod of this run",
                ended_at=START,
            ),
        ),
        (
            make_job(),
            (make_running(),),
            RunHints(phase=Running(phase=Phase.MEASURING)),
            3660,
            Lost(reason="DeadlineExceeded", detail="not ended after 60 min, all time-outs included", ended_at=START),
        ),
        (
            make_job(),
            (make_running(**DRAINED),),
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
            (make_pod(disrupted="x"),),  # the start time is missing
            RunHints(),
            601,
            Lost(reason="Preempted", detail="not scheduled within 10 min: x", ended_at=START, counts=False),
        ),
    ],
)
def test_each_phase_has_a_limit_of_its_own(
    job: JobRecord, pods: tuple[PodRecord, ...], hints: RunHints, end_s: float, lost: Lost
) -> None:
    """A second before the limit the run waits or runs; at the limit it is lost for the reason that delayed it."""
    assert isinstance(seen(job, *pods, hints=hints, now=end_s - 1), Waiting | Running)
    assert seen(job, *pods, hints=hints, now=end_s) == replace(lost, ended_at=at(end_s))


@pytest.mark.parametrize(
    ("seconds", "words"), [(30, "30 s"), (59.5, "59.5 s"), (60, "1 min"), (61.5, "1.025 min"), (600, "10 min")]
)
def test_limits_are_reported_in_words(seconds: float, words: str) -> None:
    """The message has seconds below a minute, and minutes above."""
    limits = replace(LIMITS, schedule_seconds=seconds)
    observation = observe_run(RUN, make_job(), (), RunHints(), limits, at(seconds)).observation
    assert isinstance(observation, Lost)
    assert observation.detail == f"not scheduled within {words}: the Job has no Pod yet"


@pytest.mark.parametrize(
    "reason",
    [
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    ],
)
def test_every_word_of_the_kubelet_for_an_image_is_known(reason: str) -> None:
    """Every reason for a missing image becomes ImagePull, with the kubelet's own word."""
    assert seen(make_job(), waiting(reason, "m")) == Waiting(reason="ImagePull", detail=f"{reason}: m")


@pytest.mark.parametrize("reason", ["", "ContainerCreating", "PodInitializing"])
def test_a_container_that_is_being_made_is_not_a_complaint(reason: str) -> None:
    """Messages that add nothing are shown as one state."""
    assert seen(make_job(), waiting(reason, "m")) == Waiting(reason="ContainerCreating", detail="m")


def test_the_newest_pod_counts() -> None:
    """Of two Pods created in the same second, the one that was not deleted counts."""
    gone = make_running(name="study-1-zzzzz", **DRAINED)
    assert seen(make_job(), make_running(), gone) == Running(phase=Phase.STARTING)
    assert seen(make_job(), gone, replace(make_running(), created_at=at(2))) == Running(phase=Phase.STARTING)


def test_pods_of_another_job_never_count() -> None:
    """A Job that was deleted and created again does not inherit the result of the first."""
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
        ((make_running(**DRAINED), make_pod(**NEXT)), at(10)),
        ((make_running(**DRAINED), make_bound(**NEXT | {"scheduled_at": at(210)})), at(10)),
    ],
)
def test_devices_are_held_from_the_moment_of_scheduling(pods: tuple[PodRecord, ...], held_since: object) -> None:
    """An image pull holds devices, a queue does not; devices of a deleted Pod count."""
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
    """A failed or completed Job had a Pod; one that a quota refused until its deadline had none."""
    assert observe_run(RUN, job, (), RunHints(), LIMITS, at(200)).held_since == held_since


def test_a_volume_that_cannot_be_mounted_is_reported() -> None:
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
