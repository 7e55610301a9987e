"""Reconcile one study: bring the cluster one step closer to the desired state.

Reconciliation is level-based: whatever happened before, a pass starts from the observed state. The order of its steps
makes a crash harmless at any point: the operator records ends, stops and starts in one request before it creates or
deletes any Job; a recorded run without a Job gets one; a Job that exists already is taken as the desired one; a
finished Job gets a time to live only after the status contains its result.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import KubeConflictError, KubeError, KubeNamespaceTerminatingError
from infpop_operator.adapters.kube.journal_store import JournalStore
from infpop_operator.adapters.kube.node_pools import RememberedMatches
from infpop_operator.api.spec import ThroughputStudy
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.api.study_object import retune_request
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.context import ReconcileContext, ResolvedContext, read_context, resolve_context
from infpop_operator.cluster.events import Recorder, clock_jump
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.metrics.operator_metrics import OperatorMetrics
from infpop_operator.cluster.metrics_gatherer import MetricsGatherer
from infpop_operator.cluster.resolve import join_nodes, parse_study
from infpop_operator.cluster.reuse import SharedResults
from infpop_operator.cluster.run_probes import RunProbes
from infpop_operator.cluster.runs import Jobs, Runs
from infpop_operator.cluster.status_writer import StatusWriter, decided, refused, without_nodes
from infpop_operator.cluster.study_memory import SettledState, StudyMemories
from infpop_operator.core.decide import decide, stop_runs
from infpop_operator.core.decision import Decision, Verdict
from infpop_operator.core.errors import StoreError, StudyError
from infpop_operator.core.history_diff import Entry, apply, changes
from infpop_operator.core.model import SUSPENDED, EndedRun, History, Round, StartedRun
from infpop_operator.core.publication import with_publication
from infpop_operator.settings import Settings

_log = logging.getLogger(__name__)

_SHORTEST_WAIT_S = 1.0  # nothing that depends on time alone is more urgent
Clock = Callable[[], datetime]


class Reconciler:
    """Reconciles studies, one pass per study at a time; everything that it keeps in memory can be lost at any time."""

    def __init__(
        self,
        *,
        client: KubeClient,
        cache: Cache,
        memories: StudyMemories,
        probes: RunProbes,
        gatherer: MetricsGatherer,
        metrics: OperatorMetrics,
        recorder: Recorder,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._cache = cache
        self._memories = memories
        self._settings = settings
        self._clock = clock
        self._store = JournalStore(client)
        self._gatherer = gatherer
        self._metrics = metrics
        self._runs = Runs(client=client, cache=cache, probes=probes, gatherer=gatherer, settings=settings, clock=clock)
        self._writer = StatusWriter(client=client, cache=cache, recorder=recorder, settings=settings)
        self._match = RememberedMatches()
        self._shared = SharedResults(cache=cache, memories=memories, store=self._store, settings=settings)

    def unfinished(self) -> tuple[StudyKey, ...]:
        """Return the studies that continue by themselves, so that time alone may change something for them."""
        return tuple(memory.key for memory in self._memories if memory.is_unfinished)

    def note_jump(self, seconds: float) -> None:
        """Owe each unfinished study an Event about a jump of the API server's clock, in place of one about another."""
        jump = clock_jump(seconds, self._clock())
        for memory in self._memories:
            if memory.is_unfinished and memory.owed is not None:
                others = (event for event in memory.owed if event.reason != jump.reason)
                memory.owed = (*others, jump)

    def recheck_published(self) -> None:
        """Recheck published ConfigMaps on the next pass of their studies: no watch reports a changed ConfigMap."""
        for memory in self._memories:
            memory.recheck_published = True

    async def reconcile(self, key: StudyKey) -> float | None:
        """Do one pass over a study; return the seconds until a pass is due even if nothing changes, or None.

        Raises:
            InfPopError: a request to the API server failed; another pass is safe at any time.
        """
        body = self._cache.study(key)
        if body is None:
            self._drop(key)
            await self._runs.objects.free_strays(key)
            return None
        uid = str(body["metadata"]["uid"])
        if self._memories.of(key).uid not in (None, uid):
            self._drop(key)  # the study was deleted and created again
        context = read_context(body, self._memories.of(key), self._clock(), prometheus=self._gatherer.health())
        context.memory.uid = uid
        if context.previous is not None and context.previous.observed_generation != context.generation:
            context.memory.generation_seen_at = context.now
        try:
            await self._writer.record(context, await self._runs.objects.refresh(context))
            if body["metadata"].get("deletionTimestamp"):
                await self._free(context)
                return None
            return await self._reconcile(context)
        except KubeNamespaceTerminatingError:
            context.memory.is_unfinished = False
            _log.info("study %s: its namespace is being deleted", key)
            return None
        except KubeConflictError:
            raise  # the study changed since it was read: another pass is enough
        except (KubeError, StoreError) as error:
            await self._writer.write_hindrance(context, error)
            raise

    async def _reconcile(self, context: ReconcileContext) -> float | None:
        try:
            document = parse_study(context.body, self._settings)
        except StudyError as error:
            await self._refuse(context, error)
            return None
        settled = context.memory.settled
        if settled is not None:
            resolved_context = self._resolve(context, document, settled.rounds)
            if self._state(resolved_context, settled.rounds) == settled:
                await self._recheck_published(resolved_context)
                return None
        jobs = self._runs.jobs_by_run(context)
        history = await self._load(context, jobs)
        resolved_context = self._resolve(context, document, history)
        if not resolved_context.study.pools and not history.active:
            context.memory.is_unfinished = True
            await self._writer.write(context, without_nodes(context, resolved_context.resolved))
            return None
        return await self._step(resolved_context, history, jobs)

    def _resolve(self, context: ReconcileContext, document: ThroughputStudy, history: History) -> ResolvedContext:
        resolved = join_nodes(
            document,
            context.owner,
            self._cache.nodes(),
            history,
            self._settings,
            match=self._match,
            previous=context.previous,
            requested=retune_request(context.body["metadata"]),
        )
        return resolve_context(context, resolved)

    def _state(self, context: ResolvedContext, history: History) -> SettledState:
        """Return everything that a pass depends on once the study's search has ended.

        Such studies stay for months, and each Node that appears or disappears marks all of them.
        """
        jobs = self._cache.jobs(context.key, study_uid=context.uid)
        return SettledState(
            rounds=replace(history, ended=(), active=()),
            version=context.body["metadata"]["resourceVersion"],
            matched=context.resolved.matched,
            problems=context.resolved.problems,
            open_jobs=tuple(job for job in jobs if job.end is None or job.ttl_seconds is None),
        )

    async def _refuse(self, context: ReconcileContext, error: StudyError) -> None:
        """Report an invalid spec in the status.

        Running Jobs came from the last valid spec and are left to finish, unless the study is suspended.
        """
        context.memory.is_unfinished = False
        if context.is_suspended and self._runs.jobs_by_run(context):
            await self._record_suspended(context)
            await self._runs.delete_all(context)
            await self._runs.objects.delete_orphans(context)
        await self._writer.write(context, refused(context, error.problems))

    async def _record_suspended(self, context: ReconcileContext) -> None:
        """Record that the study stops its runs, so that the deletion of their Jobs counts as no failure."""
        history = await self._load(context, self._runs.jobs_by_run(context))
        reasons = dict.fromkeys((entry.run.name for entry in history.active), SUSPENDED)
        stopping = stop_runs(history, reasons, context.now)
        await self._store.record(context.owner, changes(history, stopping), context.now)

    async def _free(self, context: ReconcileContext) -> None:
        """Free the GPUs of a study that is being deleted, even if a finalizer delays its deletion."""
        await self._runs.delete_all(context)
        await self._runs.objects.delete_orphans(context)
        self._drop(context.key)

    async def _step(self, context: ResolvedContext, recorded: History, jobs: Jobs) -> float | None:
        now = context.now
        state = self._state(context, recorded)
        observed = await self._runs.observe(context, recorded)
        before = observed.history
        held = self._runs.objects.held(context)
        shared = await self._shared.gather(context, before)
        decision = await asyncio.to_thread(
            decide, context.study, before, observed.observations, now, held=held, shared=shared.runs
        )
        decision = with_publication(context.study, decision, now)  # in the journal before anything else shows it
        entries = _entries(context, before, decision)
        await self._store.record(context.owner, entries, now)
        context.memory.shared = shared.view
        if entries and _has_lost_journal(context, recorded):
            await self._writer.record_lost_journal(context)
        history = apply(before, entries)
        ended = [entry for entry in entries if isinstance(entry, EndedRun)]
        for entry in ended:
            self._metrics.count_ended_run(entry)
        known = {(opened.pool, opened.number): opened for opened in before.rounds}
        for opened in (entry for entry in entries if isinstance(entry, Round)):
            self._metrics.count_round(known.get((opened.pool, opened.number)), opened)
        await self._writer.record_ended(context, ended, recorded=recorded.ended)
        needs_pass = await self._runs.stop(context, decision.stop)
        await self._runs.delete_leftovers(context, history, jobs)
        await self._writer.record(context, await self._runs.objects.delete_orphans(context))
        refused_runs = await self._runs.create(context, history)
        await self._store.record(context.owner, refused_runs, now)
        await self._writer.record_ended(context, refused_runs)
        decision = replace(decision, history=apply(history, refused_runs))
        status = decided(context, decision, observed.observations)
        status = await self._finish(context, decision, status, jobs)
        self._settle(context, status, replace(state, rounds=replace(decision.history, ended=(), active=())))
        return 0.0 if refused_runs or needs_pass else _seconds_until(decision.wake_at, now)

    async def _finish(
        self, context: ResolvedContext, decision: Decision, status: StudyStatus, jobs: Jobs
    ) -> StudyStatus:
        """Publish the result of a search that has ended; write the status, which is returned, and Events.

        Then drop the Jobs and the memory that are no longer needed. If the result cannot be published now, the study
        ends all the same, and the error makes the queue try again.
        """
        failure: KubeError | None = None
        goes_on = decision.verdict in (Verdict.RUNNING, Verdict.WAITING)
        context.memory.is_unfinished = goes_on or bool(decision.retunes_at) or _stalls_later(context, status)
        while_searching = decision.verdict is not Verdict.SUCCEEDED
        if not while_searching or context.memory.recheck_published:
            try:
                status = await self._writer.publish(context, status, while_searching=while_searching)
                context.memory.recheck_published = False
            except KubeError as error:
                failure = error
                before = None if context.previous is None else context.previous.published
                status = status.model_copy(update={"published": before})  # until the ConfigMaps have it
        await self._writer.write(context, status)
        await self._runs.expire(context, decision.history, jobs)
        live = {entry.run.name for entry in decision.history.active}
        context.memory.drop_ended_runs(live)
        self._cache.drop_ended_runs(context.key, live)
        if failure is not None:
            raise failure
        return status

    async def _load(self, context: ReconcileContext, jobs: Jobs) -> History:
        """Return the recorded history; read it again if it lacks the run of a Job, which another operator has added.

        A start is recorded before its Job is created, so a journal that is read after its Job was seen has that run.
        """
        history = await self._store.load(context.owner, context.now)
        known = {entry.run.name for entry in history.active} | {entry.run.name for entry in history.ended}
        if jobs.keys() <= known:
            return history
        self._store.forget(context.uid)
        return await self._store.load(context.owner, context.now)

    async def _recheck_published(self, context: ResolvedContext) -> None:
        """Publish again if that is due, and write the status if the outcome differs from what it says."""
        if not context.memory.recheck_published or context.previous is None:
            return
        conditions = context.previous.conditions
        succeeded = any(each.type == "Succeeded" and each.status == "True" for each in conditions)
        status = await self._writer.publish(context, context.previous, while_searching=not succeeded)
        await self._writer.write(context, status)
        context.memory.recheck_published = False

    def _settle(self, context: ResolvedContext, status: StudyStatus, state: SettledState) -> None:
        """Mark a study as settled and drop its journal from memory if its search ended and the pass changed nothing."""
        if context.memory.is_unfinished or status != context.previous or state.open_jobs:
            context.memory.settled = None
            return
        context.memory.settled = state
        self._store.forget(context.uid)

    def _drop(self, key: StudyKey) -> None:
        """Drop everything that the operator keeps in memory about a study that is gone."""
        memory = self._memories.drop(key)
        if memory is not None and memory.uid is not None:
            self._store.forget(memory.uid)
        self._cache.drop_study(key)


