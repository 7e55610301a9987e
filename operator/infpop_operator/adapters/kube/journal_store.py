"""The store of a study's history on a cluster: its journal, in ConfigMaps that the study owns.

One step is one key, so recording a step is one small merge patch, and one request records as many steps as fit into one
ConfigMap: all of them or none. The patch names the resource version that it is based on: if two operators both believe
that they are the only one, the API server refuses one of them, which then reads again. Old rounds stay: the journal is
also the archive. ConfigMaps are used instead of the status because the status is cut to what users read, while the
journal keeps each result and its provenance whole.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import itemgetter
from typing import Any

from pydantic import ValidationError

from infpop_operator.adapters.journal import (
    VERSION,
    Header,
    NewerJournalError,
    decode_line,
    encode_entry,
    encode_line,
    fold,
)
from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import KubeConflictError, KubeError, KubeExistsError, KubeNotFoundError
from infpop_operator.adapters.kube.job_manifest import Owner, owner_reference
from infpop_operator.adapters.kube.labels import CONTENT, MANAGED_BY, MANAGER, STUDY
from infpop_operator.core.errors import StoreError
from infpop_operator.core.history_diff import Entry, apply
from infpop_operator.core.model import History

_log = logging.getLogger(__name__)

JOURNAL = "journal"
# A ConfigMap may hold 1 MiB. One that holds this much gets no more steps, and no request adds more than this, so none
# exceeds twice this size. Only the current content decides whether to start a new one, never the size of the addition:
# two operators that add to the same journal must choose the same ConfigMap, or the API server would refuse neither.
_FULL_BYTES = 400_000
_KEY_BYTES = 6


@dataclass(frozen=True, slots=True)
class _Journal:
    """A study's journal in memory: the history that it adds up to, and where the next step goes."""

    owner: Owner
    history: History
    steps: int
    segment: int
    segment_version: str | None  # None: this segment does not exist yet
    segment_bytes: int


