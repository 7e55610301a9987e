"""Write the outcome of a pass to the cluster: the study's status, its Events, and its published ConfigMap."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import KubeError, KubeForbiddenError, KubeQuotaError, KubeRefusedError
from infpop_operator.adapters.kube.records import Body
from infpop_operator.api.status import refused_status, to_status, waiting_status
from infpop_operator.api.status_context import StatusContext
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.context import ReconcileContext, ResolvedContext
from infpop_operator.cluster.events import Recorder, StudyEvent, broken_runs, runs_lacking_metrics, transitions
from infpop_operator.cluster.publish import publish
from infpop_operator.cluster.resolve import ResolvedStudy
from infpop_operator.core.errors import InfPopError, Problem, StoreError
from infpop_operator.core.model import Decision, EndedRun, Observation
from infpop_operator.settings import Settings

_log = logging.getLogger(__name__)


class StatusWriter:
    """Writes statuses; nothing else in the operator does."""

    def __init__(self, *, client: KubeClient, cache: Cache, recorder: Recorder, settings: Settings) -> None:
        self._client = client
        self._cache = cache
        self._recorder = recorder
        self._pause = timedelta(seconds=settings.status_pause_seconds)

    async def write(self, context: ReconcileContext, status: StudyStatus) -> None:
        """Write the status if it differs from the previous one, and record its transitions as Events.

        Raises:
            KubeConflictError: the study changed since the operator read it.
            KubeError: the operator could not write the status.
        """
        if status == context.previous or self._can_wait(context, status):
            return
        written = await self._client.replace_study_status(context.body, dump_status(status))
        context.memory.status_written_at = context.now
        self._cache.see_written(written)
        await self._recorder.record(context.body, transitions(context.previous, status))

    async def record_ended(self, context: ReconcileContext, ended: Sequence[EndedRun]) -> None:
        """Record an Event for each run that broke without being stopped or that lacks numbers of a metrics source."""
        await self._recorder.record(context.body, (*broken_runs(ended), *runs_lacking_metrics(ended)))

    async def write_hindrance(self, context: ReconcileContext, error: InfPopError) -> None:
        """Write to the status why the study cannot continue; if that fails too, a later pass writes it."""
        try:
            await self.write(context, hindered(context, _reason(error), str(error)))
        except KubeError as failure:
            _log.debug("study %s: %s", context.key, failure)

    async def publish(self, context: ResolvedContext, status: StudyStatus) -> None:
        """Write the best configuration to the ConfigMap that the study names; record an Event if that is refused."""
        if status.best is None:
            return
        try:
            event = await publish(self._client, context.resolved, status.best)
        except KubeRefusedError as error:
            event = StudyEvent(type="Warning", reason="PublishRefused", message=str(error))
        await self._recorder.record(context.body, () if event is None else (event,))

    def _can_wait(self, context: ReconcileContext, status: StudyStatus) -> bool:
        """Return whether only details changed shortly after the last write, so that the next tick can write them."""
        written_at = context.memory.status_written_at
        if written_at is None or context.previous is None or context.now - written_at >= self._pause:
            return False
        return _without_details(status) == _without_details(context.previous)


def refused(context: ReconcileContext, problems: Sequence[Problem]) -> StudyStatus:
    """Return the status of a study whose spec is invalid."""
    return refused_status(problems, context.now, previous=context.previous, context=_status_context(context))


def hindered(context: ReconcileContext, reason: str, message: str) -> StudyStatus:
    """Return the status of a valid study that cannot continue now."""
    return waiting_status(reason, message, context.now, previous=context.previous, context=_status_context(context))


def without_nodes(context: ReconcileContext, resolved: ResolvedStudy) -> StudyStatus:
    """Return the status of a study without a usable pool: none matches a Node now, or did in an earlier round."""
    reason = next(iter(resolved.problems.values())).reason
    message = "; ".join(f"pool {name}: {problem.message}" for name, problem in resolved.problems.items())
    status_context = replace(_status_context(context), pool_problems=resolved.problems)
    return waiting_status(reason, message, context.now, previous=context.previous, context=status_context)


def decided(context: ResolvedContext, decision: Decision, observations: Mapping[str, Observation]) -> StudyStatus:
    """Return the status after a decision; the decision's history is what the journal contains by now."""
    live = {entry.run.name for entry in decision.history.active}
    status_context = replace(
        _status_context(context),
        observations={run: seen for run, seen in observations.items() if run in live},
        pool_problems=context.resolved.problems,
        pool_nodes=context.resolved.pool_nodes,
    )
    return to_status(context.study, decision, context.now, previous=context.previous, context=status_context)


def _status_context(context: ReconcileContext) -> StatusContext:
    return StatusContext(generation=context.generation, suspended=context.is_suspended, prometheus=context.prometheus)


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
