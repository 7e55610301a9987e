"""What the operator learns about runs beyond their objects: from the right Pod, for its own Jobs, while they exist."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from adapters.kube.api_server import ApiServer, api_server
from factories.kube_objects import OWNER, at, make_bound, make_job, make_pod, make_running, stamp
from factories.study_documents import make_study_document
from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.observe import RunHints
from infpop_operator.adapters.kube.records import ContainerRecord, PodRecord
from infpop_operator.adapters.kube.scale_up import AutoscalerAnswer
from infpop_operator.adapters.kube.workloads import NO_KUEUE, NO_QUEUE, NO_WORKLOAD
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.run_probes import RunProbes, newest_create_failure, unmounted_volume
from infpop_operator.cluster.study_memory import StudyMemories
from infpop_operator.core.model import Phase, Running, Value, WatchedRun

KEY = StudyKey(OWNER.namespace, OWNER.name)
RUN = "study-1"
WATCHED = WatchedRun(
    namespace=KEY.namespace, study=KEY.name, run=RUN, pod="study-1-abcde", started_at=at(0), ended_at=at(100)
)
OWN = f'namespace="serving",study="study",run="{RUN}"'
METRICS = f"""
infpop_run_state{{{OWN},state="measuring"}} 1
infpop_trial_throughput_tokens_per_second{{{OWN},trial="3"}} 12.5
"""
ADDRESS = {"ip": "10.0.0.7", "metrics_port": 9400}
NEXT = {"uid": "pod-next", "name": "study-1-next", "created_at": at(200), "scheduled_at": at(201)}


class Text(httpx.AsyncByteStream):
    """The metrics, not read yet."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield them immediately."""
        yield METRICS.encode()


@dataclass
class Scene:
    """A study with one run, as the watches have reported it, and the Events in the cluster."""

    server: ApiServer
    cache: Cache
    probes: RunProbes
    memories: StudyMemories

    async def probe(self, now: float = 100) -> tuple[StudyKey, ...]:
        """Probe the study's runs `now` seconds after its Job was created."""
        return await self.probes.probe([KEY], at(now))

    async def throughput(self) -> dict[int, object]:
        """Return what the source has of the run."""
        return dict(await self.probes.samples(WATCHED))

    def happened(self, uid: str, reason: str, message: str, seconds: float, *, reporter: str = "") -> None:
        """Add an Event to the cluster."""
        about: dict[str, Any] = {"uid": uid}
        event = {"involvedObject": about, "reason": reason, "message": message, "lastTimestamp": stamp(seconds)}
        self.server.events.append({**event, "source": {"component": reporter}})


def played(scenario: Callable[[Scene], Awaitable[None]]) -> None:
    """Run a scenario."""

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Text())

    async def play() -> None:
        async with (
            api_server() as server,
            KubeClient(server.connection()) as client,
            httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http,
        ):
            cache = Cache()
            body = make_study_document(OWNER.name, OWNER.namespace)
            body["metadata"] |= {"uid": OWNER.uid, "resourceVersion": "1"}
            cache.see_study(body)
            cache.see_job(make_job())
            memories = StudyMemories()
            await scenario(Scene(server, cache, RunProbes(client, http, cache, memories), memories))

    asyncio.run(play())


def test_a_running_pod_reports_its_phase_and_its_numbers() -> None:
    """The study is reconciled when the values are new, and only then."""

    async def scenario(scene: Scene) -> None:
        scene.cache.see_pod(make_running(**ADDRESS))
        assert await scene.probe() == (KEY,)
        assert await scene.probe() == ()
        phase = scene.probes.of(KEY, RUN).phase
        assert phase is not None
        assert phase.phase is Phase.MEASURING
        assert await scene.throughput() == {3: Value(tokens_per_second=12.5)}

    played(scenario)


def test_the_numbers_of_a_replacement_are_not_those_of_the_pod_before() -> None:
    """If an evicted Pod left a result and its replacement is running, each has its own measurements."""

    async def scenario(scene: Scene) -> None:
        scene.cache.see_pod(make_running(**ADDRESS))
        scene.cache.see_pod(make_running(**ADDRESS | NEXT))
        await scene.probe(250)
        assert await scene.throughput() == {}
        other = replace(WATCHED, pod=NEXT["name"])
        assert await scene.probes.samples(other) == {3: Value(tokens_per_second=12.5)}

    played(scenario)