def _entries(context: ResolvedContext, before: History, decision: Decision) -> tuple[Entry, ...]:
    """Return the journal entries of a decision.

    A study that is created suspended has no round yet: its deadline counts from the first recorded entry.
    """
    starts = (StartedRun(run=run, started_at=context.now) for run in decision.start)
    entries = (*changes(before, decision.history), *starts)
    if context.study.suspended and not before.rounds:
        return tuple(entry for entry in entries if not isinstance(entry, Round))
    return entries


def _has_lost_journal(context: ResolvedContext, recorded: History) -> bool:
    """Return whether the status shows results and the journal is empty: a user deleted it."""
    shown = context.previous
    is_empty = not (recorded.rounds or recorded.ended or recorded.active)
    return is_empty and shown is not None and any(row.round is not None for row in shown.pools)


def _stalls_later(context: ResolvedContext, status: StudyStatus) -> bool:
    """Return whether the study waits for a product that no node has, which time alone turns into a stall."""
    waits = any(each.type == "Reconciling" and each.status == "True" for each in status.conditions)
    return waits and any(problem.is_unknown_product for problem in context.resolved.problems.values())


def _seconds_until(instant: datetime | None, now: datetime) -> float | None:
    return None if instant is None else max(_SHORTEST_WAIT_S, (instant - now).total_seconds())
