"""A run between being observed and being stopped, and until its devices are free."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from adapters.kube.api_server import ApiServer, api_server
from adapters.kube.observing import message
from factories.kube_objects import OWNER, at, make_ended, make_job, make_node, make_pod, make_running
from factories.resolved import resolve_study
from factories.studies import START
from factories.study_documents import make_study_document
from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.records import PodRecord
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.context import ResolvedContext, read_context, resolve_context
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.metrics_gatherer import MetricsGatherer
from infpop_operator.cluster.run_probes import RunProbes
from infpop_operator.cluster.runs import Runs
from infpop_operator.cluster.study_memory import StudyMemories
from infpop_operator.core.decide import decide
from infpop_operator.core.model import (
    Finished,
    History,
    Lost,
    Observation,
    Phase,
    Running,
    Sample,
    StartedRun,
    Waiting,
    WatchedRun,
)
from infpop_operator.settings import Settings

KEY = StudyKey(OWNER.namespace, OWNER.name)
SETTINGS = Settings(runner_image="example.org/runner:1")
TERMINATING = Waiting(reason="Terminating", detail="Suspended: its Pod is terminating")


class Scene:
    """A study with one run on an API server without its Job and Pods, as the watches have reported them."""

    def __init__(self, server: ApiServer, client: KubeClient, source: "Slow | None") -> None:
        self.server = server
        self.cache = Cache()
        memories = StudyMemories()
        probes = RunProbes(client, None, self.cache, memories)  # type: ignore[arg-type]
        gatherer = MetricsGatherer(
            pods=source or probes,
            prometheus=None,
            order=("PodMetrics",),
            done=lambda _: None,
            moment_s=1.0 if source is None else 0.0,
        )
        self.runs = Runs(
            client=client,
            cache=self.cache,
            probes=probes,
            gatherer=gatherer,
            settings=SETTINGS,
            clock=lambda: at(120),
        )
        body = make_study_document(OWNER.name, OWNER.namespace)
        body["metadata"] |= {"uid": OWNER.uid, "generation": 1}
        resolved = resolve_study(body, [make_node()], History(started_at=START), SETTINGS)
        self._context = resolve_context(read_context(body, memories.of(KEY), START), resolved)
        decision = decide(resolved.study, History(started_at=START), {}, START)
        self.entry = StartedRun(run=decision.start[0], started_at=START)
        self.rounds = decision.history.rounds

    @property
    def run(self) -> str:
        """Return the name of the run."""
        return self.entry.run.name

    def context(self, seconds: float) -> ResolvedContext:
        """Return the context of a reconcile at this time."""
        return replace(self._context, now=at(seconds))

    def see_job(self) -> None:
        """Report the run's Job through the watch."""
        self.cache.see_job(make_job(name=self.run, run=self.run))

    def see_pod(self, pod: PodRecord, version: str = "1", *, deleted: bool = False) -> None:
        """Report a Pod of the run through the watch."""
        self.cache.see_pod(replace(pod, run=self.run, resource_version=version), deleted=deleted)

    async def observe(self, seconds: float, *, stopping: str | None = None) -> tuple[StartedRun, Observation]:
        """Return the run and its observation."""
        entry = replace(self.entry, stopping=stopping)
        history = History(started_at=START, rounds=self.rounds, active=(entry,))
        await self.runs.objects.refresh(self.context(seconds))
        observed = await self.runs.observe(self.context(seconds), history)
        return observed.history.active[0], observed.observations[self.run]

    async def stop(self, seconds: float) -> bool:
        """Stop the run because its study is suspended."""
        return await self.runs.stop(self.context(seconds), [replace(self.entry, stopping="Suspended")])


@asynccontextmanager
async def scene(source: "Slow | None" = None) -> AsyncIterator[Scene]:
    """Create the scene, with a metrics source where Pods themselves are not scraped."""
    async with api_server() as server, KubeClient(server.connection()) as client:
        yield Scene(server, client, source)


