"""A study's memory on a cluster: its journal, in ConfigMaps that the study owns.

One step is one key, so remembering is one small merge patch, and any number of steps are remembered by one request:
all of them or none. The patch names the version that it was made from, so of two operators that believe themselves
alone one is refused and reads again. Old rounds stay: the journal is the archive as well. Why ConfigMaps and not the
status: a status is cut to what people look at, while a result with its provenance is kept whole here.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from infpop_operator.adapters.journal import (
    VERSION,
    Entry,
    Header,
    decode_line,
    encode_entry,
    encode_line,
    fold,
)
from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import KubeConflictError, KubeError, KubeExistsError
from infpop_operator.adapters.kube.job_manifest import Owner, owner_reference
from infpop_operator.adapters.kube.labels import CONTENT, MANAGED_BY, MANAGER, STUDY
from infpop_operator.core.errors import StoreError
from infpop_operator.core.model import History

JOURNAL = "journal"
_FULL_BYTES = 700_000  # of the 1 MiB that a ConfigMap may have; a step is about 2 kB
_REMEMBERED = 256  # histories in memory; a study beyond them is read again when it moves


@dataclass(frozen=True, slots=True)
class _Journal:
    """A study's journal as it is known: what it adds up to, and where the next step goes."""

    owner: Owner
    history: History
    steps: int
    segment: int
    segment_version: str | None  # None: this segment has to be created
    segment_bytes: int


class JournalStore:
    """The journals of all studies of one cluster, with the newest in memory."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._known: OrderedDict[str, _Journal] = OrderedDict()

    async def load(self, owner: Owner, now: datetime) -> History:
        """Return all that is remembered of a study; an empty history that started at `now` for a new one.

        Raises:
            StoreError: a step is damaged, or was written by a newer version.
            KubeError: the API server could not be asked.
        """
        return (await self._journal(owner, now)).history

    async def record(self, owner: Owner, entries: Sequence[Entry], now: datetime) -> History:
        """Remember steps, all or none, and return the history with them.

        Raises:
            KubeConflictError: somebody else remembered something meanwhile; load again.
            KubeError: the API server could not be asked. What it remembers is read again at the next load.
        """
        if not entries:
            return await self.load(owner, now)
        journal = await self._journal(owner, now)
        try:
            journal = await self._append(owner, journal, entries)
        except KubeError:
            self.forget(owner.uid)  # it may have been carried out all the same
            raise
        self._remember(owner.uid, journal)
        return journal.history

    def forget(self, uid: str) -> None:
        """Drop what is in memory of a study."""
        self._known.pop(uid, None)

    def forget_study(self, namespace: str, name: str) -> None:
        """Drop what is in memory of a study that is gone."""
        owners = [known.owner for known in self._known.values()]
        for owner in owners:
            if (owner.namespace, owner.name) == (namespace, name):
                self.forget(owner.uid)

    async def _journal(self, owner: Owner, now: datetime) -> _Journal:
        known = self._known.get(owner.uid)
        if known is None:
            selector = f"{MANAGED_BY}={MANAGER},{STUDY}={owner.name},{CONTENT}={JOURNAL}"
            found = await self._client.list_config_maps(owner.namespace, selector)
            known = _read(owner, [item for item in found if _belongs(item, owner)], now)
        self._remember(owner.uid, known)
        return known

    def _remember(self, uid: str, journal: _Journal) -> None:
        self._known[uid] = journal
        self._known.move_to_end(uid)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    async def _append(self, owner: Owner, journal: _Journal, entries: Sequence[Entry]) -> _Journal:
        lines = [encode_entry(entry) for entry in entries]
        if journal.steps == 0:
            lines.insert(0, encode_line(_header(owner, journal.history.started_at)))
        journal = _with_room(journal)
        data = {_key(journal.steps + offset): line for offset, line in enumerate(lines)}
        version = await self._write(owner, journal, data)
        return replace(
            journal,
            history=fold_more(journal.history, tuple(entries)),
            steps=journal.steps + len(lines),
            segment_version=version,
            segment_bytes=journal.segment_bytes + sum(map(len, lines)),
        )

    async def _write(self, owner: Owner, journal: _Journal, data: Mapping[str, str]) -> str:
        name = _segment_name(owner, journal.segment)
        if journal.segment_version is None:
            try:
                written = await self._client.create_config_map(_config_map(owner, name, data))
            except KubeExistsError as error:
                raise KubeConflictError(str(error)) from error
        else:
            changes = {"metadata": {"resourceVersion": journal.segment_version}, "data": data}
            written = await self._client.patch_config_map(owner.namespace, name, changes)
        return str(written["metadata"]["resourceVersion"])


def fold_more(history: History, entries: tuple[Entry, ...]) -> History:
    """Return `history` with further steps."""
    header = Header(namespace="", study="", started_at=history.started_at)
    return fold(header, (*history.rounds, *history.ended, *history.active, *entries))


def _read(owner: Owner, segments: Sequence[Mapping[str, Any]], now: datetime) -> _Journal:
    """Return the journal that the ConfigMaps hold."""
    ordered = sorted(segments, key=lambda item: _segment_number(item["metadata"]["name"]))
    lines = [(key, text) for item in ordered for key, text in sorted((item.get("data") or {}).items())]
    if not ordered or not lines:
        return _Journal(owner, History(started_at=now), steps=0, segment=0, segment_version=None, segment_bytes=0)
    header, *entries = (_decode(owner, key, text) for key, text in lines)
    if not isinstance(header, Header) or header.version > VERSION:
        message = "its first step is no header of a journal that this version knows. Upgrade the operator"
        raise StoreError(f"journal of {owner.namespace}/{owner.name}: {message}.")
    steps = tuple(entry for entry in entries if not isinstance(entry, Header))
    last = ordered[-1]
    return _Journal(
        owner,
        fold(header, steps),
        steps=len(lines),
        segment=_segment_number(last["metadata"]["name"]),
        segment_version=str(last["metadata"]["resourceVersion"]),
        segment_bytes=sum(len(text) for text in (last.get("data") or {}).values()),
    )


def _decode(owner: Owner, key: str, text: str) -> Header | Entry:
    try:
        return decode_line(text)
    except ValidationError as error:
        what = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise StoreError(
            f"journal of {owner.namespace}/{owner.name}, step {key}: damaged ({what})."
            " Restore the ConfigMap, or delete this key to forget the step."
        ) from error


def _with_room(journal: _Journal) -> _Journal:
    if journal.segment_bytes < _FULL_BYTES:
        return journal
    return replace(journal, segment=journal.segment + 1, segment_version=None, segment_bytes=0)


def _header(owner: Owner, started_at: datetime) -> Header:
    return Header(namespace=owner.namespace, study=owner.name, started_at=started_at)


def _config_map(owner: Owner, name: str, data: Mapping[str, str]) -> Mapping[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": owner.namespace,
            "labels": {MANAGED_BY: MANAGER, STUDY: owner.name, CONTENT: JOURNAL},
            "ownerReferences": [owner_reference(owner)],
        },
        "data": dict(data),
    }


def _belongs(config_map: Mapping[str, Any], owner: Owner) -> bool:
    """A study of the same name may have left a journal that is not collected yet."""
    references = config_map["metadata"].get("ownerReferences") or ()
    return any(reference.get("uid") == owner.uid for reference in references)


def _segment_name(owner: Owner, number: int) -> str:
    return f"{owner.name}-{owner.uid[:8]}-{JOURNAL}-{number}"


def _segment_number(name: str) -> int:
    return int(name.rsplit("-", 1)[1])


def _key(step: int) -> str:
    return f"{step:06}"
