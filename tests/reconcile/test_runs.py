"""What happens to a run between being seen and being stopped."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.kube.api_server import api_server
from adapters.kube.observing import message
from factories.kube_objects import OWNER, at, make_ended, make_job, make_node, make_pod, make_running
from factories.studies import START
from factories.study_documents import make_study_document
from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.records import PodRecord
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.ending import Endings, stopped_now
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.metrics_gatherer import MetricsGatherer
from infpop_operator.cluster.resolve import ResolvedStudy, resolve_study
from infpop_operator.cluster.run_probes import RunProbes
from infpop_operator.cluster.runs import Runs
from infpop_operator.core.decide import decide
from infpop_operator.core.model import (
    Decision,
    Finished,
    History,
    Lost,
    Observation,
    Phase,
    Running,
    Sample,
    StartedRun,
    Stop,
    Waiting,
    WatchedRun,
)
from infpop_operator.settings import Settings

KEY = StudyKey(OWNER.namespace, OWNER.name)
SETTINGS = Settings(runner_image="example.org/runner:1")


def first_run() -> tuple[ResolvedStudy, Decision, History]:
    """Return a study, what is decided of it first, and its history with the one run of that decision."""
    body = make_study_document(OWNER.name, OWNER.namespace)
    body["metadata"] |= {"uid": OWNER.uid, "generation": 1}
    prepared = resolve_study(body, [make_node()], None, SETTINGS)
    decision = decide(prepared.study, History(started_at=START), {}, START)
    active = (StartedRun(run=decision.start[0], started_at=START),)
    return prepared, decision, replace(decision.history, active=active)


def make_runs(cache: Cache, signs: RunProbes, gatherer: MetricsGatherer, client: KubeClient | None = None) -> Runs:
    """Return what looks after Jobs that are all in `cache`; without a client nothing is to be asked of the cluster."""
    return Runs(
        client=client,  # type: ignore[arg-type]
        cache=cache,
        signs=signs,
        gatherer=gatherer,
        settings=SETTINGS,
        clock=lambda: at(120),
    )


def kept_when_stopped(seen: PodRecord | None, by_then: PodRecord) -> tuple[bool, bool]:
    """Say whether a run is decided on again whose Pod was `seen`, and is `by_then` when the run is to be stopped.

    And if not, whether it is still among those that are not over.
    """
    prepared, decision, history = first_run()
    run = decision.start[0]
    cache = Cache()
    cache.see_job(make_job(name=run.name, run=run.name))
    if seen is not None:
        cache.see_pod(replace(seen, run=run.name, resource_version="1"))
    signs = RunProbes(None, None, cache)  # type: ignore[arg-type]

    async def look() -> tuple[bool, bool]:
        async with api_server() as server, KubeClient(server.connection()) as client:
            return await is_kept(client)

    async def is_kept(client: KubeClient) -> tuple[bool, bool]:
        gatherer = MetricsGatherer(pods=signs, prometheus=None, order=("PodMetrics",), done=lambda _: None)
        runs = make_runs(cache, signs, gatherer, client)
        jobs = runs.existing(KEY, OWNER)
        sighting = await runs.observe(KEY, prepared, history, jobs, at(120))
        cache.see_pod(replace(by_then, run=run.name, resource_version="2"))
        stopping = replace(decision, stop=(Stop(run=run.name, reason="Suspended"),))
        again = await runs.hear_out(KEY, prepared, stopping, sighting, jobs)
        return again, run.name in await runs.end(KEY, prepared, stopping, sighting, at(121))

    return asyncio.run(look())


@pytest.mark.parametrize("seen", [None, make_pod(), make_running()])
def test_a_run_that_ends_while_it_is_being_stopped_is_heard_out(seen: PodRecord | None) -> None:
    """Its Pod was at work when it was seen, or unheard of, and has ended by now: its result is not known, nor lost."""
    again, _ = kept_when_stopped(seen, make_ended(0))
    assert again


@pytest.mark.parametrize("seen", [None, make_pod(), make_running()])
def test_a_run_whose_devices_are_heard_of_late_is_ending(seen: PodRecord | None) -> None:
    """Nothing else is started before they are free."""
    assert kept_when_stopped(seen, make_running()) == (False, True)


def test_a_run_that_was_over_when_it_was_seen_is_not_kept() -> None:
    """What was seen of its end is all that there is."""
    assert kept_when_stopped(make_ended(0), make_ended(0)) == (False, False)


def test_a_run_is_read_before_its_end_is_waited_for_no_longer() -> None:
    """Its Pod was let go of meanwhile and nobody heard: its devices are not paid for as if it had kept them."""
    prepared, decision, history = first_run()
    run = decision.start[0]
    cache = Cache()
    cache.see_job(make_job(name=run.name, run=run.name))
    cache.see_pod(make_running(run=run.name))
    signs = RunProbes(None, None, cache)  # type: ignore[arg-type]
    stopping = replace(decision, stop=(Stop(run=run.name, reason="Suspended"),))

    async def looks() -> tuple[Observation, Observation]:
        async with api_server() as server, KubeClient(server.connection()) as client:
            gatherer = MetricsGatherer(pods=signs, prometheus=None, order=("PodMetrics",), done=lambda _: None)
            runs = make_runs(cache, signs, gatherer, client)
            jobs = runs.existing(KEY, OWNER)
            seen = await runs.observe(KEY, prepared, history, jobs, at(120))
            await runs.end(KEY, prepared, stopping, seen, at(121))
            ending = await runs.observe(KEY, prepared, history, jobs, at(241))
            server.listed_at = "20"
            ended = await runs.observe(KEY, prepared, history, jobs, at(242))
            return ending.observations[run.name], ended.observations[run.name]

    ending, ended = asyncio.run(looks())
    assert ending == Waiting(reason="Terminating", detail="Suspended: its pod is ending")
    assert ended == Lost(reason="Suspended", ended_at=at(121), counts=False)


class Slow:
    """A source of metrics that has no answer before it is let."""

    name = "PodMetrics"

    def __init__(self) -> None:
        self.asked: list[WatchedRun] = []
        self.may_answer = asyncio.Event()

    async def samples(self, watched: WatchedRun) -> Mapping[int, Sample]:
        """Return nothing, late."""
        self.asked.append(watched)
        await self.may_answer.wait()
        return {}


def test_a_source_is_asked_once_of_an_evicted_pod_whose_replacement_has_devices() -> None:
    """The time until the replacement lets go of them moves on with each look; what is asked about does not."""
    prepared, decision, history = first_run()
    run = decision.start[0]
    left = message(0, complete=False, run=run.name)
    evicted = make_ended(137, left, phase="Failed", evicted="low", disrupted="TerminationByKubelet: low")
    replacement = make_running(uid="next", name="next", created_at=at(105), scheduled_at=at(106))
    cache = Cache()
    cache.see_job(make_job(name=run.name, run=run.name))
    for pod in (evicted, replacement):
        cache.see_pod(replace(pod, run=run.name))
    signs = RunProbes(None, None, cache)  # type: ignore[arg-type]

    async def looks() -> tuple[list[Observation], list[WatchedRun]]:
        slow = Slow()
        runs = make_runs(
            cache,
            signs,
            MetricsGatherer(pods=slow, prometheus=None, order=("PodMetrics",), done=lambda _: None, moment_s=0),
        )
        observations = []
        for second in (120, 130, 140):
            seen = await runs.observe(KEY, prepared, history, runs.existing(KEY, OWNER), at(second))
            observations.append(seen.observations[run.name])
            if second == 130:
                slow.may_answer.set()
            for _ in range(5):
                await asyncio.sleep(0)
        cache.see_pod(replace(replacement, run=run.name, resource_version="9"), deleted=True)
        seen = await runs.observe(KEY, prepared, history, runs.existing(KEY, OWNER), at(150))
        return [*observations, seen.observations[run.name]], slow.asked

    (*waiting, asked, ended), watched = asyncio.run(looks())
    assert waiting == [Running(phase=Phase.DONE)] * 2
    assert asked == Waiting(reason="Terminating", detail="Ended: its pod is ending")
    assert isinstance(ended, Finished)
    assert ([trial.index for trial in ended.result.trials], ended.ended_at) == ([0], at(150))
    assert [(each.pod, each.ended_at) for each in watched] == [("study-1-abcde", at(100))]


def test_a_lost_run_has_its_devices_until_its_last_pod_lets_go_of_them() -> None:
    """The first reason stays, and the GPU-hours of the whole end are paid."""
    endings = Endings(patience=timedelta(seconds=120))
    evicted = Lost(reason="Evicted", detail="low on disk", ended_at=at(100))
    assert endings.observe("run", evicted, [make_running()], at(100)) == Waiting(
        reason="Terminating", detail="Evicted: its pod is ending"
    )
    gone = Lost(reason="ResultMissing", ended_at=at(140))
    assert endings.observe("run", gone, [], at(141)) == replace(evicted, ended_at=at(140))


def test_a_run_whose_pod_does_not_let_go_pays_until_it_is_given_up() -> None:
    """A node that does not answer keeps its devices for as long as the end is waited for."""
    endings = Endings(patience=timedelta(seconds=120))
    endings.begin("run", stopped_now({"run": "Suspended"}, at(100))["run"])
    assert isinstance(endings.observe("run", Running(phase=Phase.STARTING), [make_running()], at(220)), Waiting)
    given_up = endings.observe("run", Running(phase=Phase.STARTING), [make_running()], at(221))
    assert given_up == Lost(reason="Suspended", ended_at=at(221), counts=False)


class SlowOnce(Slow):
    """A source whose first answer comes while it is asked the second time."""

    async def samples(self, watched: WatchedRun) -> Mapping[int, Sample]:
        """Return nothing; for the first run late."""
        if self.asked:
            self.may_answer.set()
            for _ in range(9):
                await asyncio.sleep(0)
        return await super().samples(watched)


def test_an_answer_that_comes_during_a_look_is_not_taken_for_an_end() -> None:
    """A run that looks at work because a source was being asked is kept, though the answer is there by the end."""
    prepared, decision, history = first_run()
    first = replace(decision.start[0], name="study-first")
    second = replace(decision.start[0], name="study-second")
    history = replace(history, active=tuple(StartedRun(run=run, started_at=START) for run in (first, second)))
    cache = Cache()
    for run in (first, second):
        cache.see_job(make_job(name=run.name, run=run.name, uid=f"job-{run.name}"))
        left = message(0, 1, run=run.name)
        cache.see_pod(make_ended(0, left, name=run.name, run=run.name, uid=run.name, job_uid=f"job-{run.name}"))
    stopping = replace(decision, stop=(Stop(run=first.name, reason="Suspended"),))
    signs = RunProbes(None, None, cache)  # type: ignore[arg-type]

    async def look() -> tuple[Mapping[str, Observation], frozenset[str]]:
        gatherer = MetricsGatherer(
            pods=SlowOnce(), prometheus=None, order=("PodMetrics",), done=lambda _: None, moment_s=0.5
        )
        runs = make_runs(cache, signs, gatherer)
        seen = await runs.observe(KEY, prepared, history, runs.existing(KEY, OWNER), at(120))
        assert not gatherer.is_asking(KEY, first.name)
        return seen.observations, await runs.end(KEY, prepared, stopping, seen, at(121))

    observations, kept = asyncio.run(look())
    assert observations[first.name] == Running(phase=Phase.DONE)
    assert kept == {first.name}