class Slow:
    """A metrics source that does not answer until it is allowed to."""

    name = "PodMetrics"

    def __init__(self) -> None:
        self.asked: list[WatchedRun] = []
        self.may_answer = asyncio.Event()

    async def samples(self, watched: WatchedRun) -> Mapping[int, Sample]:
        """Return nothing, late."""
        self.asked.append(watched)
        await self.may_answer.wait()
        return {}


@pytest.mark.parametrize("seen", [None, make_pod(), make_running()])
def test_a_run_that_ends_while_it_is_being_stopped_keeps_its_result(seen: PodRecord | None) -> None:
    """Its Pod was running or unknown when observed, and has ended since: its number counts."""

    async def play() -> tuple[bool, Observation]:
        async with scene() as here:
            here.see_job()
            if seen is not None:
                here.see_pod(seen)
            await here.observe(120)
            here.see_pod(make_ended(0, message(0, 1, run=here.run)), "2")
            again = await here.stop(121)
            return again, (await here.observe(122, stopping="Suspended"))[1]

    again, observation = asyncio.run(play())
    assert again
    assert isinstance(observation, Finished)
    assert len(observation.result.trials) == 2


def test_a_job_is_read_before_it_is_deleted() -> None:
    """The API server's state overrides that of the watches, and a deleted Job is not deleted again."""

    async def play() -> list[str]:
        async with scene() as here:
            here.see_job()
            here.see_pod(make_running())
            await here.stop(121)
            return here.server.requests

    assert "DELETE" not in asyncio.run(play())


@pytest.mark.parametrize("seen", [None, make_pod(), make_running()])
def test_a_run_whose_devices_are_known_late_is_ending(seen: PodRecord | None) -> None:
    """It holds devices from when its Pod got them until its Pod is gone."""

    async def play() -> tuple[StartedRun, Observation]:
        async with scene() as here:
            here.see_job()
            if seen is not None:
                here.see_pod(seen)
            await here.stop(121)
            here.see_job()
            here.see_pod(make_running(), "2")
            return await here.observe(122, stopping="Suspended")

    entry, observation = asyncio.run(play())
    assert observation == TERMINATING
    assert entry.held_since == make_running().scheduled_at


def test_a_run_without_a_job_ends_when_it_is_stopped() -> None:
    """The operator died between recording the run and creating its Job: the run held no devices."""

    async def play() -> tuple[bool, StartedRun, Observation]:
        async with scene() as here:
            again = await here.stop(121)
            return again, *await here.observe(122, stopping="Suspended")

    again, entry, observation = asyncio.run(play())
    assert again
    assert observation == Lost(reason="Suspended", ended_at=at(122), counts=False)
    assert entry.held_since is None


def test_a_stopping_run_has_not_ended_before_its_job_is_gone() -> None:
    """The scheduler may still bind a Pod of a Job that is being deleted."""

    async def play() -> tuple[Observation, Observation]:
        async with scene() as here:
            here.see_job()
            here.see_pod(make_pod())
            await here.stop(121)
            here.cache.see_job(make_job(name=here.run, run=here.run, deleting=True, uid="again"))
            waiting = (await here.observe(122, stopping="Suspended"))[1]
            here.cache.see_job(make_job(name=here.run, run=here.run, uid="again"), deleted=True)
            here.see_pod(make_pod(), "2", deleted=True)
            return waiting, (await here.observe(123, stopping="Suspended"))[1]

    waiting, ended = asyncio.run(play())
    assert waiting == TERMINATING
    assert isinstance(ended, Lost)


def test_a_run_is_read_before_its_end_is_waited_for_no_longer() -> None:
    """Its Pod is gone although no watch reported it: the study is not charged as if the Pod had kept its devices."""

    async def play() -> tuple[Observation, Observation]:
        async with scene() as here:
            here.see_job()
            here.see_pod(make_running())
            await here.stop(121)
            here.see_pod(make_running(), "2")
            ending = (await here.observe(241, stopping="Suspended"))[1]
            here.server.listed_at = "20"
            return ending, (await here.observe(242, stopping="Suspended"))[1]

    ending, ended = asyncio.run(play())
    assert ending == TERMINATING
    assert isinstance(ended, Lost)
    assert ended.reason == "Suspended"


