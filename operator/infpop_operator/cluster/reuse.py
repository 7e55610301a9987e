"""Gather what the other studies of a namespace have measured that a study may take over.

Only a study with `reuse: SameIdentity` looks, and only while a round of it has open cells. It looks into the journals
of the studies of its own namespace, in each of its passes. The journals of unfinished studies are in memory. That of a
study whose search has ended is read once, if one of its rounds has a wanted identity, and again when that study has
changed; of more than `MOST_ENDED` such studies only the newest count. So nothing is read at every tick, and a study in
a namespace without a matching one causes no request at all.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from infpop_operator.adapters.kube.journal_store import JournalStore
from infpop_operator.adapters.kube.records import Body
from infpop_operator.api.spec import StudySpec
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.context import ResolvedContext
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.resolve import owner_of, parse_study
from infpop_operator.cluster.study_memory import SettledState, SharedView, StudyMemories
from infpop_operator.core.errors import StoreError, StudyError
from infpop_operator.core.model import History
from infpop_operator.core.reuse import SharedRun, shared_runs, wanted_identities
from infpop_operator.settings import Settings

_log = logging.getLogger(__name__)

MOST_ENDED = 32  # journals to read for one study: about 3 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """The runs that a study may take results over from, and its memory once that is recorded."""

    runs: tuple[SharedRun, ...] = ()
    view: SharedView = field(default_factory=SharedView)


class SharedResults:
    """Looks into the journals of the other studies of a namespace."""

    def __init__(self, *, cache: Cache, memories: StudyMemories, store: JournalStore, settings: Settings) -> None:
        self._cache = cache
        self._memories = memories
        self._store = store
        self._settings = settings

    async def gather(self, context: ResolvedContext, history: History) -> Gathered:
        """Return what other studies measured that this one may take over; `history` is that of this one.

        A journal that cannot be read stops only its own study.

        Raises:
            KubeError: a request to the API server failed.
        """
        study = replace(context.study, pools=context.resolved.seen_pools)
        identities = wanted_identities(study, history, context.now)
        if not identities:
            return Gathered()
        wanted = (context.generation, identities)
        looked_into = context.memory.shared.studies if context.memory.shared.wanted == wanted else {}
        runs: list[SharedRun] = []
        studies: dict[str, SettledState | None] = {}
        for key, body, settled in self._with_identity(context, identities):
            uid = str(body["metadata"]["uid"])
            if not self._is_known(uid, settled, looked_into):
                runs += await self._runs_of(context, key, body, identities, keep=settled is None)
            studies[uid] = settled
        return Gathered(runs=tuple(runs), view=SharedView(wanted=wanted, studies=studies))

    def _with_identity(
        self, context: ResolvedContext, identities: frozenset[str]
    ) -> list[tuple[StudyKey, Body, SettledState | None]]:
        """Return the other studies that may have results, the newest first, not all of those that have ended."""
        others = [(key, body, self._settled(key, body)) for key, body in self._others(context)]
        unfinished = [each for each in others if each[2] is None]
        ended = [each for each in others if each[2] is not None and _has_round_of(each[2].rounds, identities)]
        return [*unfinished, *sorted(ended, key=_created, reverse=True)[:MOST_ENDED]]

    def _others(self, context: ResolvedContext) -> Iterator[tuple[StudyKey, Body]]:
        for key in self._cache.studies():
            body = self._cache.study(key)
            if key.namespace == context.key.namespace and key != context.key and body is not None:
                yield key, body

    def _settled(self, key: StudyKey, body: Body) -> SettledState | None:
        """Return the state of a study whose search has ended, None while it goes on or is not known."""
        memory = self._memories.get(key)
        return memory.settled if memory is not None and memory.uid == body["metadata"]["uid"] else None

    def _is_known(self, uid: str, settled: SettledState | None, looked_into: Mapping[str, SettledState | None]) -> bool:
        """Return whether another look is not worth its request; a journal in use returns to memory with its study."""
        if uid not in looked_into:
            return False
        return not self._store.remembers(uid) if settled is None else looked_into[uid] is settled

    async def _runs_of(
        self, context: ResolvedContext, key: StudyKey, body: Body, identities: frozenset[str], *, keep: bool
    ) -> tuple[SharedRun, ...]:
        try:
            history = await self._store.peek(owner_of(body), context.now, keep=keep)
        except StoreError as error:
            _log.warning("study %s takes nothing over from %s: %s", context.key, key, error)
            return ()
        found = tuple(shared_runs(key.name, history, identities))
        return found if found and self._has_same_files(context, body) else ()

    def _has_same_files(self, context: ResolvedContext, body: Body) -> bool:
        """Return whether a path means the same file in both studies; the identity has only the path."""
        spec = context.resolved.document.spec
        if not _names_files(spec):
            return True
        try:
            other = parse_study(body, self._settings).spec
        except StudyError:
            return False
        return other.model.cache_claim == spec.model.cache_claim


def _created(found: tuple[StudyKey, Body, SettledState | None]) -> tuple[str, StudyKey]:
    key, body, _ = found
    return (str(body["metadata"].get("creationTimestamp", "")), key)


def _has_round_of(history: History, identities: frozenset[str]) -> bool:
    return any(entry.identity in identities for entry in history.rounds)


def _names_files(spec: StudySpec) -> bool:
    """Return whether what is measured depends on files of the image or of a volume."""
    simulation = spec.engine.simulation
    is_recorded = simulation is not None and simulation.recorded is not None
    return spec.model.name.startswith("/") or spec.workload.source.file is not None or is_recorded