def test_the_numbers_of_a_pod_are_not_those_of_the_next_one() -> None:
    """A preempted run measures again, and the first number would contradict the second."""

    async def scenario(scene: Scene) -> None:
        scene.cache.see_pod(make_running(**ADDRESS))
        await scene.probe()
        scene.cache.see_pod(make_bound(**NEXT))
        assert await scene.throughput() == {}
        assert scene.probes.of(KEY, RUN) == RunHints()

    played(scenario)


def test_the_numbers_of_a_pod_that_has_ended_stay() -> None:
    """They are compared with its result, which arrives last."""

    async def scenario(scene: Scene) -> None:
        scene.cache.see_pod(make_running(**ADDRESS))
        await scene.probe()
        scene.cache.see_pod(make_running(**ADDRESS, phase="Succeeded", deleting=True, resource_version="2"))
        await scene.probe()
        assert await scene.throughput() == {3: Value(tokens_per_second=12.5)}

    played(scenario)


PENDING = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": "8 > 4"}
WORKLOAD = {"metadata": {"name": "w"}, "status": {"conditions": [PENDING]}}
HELD_BACK: dict[str, Any] = {"suspended": True, "started_at": None, "resource_version": "2", "queue": "gpus"}


@pytest.mark.parametrize("version", ["v1beta1", "v1beta2"])
def test_a_queued_run_says_why_in_the_words_of_its_workload(version: str) -> None:
    """Whichever version of Kueue's API is served; the study is reconciled when the words are new."""

    async def scenario(scene: Scene) -> None:
        scene.cache.see_job(make_job(**HELD_BACK))
        scene.server.kueue, scene.server.workloads = version, [WORKLOAD]
        assert await scene.probe() == (KEY,)
        assert await scene.probe() == ()
        assert scene.probes.of(KEY, RUN).queued == "Kueue: Pending: 8 > 4"

    played(scenario)


@pytest.mark.parametrize(
    ("version", "queue", "words"),
    [("", "gpus", NO_KUEUE), ("v1beta1", "gpus", NO_WORKLOAD), ("", None, NO_QUEUE), ("v1beta1", None, NO_QUEUE)],
)
def test_a_suspended_run_without_a_workload_says_what_is_missing(version: str, queue: str | None, words: str) -> None:
    """Kueue is not there, ignores the Job, or is not who suspended it."""

    async def scenario(scene: Scene) -> None:
        scene.cache.see_job(make_job(**HELD_BACK | {"queue": queue}))
        scene.server.kueue = version
        await scene.probe()
        assert scene.probes.of(KEY, RUN).queued == words

    played(scenario)


def test_without_the_right_to_read_workloads_nothing_is_added() -> None:
    """A refusal is no error, and nothing is made up."""

    async def scenario(scene: Scene) -> None:
        scene.cache.see_job(make_job(**HELD_BACK))
        scene.server.workloads_refused = True
        assert await scene.probe() == ()
        assert scene.probes.of(KEY, RUN) == RunHints()

    played(scenario)


def test_jobs_of_another_owner_are_not_probed() -> None:
    """Other Jobs may carry InfPop's labels, and an earlier study may have had the same name."""

    async def scenario(scene: Scene) -> None:
        scene.cache.see_job(make_job(uid="foreign", run="study-2", name="study-2", study_uid="another"))
        scene.cache.see_pod(make_running(**ADDRESS, uid="foreign-pod", job_uid="foreign", run="study-2"))
        assert await scene.probe() == ()
        assert scene.probes.of(KEY, "study-2") == RunHints()

    played(scenario)


def test_the_reason_why_no_pod_is_created_is_read() -> None:
    """The Job controller reports it in an Event of the Job; it stays known while the API server does not answer."""

    async def scenario(scene: Scene) -> None:
        scene.happened("job-uid", "FailedCreate", "older", 5)
        scene.happened("job-uid", "FailedCreate", "exceeded quota", 10)
        scene.happened("job-uid", "SuccessfulCreate", "Created pod", 20)
        assert await scene.probe() == (KEY,)
        assert scene.probes.of(KEY, RUN).failed_create == "exceeded quota"
        scene.server.token = "other"  # noqa: S105 - of a test
        assert await scene.probe() == ()

    played(scenario)


CREATING = ContainerRecord(waiting_reason="ContainerCreating")