class JournalStore:
    """The journals of all studies of one cluster, with the newest in memory.

    Args:
        client: to the API server.
        remembered: maximum number of journals in memory. One takes about 100 kB, and is dropped when its search has
            ended. With more live studies than this, reconciling one reads its journal again.
    """

    def __init__(self, client: KubeClient, *, remembered: int = 1000) -> None:
        self._client = client
        self._remembered = remembered
        self._known: OrderedDict[str, _Journal] = OrderedDict()

    async def load(self, owner: Owner, now: datetime) -> History:
        """Return the recorded history of a study; for a new study, an empty history that started at `now`.

        Raises:
            StoreError: a step is damaged, or was written by a newer version.
            KubeError: the request to the API server failed.
        """
        return (await self._journal(owner, now)).history

    async def peek(self, owner: Owner, now: datetime, *, keep: bool) -> History:
        """Return the recorded history of a study for another one, as `load` does.

        The study may be reconciled meanwhile: what its own pass has read or recorded is never replaced. With `keep` the
        journal stays in memory for that pass.
        """
        known = self._known.get(owner.uid)
        if known is None:
            read = await self._stored(owner, now)
            known = self._known.get(owner.uid, read)
            if keep:
                self._remember(owner.uid, known)
        return known.history

    def remembers(self, uid: str) -> bool:
        """Return whether a study's journal is in memory, so that looking into it takes no request."""
        return uid in self._known

    async def record(self, owner: Owner, entries: Sequence[Entry], now: datetime) -> History:
        """Record steps, and return the history that includes them.

        Records all or none of them, unless they exceed the size of one request: then a part, the first of them, may be
        recorded alone.

        Raises:
            KubeConflictError: another operator recorded a step in the meantime; load again.
            KubeError: the request to the API server failed. The next load reads the journal again.
        """
        if not entries:
            return await self.load(owner, now)
        journal = await self._journal(owner, now)
        try:
            for part in _parts(owner, journal, entries):
                journal = await self._append(owner, journal, part)
        except KubeError:
            self.forget(owner.uid)  # the API server may still have executed the request
            raise
        self._remember(owner.uid, replace(journal, history=apply(journal.history, entries)))
        return self._known[owner.uid].history

    def forget(self, uid: str) -> None:
        """Drop a study's journal from memory."""
        self._known.pop(uid, None)

    async def _journal(self, owner: Owner, now: datetime) -> _Journal:
        known = self._known.get(owner.uid)
        if known is None:
            known = await self._stored(owner, now)
        if known.steps == 0:  # a study starts with its first step, not with its first reconcile
            known = replace(known, history=History(started_at=now))
        self._remember(owner.uid, known)
        return known

    async def _stored(self, owner: Owner, now: datetime) -> _Journal:
        selector = f"{MANAGED_BY}={MANAGER},{STUDY}={owner.name},{CONTENT}={JOURNAL}"
        found = await self._client.list_config_maps(owner.namespace, selector)
        return _read(owner, [item for item in found if _belongs(item, owner)], now)

    def _remember(self, uid: str, journal: _Journal) -> None:
        self._known[uid] = journal
        self._known.move_to_end(uid)
        while len(self._known) > self._remembered:
            self._known.popitem(last=False)

    async def _append(self, owner: Owner, journal: _Journal, lines: Sequence[str]) -> _Journal:
        journal = _with_room(journal)
        data = {_key(journal.steps + offset): line for offset, line in enumerate(lines)}
        journal = await self._write(owner, journal, data)
        return replace(journal, steps=journal.steps + len(lines), segment_bytes=journal.segment_bytes + _size(lines))

    async def _write(self, owner: Owner, journal: _Journal, data: Mapping[str, str]) -> _Journal:
        """Add `data` to the newest segment; return the journal with its version, and its number if that is new."""
        if journal.segment_version is None:
            return await self._create(owner, journal, data)
        changes = {"metadata": {"resourceVersion": journal.segment_version}, "data": data}
        try:
            name = _segment_name(owner, journal.segment)
            written = await self._client.patch_config_map(owner.namespace, name, changes)
        except KubeNotFoundError as error:  # a user deleted it: what is left of the journal has to be read
            raise KubeConflictError(str(error)) from error
        return replace(journal, segment_version=str(written["metadata"]["resourceVersion"]))

    async def _create(self, owner: Owner, journal: _Journal, data: Mapping[str, str]) -> _Journal:
        """Create a new segment with `data`, under the next number whose name no foreign ConfigMap has."""
        while True:
            name = _segment_name(owner, journal.segment)
            try:
                written = await self._client.create_config_map(_config_map(owner, name, data))
            except KubeExistsError as error:
                existing = await self._existing(owner, name)
                if existing is None or _is_segment(existing, owner):
                    await self._restore(owner, existing)
                    raise KubeConflictError(str(error)) from error
                _log.warning("ConfigMap %s/%s does not belong to InfPop; its name is left out", owner.namespace, name)
                journal = replace(journal, segment=journal.segment + 1)
            else:
                return replace(journal, segment_version=str(written["metadata"]["resourceVersion"]))

    async def _existing(self, owner: Owner, name: str) -> Mapping[str, Any] | None:
        try:
            return await self._client.get_config_map(owner.namespace, name)
        except KubeNotFoundError:
            return None

    async def _restore(self, owner: Owner, segment: Mapping[str, Any] | None) -> None:
        """Restore the labels and the owner by which a segment is found, if another client has changed them."""
        if segment is None:
            return
        metadata, wanted = segment["metadata"], _metadata(owner, segment["metadata"]["name"])
        known = metadata.get("labels") or {}
        if _belongs(segment, owner) and known | wanted["labels"] == known:
            return
        _log.warning("ConfigMap %s/%s has lost labels or its owner; they are restored", owner.namespace, wanted["name"])
        owners = [each for each in metadata.get("ownerReferences") or () if each.get("uid") != owner.uid]
        changes = {
            "resourceVersion": metadata["resourceVersion"],
            "labels": wanted["labels"],
            "ownerReferences": [*owners, *wanted["ownerReferences"]],
        }
        await self._client.patch_config_map(owner.namespace, wanted["name"], {"metadata": changes})


def _read(owner: Owner, segments: Sequence[Mapping[str, Any]], now: datetime) -> _Journal:
    """Return the journal that the ConfigMaps hold; ignores those that are not named like a segment."""
    numbered = [(number, item) for item in segments if (number := _segment_number(owner, item)) is not None]
    if not numbered:
        return _Journal(owner, History(started_at=now), steps=0, segment=0, segment_version=None, segment_bytes=0)
    numbered.sort(key=itemgetter(0))
    lines = [(key, text) for _, item in numbered for key, text in sorted(_data(item).items())]
    number, last = numbered[-1]
    return _Journal(
        owner,
        _history(owner, lines, now),
        steps=_next_step(owner, lines),
        segment=number,
        segment_version=str(last["metadata"]["resourceVersion"]),
        segment_bytes=_size(_data(last).values()),
    )


