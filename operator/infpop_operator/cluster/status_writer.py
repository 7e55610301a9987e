"""Write what is known of a study where people look: its status, Events, the ConfigMap that it publishes to."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import KubeError, KubeForbiddenError, KubeQuotaError, KubeRefusedError
from infpop_operator.adapters.kube.records import Body
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.events import Recorder, StudyEvent, broken_runs, transitions, unanswered_runs
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.look import Look, hindered
from infpop_operator.cluster.publish import publish
from infpop_operator.cluster.resolve import ResolvedStudy
from infpop_operator.core.errors import InfPopError, StoreError
from infpop_operator.core.model import EndedRun
from infpop_operator.settings import Settings

_log = logging.getLogger(__name__)


class StatusWriter:
    """The one writer of statuses."""

    def __init__(self, *, client: KubeClient, cache: Cache, recorder: Recorder, settings: Settings) -> None:
        self._client = client
        self._cache = cache
        self._recorder = recorder
        self._pause = timedelta(seconds=settings.status_pause_seconds)
        self._told_at: dict[StudyKey, datetime] = {}

    async def tell(self, look: Look, status: StudyStatus) -> None:
        """Write the status where it differs from what is there, and tell transitions as Events.

        Raises:
            KubeConflictError: the study changed since it was read.
            KubeError: it could not be written.
        """
        if status == look.previous or self._can_wait(look, status):
            return
        written = await self._client.replace_study_status(look.body, dump_status(status))
        self._told_at[look.key] = look.now
        self._cache.see_written(written)
        await self._recorder.tell(look.body, transitions(look.previous, status))

    async def tell_ended(self, look: Look, ended: Sequence[EndedRun]) -> None:
        """Tell which of the runs broke by themselves, and of which a source of metrics had no number."""
        await self._recorder.tell(look.body, (*broken_runs(ended), *unanswered_runs(ended)))

    async def tell_hindrance(self, look: Look, error: InfPopError) -> None:
        """Say in the status what keeps the study from going on; whoever cannot be told now is told later."""
        try:
            await self.tell(look, hindered(look, _reason(error), str(error)))
        except KubeError as failure:
            _log.debug("study %s: %s", look.key, failure)

    async def publish(self, look: Look, prepared: ResolvedStudy, status: StudyStatus) -> None:
        """Write the best configuration to where the study wants it; a refusal is told and is no failure of ours."""
        if status.best is None:
            return
        try:
            told = await publish(self._client, prepared, status.best)
        except KubeRefusedError as error:
            told = StudyEvent(type="Warning", reason="PublishRefused", message=str(error))
        await self._recorder.tell(look.body, () if told is None else (told,))

    def forget(self, key: StudyKey) -> None:
        """Drop what is in memory of a study."""
        self._told_at.pop(key, None)

    def _can_wait(self, look: Look, status: StudyStatus) -> bool:
        """Say whether only details changed so soon after the last write that the next tick can tell them."""
        told_at = self._told_at.get(look.key)
        if told_at is None or look.previous is None or look.now - told_at >= self._pause:
            return False
        return _without_details(status) == _without_details(look.previous)


def dump_status(status: StudyStatus) -> Body:
    """Return the status as the API server gets it."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _without_details(status: StudyStatus) -> StudyStatus:
    """Return the status without what moves often and decides nothing: phases, and the words of conditions."""
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
