"""Look at one study and bring the cluster one step closer to what its owner wants.

Level-based: whatever happened, the step starts from what is. The order makes a crash harmless at any point: ends and
starts are remembered in one request before any Job is created; a remembered run without a Job gets one; a Job that
exists already is the one that was wanted; a finished Job gets a time to live only after the status tells its result.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import KubeConflictError, KubeError, KubeNamespaceTerminatingError
from infpop_operator.adapters.kube.job_manifest import Owner
from infpop_operator.adapters.kube.journal_store import JournalStore
from infpop_operator.adapters.kube.node_pools import RememberedMatches
from infpop_operator.api.spec import ThroughputStudy
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.ending import TERMINATING
from infpop_operator.cluster.events import Recorder
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.look import Look, decided, look_at, refused, without_nodes
from infpop_operator.cluster.metrics.operator_metrics import OperatorMetrics
from infpop_operator.cluster.metrics_gatherer import MetricsGatherer
from infpop_operator.cluster.resolve import ResolvedStudy, join_nodes, owner_of, parse_study
from infpop_operator.cluster.run_probes import RunProbes
from infpop_operator.cluster.runs import Jobs, Runs
from infpop_operator.cluster.settled import Settled, Sight, sight_of
from infpop_operator.cluster.status_writer import StatusWriter
from infpop_operator.cluster.step import as_told, plan_step, with_devices_held
from infpop_operator.core.decide import decide
from infpop_operator.core.errors import StoreError, StudyError
from infpop_operator.core.model import Decision, History, StartedRun, Verdict, Waiting
from infpop_operator.settings import Settings

_log = logging.getLogger(__name__)

_SHORTEST_WAIT_S = 1.0  # time alone changes nothing that could not wait a second
Clock = Callable[[], datetime]


class Reconciler:
    """Looks at studies, one at a time each; everything that it keeps in memory can be lost at any time."""

    def __init__(
        self,
        *,
        client: KubeClient,
        cache: Cache,
        signs: RunProbes,
        gatherer: MetricsGatherer,
        metrics: OperatorMetrics,
        recorder: Recorder,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._cache = cache
        self._settings = settings
        self._clock = clock
        self._store = JournalStore(client)
        self._gatherer = gatherer
        self._metrics = metrics
        self._runs = Runs(client=client, cache=cache, signs=signs, gatherer=gatherer, settings=settings, clock=clock)
        self._teller = StatusWriter(client=client, cache=cache, recorder=recorder, settings=settings)
        self._match = RememberedMatches()
        self._unfinished: set[StudyKey] = set()
        self._settled: dict[StudyKey, Settled] = {}
        self._unchecked: set[StudyKey] = set()

    def unfinished(self) -> tuple[StudyKey, ...]:
        """Return the studies that go on by themselves, so that time alone may change something for them."""
        return tuple(self._unfinished)

    def look_after_published(self) -> None:
        """Have what ended studies published looked after at their next look: no watch tells that it is gone."""
        self._unchecked = set(self._settled)

    async def reconcile(self, key: StudyKey) -> float | None:
        """Look at one study; return when to look again although nothing happened (seconds), None for not at all.

        Raises:
            InfPopError: the API server did not do its part; looking again is safe at any time.
        """
        body = self._cache.study(key)
        if body is None:
            self._forget(key)
            return None
        look = look_at(key, body, self._clock(), prometheus=self._gatherer.standing())
        try:
            if body["metadata"].get("deletionTimestamp"):
                await self._let_go(look)
                return None
            return await self._look(look)
        except KubeNamespaceTerminatingError:
            self._unfinished.discard(key)
            _log.info("study %s: its namespace is being deleted", key)
            return None
        except KubeConflictError:
            raise  # somebody changed what was read: looking again is all that it takes
        except (KubeError, StoreError) as error:
            await self._teller.tell_hindrance(look, error)
            raise

    async def _look(self, look: Look) -> float | None:
        try:
            document = parse_study(look.body, self._settings)
        except StudyError as error:
            await self._refuse(look, error)
            return None
        settled = self._settled.get(look.key)
        if settled is not None:
            prepared = self._resolve(look, document, settled.rounds)
            if self._sight(look, prepared) == settled.sight:
                await self._look_after_published(look, prepared)
                return None
        jobs = self._runs.existing(look.key, owner_of(look.body))
        remembered = await self._remembered(owner_of(look.body), jobs, look.now)
        prepared = self._resolve(look, document, remembered)
        if not prepared.study.pools:
            self._unfinished.add(look.key)
            await self._teller.tell(look, without_nodes(look, prepared))
            return None
        return await self._step(look, prepared, remembered, jobs)

    def _resolve(self, look: Look, document: ThroughputStudy, history: History) -> ResolvedStudy:
        nodes, owner = self._cache.nodes(), owner_of(look.body)
        return join_nodes(document, owner, nodes, history, self._settings, match=self._match, previous=look.previous)

    def _sight(self, look: Look, prepared: ResolvedStudy) -> Sight:
        return sight_of(look.body, prepared, self._cache.jobs(look.key, study_uid=look.uid))

    async def _refuse(self, look: Look, error: StudyError) -> None:
        """Say what is wrong. What runs was wanted by the last spec that could be understood, and ends by itself."""
        self._unfinished.discard(look.key)
        if look.is_suspended:
            await self._runs.end_all(look.key, look.uid)
        await self._teller.tell(look, refused(look, error.problems))

    async def _let_go(self, look: Look) -> None:
        """Free the GPUs of a study that is being deleted, however long somebody else's finalizer holds it."""
        await self._runs.end_all(look.key, look.uid)
        self._forget(look.key)

    async def _step(self, look: Look, prepared: ResolvedStudy, remembered: History, jobs: Jobs) -> float | None:
        key, now, owner = look.key, look.now, prepared.owner
        sight = self._sight(look, prepared)
        seen = await self._runs.observe(key, prepared, remembered, jobs, now)
        before, observations = seen.history, seen.observations
        decision = await asyncio.to_thread(decide, prepared.study, before, observations, now)
        if await self._runs.hear_out(key, prepared, decision, seen, jobs):
            return 0.0
        held = await self._runs.end(key, prepared, decision, seen, now)
        terminating = {run for run, seen in observations.items() if _is_terminating(seen)}
        any_ending = bool(held | terminating)
        step = plan_step(before, decision, held, any_ending=any_ending)
        ended = self._runs.with_reasons(step.ended)
        starts = tuple(StartedRun(run=run, started_at=now) for run in step.start)
        # A study that is applied suspended has not begun: its deadline counts from what is remembered first.
        rounds = () if prepared.study.suspended and not before.rounds else step.rounds
        history = await self._store.record(owner, (*rounds, *ended, *starts), now)
        for entry in ended:
            self._metrics.run_ended(entry)
        await self._runs.end_leftovers(key, history, jobs)
        refused_runs = await self._runs.create(key, prepared, history, jobs)
        history = await self._store.record(owner, refused_runs, now)
        told = as_told(decision, _as_held(history, before), any_ending=any_ending)
        self._note_activity(key, told)
        status = decided(look, prepared, told, observations)
        await self._teller.tell(look, status)
        await self._teller.tell_ended(look, (*ended, *refused_runs))
        await self._runs.expire(prepared, history, jobs)
        self._runs.forget_ended(key, history, (*ended, *refused_runs))
        if told.verdict is Verdict.SUCCEEDED:
            await self._teller.publish(look, prepared, status)
        self._settle(look, status, Settled(sight=sight, rounds=replace(history, ended=(), active=())))
        return 0.0 if refused_runs else _seconds_until(decision.wake_at, now)

    async def _remembered(self, owner: Owner, jobs: Jobs, now: datetime) -> History:
        """Return the history. Where it does not know a Job, somebody else went on with the study: it is read anew.

        A start is remembered before its Job is made, so what is read after a Job was seen knows that Job.
        """
        history = await self._store.load(owner, now)
        known = {entry.run.name for entry in history.active} | {entry.run.name for entry in history.ended}
        if jobs.keys() <= known:
            return history
        self._store.forget(owner.uid)
        return await self._store.load(owner, now)

    async def _look_after_published(self, look: Look, prepared: ResolvedStudy) -> None:
        if look.key in self._unchecked and look.previous is not None:
            if any(known.type == "Succeeded" and known.status == "True" for known in look.previous.conditions):
                await self._teller.publish(look, prepared, look.previous)
            self._unchecked.discard(look.key)

    def _note_activity(self, key: StudyKey, told: Decision) -> None:
        goes_on = told.verdict in (Verdict.RUNNING, Verdict.WAITING)
        (self._unfinished.add if goes_on else self._unfinished.discard)(key)

    def _settle(self, look: Look, status: StudyStatus, settled: Settled) -> None:
        """Leave a study alone whose search has ended and whose look changed nothing; its journal leaves memory."""
        if look.key in self._unfinished or status != look.previous or settled.sight.open_jobs:
            self._settled.pop(look.key, None)
            return
        self._settled[look.key] = settled
        self._store.forget(look.uid)

    def _forget(self, key: StudyKey) -> None:
        self._settled.pop(key, None)
        self._unfinished.discard(key)
        self._unchecked.discard(key)
        self._teller.forget(key)
        self._runs.forget_study(key)
        self._store.forget_study(key.namespace, key.name)


def _is_terminating(seen: object) -> bool:
    return isinstance(seen, Waiting) and seen.reason == TERMINATING


def _as_held(history: History, before: History) -> History:
    return with_devices_held(history, {entry.run.name: entry for entry in before.active})


def _seconds_until(instant: datetime | None, now: datetime) -> float | None:
    return None if instant is None else max(_SHORTEST_WAIT_S, (instant - now).total_seconds())