@pytest.mark.parametrize("container", [None, CREATING])
@pytest.mark.parametrize("reason", ["FailedMount", "FailedAttachVolume"])
def test_the_reason_why_a_container_is_not_created_is_read(container: ContainerRecord | None, reason: str) -> None:
    """Only an Event of the Pod has the kubelet's reason; a first failure gets time to resolve."""

    async def scenario(scene: Scene) -> None:
        scene.cache.see_pod(make_bound(container=container))
        scene.happened("pod-uid", "Scheduled", "to n1", 10)
        scene.happened("pod-uid", reason, 'configmap "prompts" not found', 12)
        assert await scene.probe(29) == ()
        assert await scene.probe(31) == (KEY,)
        assert scene.probes.of(KEY, RUN) == RunHints(failed_mount='configmap "prompts" not found')
        scene.server.token = "other"  # noqa: S105 - of a test
        assert await scene.probe(40) == ()

    played(scenario)


@pytest.mark.parametrize(
    "pod",
    [
        make_bound(container=CREATING, resource_version="2"),
        make_bound(container=ContainerRecord(waiting_reason="ErrImagePull"), resource_version="2"),
        make_running(**ADDRESS, resource_version="2"),
    ],
)
def test_a_volume_that_was_mounted_after_all_is_no_news(pod: PodRecord) -> None:
    """Later Events of the Pod count."""

    async def scenario(scene: Scene) -> None:
        scene.cache.see_pod(make_bound())
        scene.happened("pod-uid", "FailedMount", "not yet", 12)
        await scene.probe(31)
        scene.happened("pod-uid", "Pulling", "image", 35)
        scene.cache.see_pod(pod)
        await scene.probe(45)
        assert scene.probes.of(KEY, RUN).failed_mount is None

    played(scenario)


def test_probes_of_ended_runs_are_dropped() -> None:
    """Data of ended runs and of deleted studies is dropped, also while a request is pending."""

    async def scenario(scene: Scene) -> None:
        scene.cache.see_pod(make_running(**ADDRESS))
        await scene.probe()
        scene.memories.of(KEY).drop_ended_runs({RUN})
        assert scene.probes.of(KEY, RUN).phase == Running(phase=Phase.MEASURING)
        scene.memories.drop(StudyKey("other", "study"))
        assert scene.probes.of(KEY, RUN).phase is not None
        scene.memories.of(KEY).drop_ended_runs(())
        assert scene.probes.of(KEY, RUN) == RunHints()
        probing = asyncio.create_task(scene.probe())
        await asyncio.sleep(0)
        body = scene.cache.study(KEY)
        assert body is not None
        scene.cache.see_study(body, deleted=True)
        await probing
        assert scene.probes.of(KEY, RUN) == RunHints()

    played(scenario)


def test_a_pod_that_the_scheduler_has_not_tried_is_not_probed() -> None:
    """There is nothing to know of it yet."""

    async def scenario(scene: Scene) -> None:
        scene.cache.see_pod(make_pod())
        assert await scene.probe(1000) == ()
        assert scene.server.requests == []

    played(scenario)


def test_an_autoscaler_is_heard_twice_a_minute() -> None:
    """Its newest Event about a Pod without a node counts, and a Pod that waits for days costs few requests."""

    async def scenario(scene: Scene) -> None:
        pod = make_pod(unschedulable="0/3 nodes")
        scene.cache.see_pod(pod)
        assert await scene.probe(100) == ()
        scene.happened(pod.uid, "FailedScheduling", "0/3 nodes", 101, reporter="default-scheduler")
        scene.happened(pod.uid, "TriggeredScaleUp", "pod triggered scale-up", 105, reporter="cluster-autoscaler")
        assert await scene.probe(110) == ()
        assert len(scene.server.requests) == 1
        assert await scene.probe(130) == (KEY,)
        words = "cluster-autoscaler: pod triggered scale-up"
        assert scene.probes.of(KEY, RUN) == RunHints(autoscaler=AutoscalerAnswer(adds_node=True, words=words))
        scene.cache.see_pod(make_pod(unschedulable="0/3 nodes", uid="another", name="another", created_at=at(140)))
        assert scene.probes.of(KEY, RUN) == RunHints()

    played(scenario)


@pytest.mark.parametrize("gone", [False, True])
def test_a_job_whose_only_pod_is_withdrawn_has_no_pod(gone: bool) -> None:  # noqa: FBT001 - being deleted, or deleted
    """The Job controller has to create another one, and a quota may keep it from that."""

    async def scenario(scene: Scene) -> None:
        scene.cache.see_pod(make_running(**ADDRESS))
        withdrawn = make_running(**ADDRESS, deleting=True, resource_version="2")
        scene.cache.see_pod(withdrawn, deleted=gone)
        scene.happened("job-uid", "FailedCreate", "exceeded quota", 110)
        assert await scene.probe(120) == (KEY,)
        assert scene.probes.of(KEY, RUN) == RunHints(failed_create="exceeded quota")

    played(scenario)