def test_a_run_whose_pod_stays_is_charged_until_it_is_given_up() -> None:
    """A Node that does not answer keeps its devices until the operator stops waiting for the run's end."""

    async def play() -> tuple[Observation, Observation]:
        async with scene() as here:
            here.see_job()
            here.see_pod(make_running(), "30")
            await here.stop(100)
            waiting = (await here.observe(220, stopping="Suspended"))[1]
            return waiting, (await here.observe(221, stopping="Suspended"))[1]

    waiting, given_up = asyncio.run(play())
    assert waiting == TERMINATING
    assert given_up == Lost(reason="Suspended", ended_at=at(221), counts=False)


def test_a_lost_run_has_its_devices_until_its_last_pod_lets_go_of_them() -> None:
    """The first reason stays, and the GPU-hours until the end are charged."""

    async def play() -> tuple[Observation, Observation]:
        async with scene() as here:
            here.see_job()
            evicted = make_ended(137, phase="Failed", evicted="low", disrupted="TerminationByKubelet: low")
            successor = make_running(uid="next", name="next", created_at=at(105), scheduled_at=at(106))
            here.see_pod(evicted, "30")
            here.see_pod(successor, "30")
            waiting = (await here.observe(120))[1]
            here.see_pod(successor, "31", deleted=True)
            return waiting, (await here.observe(140))[1]

    waiting, ended = asyncio.run(play())
    assert waiting == Waiting(reason="Terminating", detail="Evicted: its Pod is terminating")
    assert isinstance(ended, Lost)
    assert (ended.reason, ended.ended_at) == ("Evicted", at(140))


def test_an_evicted_pod_whose_replacement_has_devices_is_queried_once() -> None:
    """The time until the replacement releases its devices moves with each pass; the question to the source does not."""
    slow = Slow()

    async def play() -> list[Observation]:
        async with scene(slow) as here:
            left = message(0, complete=False, run=here.run)
            replacement = make_running(uid="next", name="next", created_at=at(105), scheduled_at=at(106))
            here.see_job()
            here.see_pod(make_ended(137, left, phase="Failed", evicted="low", disrupted="TerminationByKubelet: low"))
            here.see_pod(replacement)
            observations = []
            for second in (120, 130, 140):
                observations.append((await here.observe(second))[1])
                if second == 130:
                    slow.may_answer.set()
                for _ in range(5):
                    await asyncio.sleep(0)
            here.see_pod(replacement, "9", deleted=True)
            return [*observations, (await here.observe(150))[1]]

    *waiting, asked, ended = asyncio.run(play())
    assert waiting == [Running(phase=Phase.DONE)] * 2
    assert asked == Waiting(reason="Terminating", detail="Ended: its Pod is terminating")
    assert isinstance(ended, Finished)
    assert ([trial.index for trial in ended.result.trials], ended.ended_at) == ([0], at(150))
    assert [(each.pod, each.ended_at) for each in slow.asked] == [("study-1-abcde", at(100))]


def test_a_stopped_run_is_kept_until_its_metrics_are_known() -> None:
    """Its number is not lost because the study was suspended while Prometheus was slow."""
    slow = Slow()

    async def play() -> tuple[Observation, Observation]:
        async with scene(slow) as here:
            here.see_job()
            here.see_pod(make_ended(0, message(0, 1, run=here.run)), "30")
            await here.observe(120)
            await here.stop(121)
            here.see_job()
            pending = (await here.observe(1000, stopping="Suspended"))[1]
            slow.may_answer.set()
            for _ in range(5):
                await asyncio.sleep(0)
            return pending, (await here.observe(1001, stopping="Suspended"))[1]

    pending, ended = asyncio.run(play())
    assert pending == Running(phase=Phase.DONE)
    assert isinstance(ended, Finished)


def test_a_node_whose_clock_is_ahead_makes_no_time_before_now() -> None:
    """A run cannot have held its devices since later than now."""

    async def play() -> StartedRun:
        async with scene() as here:
            here.see_job()
            here.see_pod(make_running())
            return (await here.observe(5))[0]

    assert asyncio.run(play()).held_since == at(5)