def _history(owner: Owner, lines: Sequence[tuple[str, str]], now: datetime) -> History:
    if not lines:
        return History(started_at=now)
    header, *entries = (_decode(owner, key, text) for key, text in lines)
    if not isinstance(header, Header):
        names = f"the ConfigMaps {_segment_prefix(owner)}*"
        message = f"its beginning is missing. Restore {names}, or delete them: the study then measures everything again"
        raise StoreError(f"journal of {owner.namespace}/{owner.name}: {message}.")
    if header.version > VERSION:
        message = "its first step is not a journal header that this version knows. Upgrade the operator"
        raise NewerJournalError(f"journal of {owner.namespace}/{owner.name}: {message}.")
    return fold(header, tuple(entry for entry in entries if not isinstance(entry, Header)))


def _next_step(owner: Owner, lines: Sequence[tuple[str, str]]) -> int:
    """Return the number after the last step; steps before it may be missing because a user deleted them."""
    if not lines:
        return 0
    last, _ = lines[-1]
    if not last.isdecimal():
        raise _damaged(owner, last, "its key is not the number of a step")
    return int(last) + 1


def _decode(owner: Owner, key: str, text: str) -> Header | Entry:
    try:
        return decode_line(text)
    except ValidationError as error:
        raise _damaged(owner, key, error.errors(include_url=False, include_input=False)[0]["msg"]) from error


def _damaged(owner: Owner, key: str, what: str) -> StoreError:
    remedy = "Restore the ConfigMap, or delete this key to forget the step."
    return StoreError(f"journal of {owner.namespace}/{owner.name}, step {key}: damaged ({what}). {remedy}")


def _parts(owner: Owner, journal: _Journal, entries: Sequence[Entry]) -> Iterator[list[str]]:
    """Yield the journal lines for `entries`, in parts that each fit into one request."""
    header = [encode_line(_header(owner, journal.history.started_at))] if journal.steps == 0 else []
    part: list[str] = []
    taken = 0
    for line in (*header, *map(encode_entry, entries)):
        size = _size([line])
        if part and taken + size > _FULL_BYTES:
            yield part
            part, taken = [], 0
        part.append(line)
        taken += size
    yield part


def _size(lines: Iterable[str]) -> int:
    """Return the size in bytes of `lines` in a ConfigMap, including their keys."""
    return sum(len(line.encode()) + _KEY_BYTES for line in lines)


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
        "metadata": _metadata(owner, name),
        "data": dict(data),
    }


def _metadata(owner: Owner, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": {MANAGED_BY: MANAGER, STUDY: owner.name, CONTENT: JOURNAL},
        "ownerReferences": [owner_reference(owner)],
    }


def _is_segment(config_map: Mapping[str, Any], owner: Owner) -> bool:
    """Return whether a ConfigMap that has the name of a segment is one, even if its labels or its owner are altered.

    A segment without an owner is recognised by what it holds: the lines of a journal.
    """
    if _belongs(config_map, owner):
        return True
    data = _data(config_map)
    return bool(data) and all(key.isdecimal() and _is_line(text) for key, text in data.items())


def _is_line(text: str) -> bool:
    try:
        decode_line(text)
    except ValidationError:
        return False
    return True


def _belongs(config_map: Mapping[str, Any], owner: Owner) -> bool:
    """Return whether the study owns the ConfigMap: a deleted study of the same name may have left another journal."""
    references = config_map["metadata"].get("ownerReferences") or ()
    return any(reference.get("uid") == owner.uid for reference in references)


def _data(config_map: Mapping[str, Any]) -> Mapping[str, str]:
    return config_map.get("data") or {}


def _segment_name(owner: Owner, number: int) -> str:
    return f"{_segment_prefix(owner)}{number}"


def _segment_prefix(owner: Owner) -> str:
    return f"{owner.name}-{owner.uid[:8]}-{JOURNAL}-"


def _segment_number(owner: Owner, config_map: Mapping[str, Any]) -> int | None:
    """Return the number of the journal segment, None if the ConfigMap is not named like a segment."""
    number = config_map["metadata"]["name"].removeprefix(_segment_prefix(owner))
    return int(number) if number.isdecimal() else None


def _key(step: int) -> str:
    return f"{step:0{_KEY_BYTES}}"