def test_the_newest_pod_that_is_not_withdrawn_is_probed() -> None:
    """An older Pod of the same Job may still be ending, and an evicted one stays."""

    async def scenario(scene: Scene) -> None:
        scene.cache.see_pod(make_running(**ADDRESS))
        scene.cache.see_pod(make_running(**ADDRESS | NEXT))
        await scene.probe(250)
        probe = scene.memories.of(KEY).probes[RUN]
        assert (probe.pod_uid, probe.pod) == (NEXT["uid"], NEXT["name"])

    played(scenario)


def test_a_refusal_is_dropped_when_the_job_has_a_pod() -> None:
    """The quota has room by now; the Pod itself has why it waits."""

    async def scenario(scene: Scene) -> None:
        scene.happened("job-uid", "FailedCreate", "exceeded quota", 10)
        assert await scene.probe() == (KEY,)
        scene.cache.see_pod(make_pod())
        assert await scene.probe(101) == (KEY,)
        assert scene.probes.of(KEY, RUN) == RunHints()

    played(scenario)


@pytest.mark.parametrize("changes", [{"ip": None}, {"metrics_port": None}, {"phase": "Pending"}])
def test_a_pod_without_an_address_is_not_scraped(changes: dict[str, object]) -> None:
    """It has no metrics yet; that is no news."""

    async def scenario(scene: Scene) -> None:
        scene.cache.see_pod(make_running(**{**ADDRESS, **changes}))
        assert await scene.probe() == ()
        assert await scene.throughput() == {}

    played(scenario)


@pytest.mark.parametrize(("suspended", "seconds", "asked"), [(False, 5, 0), (False, 6, 1), (True, 6, 0)])
def test_events_of_a_job_without_a_pod_are_read_after_five_seconds(suspended: bool, seconds: float, asked: int) -> None:  # noqa: FBT001
    """Until then the Job controller has had no time; a suspended Job gets no Pod."""

    async def scenario(scene: Scene) -> None:
        scene.cache.see_job(make_job(suspended=suspended, resource_version="2"))
        await scene.probe(seconds)
        assert len(scene.server.requests) == asked

    played(scenario)


def test_a_container_that_has_started_is_not_being_created() -> None:
    """A restarted container waits again, but its volumes are mounted: no Event is read."""

    async def scenario(scene: Scene) -> None:
        container = ContainerRecord(started_at=at(20), waiting_reason="ContainerCreating")
        scene.cache.see_pod(make_bound(container=container))
        assert await scene.probe(1000) == ()
        assert scene.server.requests == []

    played(scenario)


def an_event(reason: str, message: str, **times: object) -> dict[str, object]:
    """Return an Event with these times."""
    return {"reason": reason, "message": message, **times}


@pytest.mark.parametrize(
    "times",
    [
        {"series": {"lastObservedTime": stamp(30)}, "lastTimestamp": stamp(1), "eventTime": stamp(1)},
        {"series": None, "lastTimestamp": stamp(30), "eventTime": stamp(1)},
        {"series": {}, "lastTimestamp": None, "eventTime": stamp(30)},
    ],
)
def test_the_time_of_an_event_is_the_latest_that_it_has(times: dict[str, object]) -> None:
    """A repeated Event has a series, one of the older API a last time, one that happened once an event time."""
    other = an_event("FailedCreate", "other", lastTimestamp=stamp(20))
    undated = an_event("FailedCreate", "undated")
    events = [undated, an_event("FailedCreate", "latest", **times), other]
    assert newest_create_failure(events) == newest_create_failure(events[::-1]) == "latest"
    assert newest_create_failure([]) is None


def test_a_volume_is_unmounted_only_by_the_newest_event() -> None:
    """An Event without a message has an empty one; without Events there is no reason."""
    failed, pulled = an_event("FailedMount", "", lastTimestamp=stamp(1)), an_event("Pulled", "", lastTimestamp=stamp(2))
    assert unmounted_volume([failed]) == ""
    assert unmounted_volume([{"reason": "FailedMount"}]) == ""
    assert unmounted_volume([pulled, failed]) is None
    assert unmounted_volume([]) is None
