"""Write the outcome of a pass to the cluster: the study's status, its Events, and its published ConfigMap."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import KubeError, KubeForbiddenError, KubeQuotaError, KubeRefusedError
from infpop_operator.adapters.kube.records import Body
from infpop_operator.api.conditions import kept_state
from infpop_operator.api.status import refused_status, to_status, waiting_status, with_published
from infpop_operator.api.status_context import ConditionState, StatusContext
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.context import ReconcileContext, ResolvedContext
from infpop_operator.cluster.events import (
    Recorder,
    StudyEvent,
    broken_runs,
    runs_lacking_metrics,
    transitions_of_course,
    transitions_of_state,
)
from infpop_operator.cluster.publish import Outcome, publish, published_event
from infpop_operator.cluster.resolve import ResolvedStudy
from infpop_operator.core.decision import Decision
from infpop_operator.core.errors import InfPopError, Problem, StoreError
from infpop_operator.core.model import EndedRun, Observation
from infpop_operator.settings import Settings

_log = logging.getLogger(__name__)

_MISSPELLED_AFTER = timedelta(hours=1)  # a new node pool, its drivers and its labels take minutes

_CATCH_UP = timedelta(minutes=10)  # an operator is back sooner, and the API server keeps an Event for an hour
_MOST_OWED = 100  # of one study; an outage in which more runs break has other signs


class StatusWriter:
    """Writes statuses; nothing else in the operator does."""

    def __init__(self, *, client: KubeClient, cache: Cache, recorder: Recorder, settings: Settings) -> None:
        self._client = client
        self._cache = cache
        self._recorder = recorder
        self._pause = timedelta(seconds=settings.status_pause_seconds)

    async def write(self, context: ReconcileContext, status: StudyStatus) -> None:
        """Write the status if it differs from the previous one, and record its transitions as Events.

        The Events that follow from the journal come first: if the operator dies or gets no answer in between, the next
        pass finds the same ones, and what exists is not written again. The Events of conditions come last.

        Raises:
            KubeConflictError: the study changed since the operator read it.
            KubeError: the operator could not write the status.
        """
        if status == context.previous or self._can_wait(context, status):
            return
        await self._recorder.record(context.body, transitions_of_course(context.previous, status))
        written = await self._client.replace_study_status(context.body, dump_status(status))
        context.memory.status_written_at = context.now
        self._cache.see_written(written)
        await self._recorder.record(context.body, transitions_of_state(context.previous, status))

    async def record(self, context: ReconcileContext, events: Sequence[StudyEvent]) -> None:
        """Record Events about the study."""
        await self._recorder.record(context.body, events)

    async def record_ended(
        self, context: ReconcileContext, ended: Sequence[EndedRun], *, recorded: Sequence[EndedRun] = ()
    ) -> None:
        """Record an Event for each run that broke without being stopped or that lacks numbers of a metrics source.

        It is called when their ends are in the journal and before anything else can fail. What the API server gave no
        answer to is tried again with the next pass, as is what became due meanwhile. The first pass of an operator also
        catches up on the runs in the journal (`recorded`) that ended shortly before: the operator before it may have
        died in between. An Event that exists is not written again.
        """
        owed = context.memory.owed
        if owed is None:
            lately = context.now - _CATCH_UP
            owed = _events_of([entry for entry in recorded if entry.observation.ended_at >= lately])
        unanswered = await self._recorder.record(context.body, (*owed, *_events_of(ended)))
        meanwhile = (event for event in context.memory.owed or () if event not in owed)
        context.memory.owed = (*unanswered, *meanwhile)[-_MOST_OWED:]

    async def record_lost_journal(self, context: ReconcileContext) -> None:
        """Record an Event for a study whose journal was deleted."""
        message = (
            f"the ConfigMaps of this study's journal were deleted before {context.now:%Y-%m-%d %H:%M:%S} UTC, and its "
            "measurements with them; it measures everything again, and its budget counts from zero. Set spec.suspend "
            "to true to prevent that"
        )
        await self._recorder.record(context.body, [StudyEvent(type="Warning", reason="JournalLost", message=message)])

    async def write_hindrance(self, context: ReconcileContext, error: InfPopError) -> None:
        """Write to the status why the study cannot continue; if that fails too, a later pass writes it."""
        try:
            await self.write(context, hindered(context, error))
        except KubeError as failure:
            _log.debug("study %s: %s", context.key, failure)

    async def publish(self, context: ResolvedContext, status: StudyStatus, *, while_searching: bool) -> StudyStatus:
        """Write what the study publishes to its ConfigMaps; return the status with what came of it.

        Args:
            context: the study.
            status: its status, which follows from its journal and says what it publishes.
            while_searching: a search goes on, so only what others changed is put right.

        Raises:
            KubeError: the API server gave no answer, or another client writes to the ConfigMap.
        """
        if status.published is None:
            return status
        outcome = await publish(
            self._client,
            context.resolved,
            status.published,
            previous=context.previous,
            while_searching=while_searching,
        )
        if outcome is None:
            return status
        events = dict.fromkeys((*outcome.events, *_publication_events(context, status, outcome)))
        unanswered = await self._recorder.record(context.body, tuple(events))
        context.memory.owed = (*(context.memory.owed or ()), *unanswered)[-_MOST_OWED:]
        return with_published(status, outcome.state, context.now, previous=context.previous)

    def _can_wait(self, context: ReconcileContext, status: StudyStatus) -> bool:
        """Return whether only details changed shortly after the last write, so that the next tick can write them."""
        written_at = context.memory.status_written_at
        if written_at is None or context.previous is None or abs(context.now - written_at) >= self._pause:
            return False
        return _without_details(status) == _without_details(context.previous)


def _publication_events(context: ResolvedContext, status: StudyStatus, outcome: Outcome) -> tuple[StudyEvent, ...]:
    """Return the Event of a publication that the last status does not have.

    The operator may have died after it wrote the ConfigMaps and before it wrote that Event. An Event that exists is not
    written again.
    """
    target, previous = context.resolved.document.spec.publish, context.previous
    if target is None or status.published is None or previous is None or not outcome.state.holds:
        return ()
    before = previous.published
    was_published = any(each.type == "Published" and each.status == "True" for each in previous.conditions)
    is_due = not was_published if before is None else before.at != status.published.at
    return (published_event(target.config_map, status.published),) if is_due else ()


def _events_of(ended: Sequence[EndedRun]) -> tuple[StudyEvent, ...]:
    return (*broken_runs(ended), *runs_lacking_metrics(ended))


def refused(context: ReconcileContext, problems: Sequence[Problem]) -> StudyStatus:
    """Return the status of a study whose spec is invalid."""
    return refused_status(problems, context.now, previous=context.previous, context=_status_context(context))


def hindered(context: ReconcileContext, error: InfPopError) -> StudyStatus:
    """Return the status of a valid study that cannot continue now; with a damaged journal, not before its user acts."""
    return waiting_status(
        _reason(error),
        str(error),
        context.now,
        previous=context.previous,
        context=_status_context(context),
        stalled=isinstance(error, StoreError),
    )


def _published(context: ReconcileContext) -> ConditionState | None:
    """Return the last known state of Published, None without one or if the study names no ConfigMap."""
    spec = context.body.get("spec")
    if not isinstance(spec, Mapping) or not spec.get("publish"):
        return None
    conditions = () if context.previous is None else context.previous.conditions
    return kept_state("Published", conditions, None)


def without_nodes(context: ReconcileContext, resolved: ResolvedStudy) -> StudyStatus:
    """Return the status of a study without a usable pool: none matches a Node now, or did in an earlier round."""
    reason = next(iter(resolved.problems.values())).reason
    message = "; ".join(f"pool {name}: {problem.message}" for name, problem in resolved.problems.items())
    overdue = overdue_pools(context, resolved)
    return waiting_status(
        reason,
        message,
        context.now,
        previous=context.previous,
        context=replace(_status_context(context), pool_problems=resolved.problems, overdue_pools=overdue),
        stalled=resolved.problems.keys() <= overdue and not context.is_suspended,
    )


def overdue_pools(context: ReconcileContext, resolved: ResolvedStudy) -> frozenset[str]:
    """Return the pools whose product no GPU node has had for an hour: probably a misspelling.

    The time counts since the study began to wait or to run, or since its spec was changed, whichever is later.
    """
    unknown = frozenset(name for name, problem in resolved.problems.items() if problem.is_unknown_product)
    if not unknown or context.previous is None or context.previous.observed_generation != context.generation:
        return frozenset()
    conditions = {condition.type: condition for condition in context.previous.conditions}
    stalled, reconciling = conditions.get("Stalled"), conditions.get("Reconciling")
    reasons = {resolved.problems[name].reason for name in unknown}
    if stalled is not None and stalled.status == "True" and stalled.reason in reasons:
        return unknown
    if reconciling is None or reconciling.status != "True":
        return frozenset()
    since = max(reconciling.last_transition_time, context.memory.generation_seen_at or reconciling.last_transition_time)
    return unknown if context.now - since >= _MISSPELLED_AFTER else frozenset()


def decided(context: ResolvedContext, decision: Decision, observations: Mapping[str, Observation]) -> StudyStatus:
    """Return the status after a decision; the decision's history is what the journal contains by now."""
    live = {entry.run.name for entry in decision.history.active}
    status_context = replace(
        _status_context(context),
        observations={run: seen for run, seen in observations.items() if run in live},
        pool_problems=context.resolved.problems,
        overdue_pools=overdue_pools(context, context.resolved),
        pool_nodes=context.resolved.pool_nodes,
    )
    return to_status(context.study, decision, context.now, previous=context.previous, context=status_context)


def _status_context(context: ReconcileContext) -> StatusContext:
    return StatusContext(
        generation=context.generation,
        suspended=context.is_suspended,
        prometheus=context.prometheus,
        published=_published(context),
    )


def dump_status(status: StudyStatus) -> Body:
    """Return the status as JSON for the API server."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _without_details(status: StudyStatus) -> StudyStatus:
    """Return the status without fields that change often and decide nothing: runs, condition reasons and messages."""
    conditions = [condition.model_copy(update={"reason": "", "message": ""}) for condition in status.conditions]
    return status.model_copy(update={"runs": [], "conditions": conditions})


def _reason(error: InfPopError) -> str:
    match error:
        case StoreError():
            return "JournalUnreadable"
        case KubeQuotaError():
            return "QuotaExceeded"
        case KubeForbiddenError():
            return "MissingRights"
        case KubeRefusedError():
            return "ApiRefused"
        case _:
            return "ApiUnavailable"
