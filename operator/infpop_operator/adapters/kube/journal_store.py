"""A study's memory on a cluster: its journal, in ConfigMaps that the study owns.

One step is one key, so remembering is one small merge patch, and as many steps as fit into one ConfigMap are remembered
by one request: all of them or none. The patch names the version that it was made from, so of two operators that believe
themselves alone one is refused and reads again. Old rounds stay: the journal is the archive as well. Why ConfigMaps and
not the status: a status is cut to what people look at, while a result with its provenance is kept whole here.
"""

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
from infpop_operator.core.history_diff import Entry, apply
from infpop_operator.core.model import History

JOURNAL = "journal"
# A ConfigMap may have 1 MiB. One with this much gets no more, and no request adds more than this: so none has more than
# twice as much. Only what is there decides whether a new one is begun, never what is to be added: of two operators that
# add to the same journal both have to choose the same ConfigMap, or neither would be refused.
_FULL_BYTES = 400_000
_KEY_BYTES = 6


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
    """The journals of all studies of one cluster, with the newest in memory.

    Args:
        client: to the API server.
        remembered: journals in memory. One is about 100 kB, and it leaves memory when its search has ended; of more
            live studies than this, each look at one reads its journal again.
    """

    def __init__(self, client: KubeClient, *, remembered: int = 1000) -> None:
        self._client = client
        self._remembered = remembered
        self._known: OrderedDict[str, _Journal] = OrderedDict()

    async def load(self, owner: Owner, now: datetime) -> History:
        """Return all that is remembered of a study; an empty history that started at `now` for a new one.

        Raises:
            StoreError: a step is damaged, or was written by a newer version.
            KubeError: the API server could not be asked.
        """
        return (await self._journal(owner, now)).history

    async def record(self, owner: Owner, entries: Sequence[Entry], now: datetime) -> History:
        """Remember steps, and return the history with them.

        All or none of them, unless they are more than a request takes: then the first of them may be remembered alone.

        Raises:
            KubeConflictError: somebody else remembered something meanwhile; load again.
            KubeError: the API server could not be asked. What it remembers is read again at the next load.
        """
        if not entries:
            return await self.load(owner, now)
        journal = await self._journal(owner, now)
        try:
            for part in _parts(owner, journal, entries):
                journal = await self._append(owner, journal, part)
        except KubeError:
            self.forget(owner.uid)  # it may have been carried out all the same
            raise
        self._remember(owner.uid, replace(journal, history=apply(journal.history, entries)))
        return self._known[owner.uid].history

    def forget(self, uid: str) -> None:
        """Drop what is in memory of a study."""
        self._known.pop(uid, None)

    async def _journal(self, owner: Owner, now: datetime) -> _Journal:
        known = self._known.get(owner.uid)
        if known is None:
            selector = f"{MANAGED_BY}={MANAGER},{STUDY}={owner.name},{CONTENT}={JOURNAL}"
            found = await self._client.list_config_maps(owner.namespace, selector)
            known = _read(owner, [item for item in found if _belongs(item, owner)], now)
        if known.steps == 0:  # a study begins with its first step, not with the first look at it
            known = replace(known, history=History(started_at=now))
        self._remember(owner.uid, known)
        return known

    def _remember(self, uid: str, journal: _Journal) -> None:
        self._known[uid] = journal
        self._known.move_to_end(uid)
        while len(self._known) > self._remembered:
            self._known.popitem(last=False)

    async def _append(self, owner: Owner, journal: _Journal, lines: Sequence[str]) -> _Journal:
        journal = _with_room(journal)
        data = {_key(journal.steps + offset): line for offset, line in enumerate(lines)}
        version = await self._write(owner, journal, data)
        return replace(
            journal,
            steps=journal.steps + len(lines),
            segment_version=version,
            segment_bytes=journal.segment_bytes + _size(lines),
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


def _read(owner: Owner, segments: Sequence[Mapping[str, Any]], now: datetime) -> _Journal:
    """Return the journal that the ConfigMaps hold; one that is not named as a segment is somebody else's."""
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
    if not isinstance(header, Header) or header.version > VERSION:
        message = "its first step is no header of a journal that this version knows. Upgrade the operator"
        raise StoreError(f"journal of {owner.namespace}/{owner.name}: {message}.")
    return fold(header, tuple(entry for entry in entries if not isinstance(entry, Header)))


def _next_step(owner: Owner, lines: Sequence[tuple[str, str]]) -> int:
    """Return the number after the last one: between, steps may be missing that somebody deleted."""
    if not lines:
        return 0
    last, _ = lines[-1]
    if not last.isdecimal():
        raise _damaged(owner, last, "it is named as no step is")
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
    """Yield the lines of a journal that `entries` add, in parts that one request each takes."""
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
    """Return the bytes that lines take in a ConfigMap, with their keys."""
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


def _data(config_map: Mapping[str, Any]) -> Mapping[str, str]:
    return config_map.get("data") or {}


def _segment_name(owner: Owner, number: int) -> str:
    return f"{_segment_prefix(owner)}{number}"


def _segment_prefix(owner: Owner) -> str:
    return f"{owner.name}-{owner.uid[:8]}-{JOURNAL}-"


def _segment_number(owner: Owner, config_map: Mapping[str, Any]) -> int | None:
    """Return which segment of the study's journal this is, None where its name is no segment's."""
    number = config_map["metadata"]["name"].removeprefix(_segment_prefix(owner))
    return int(number) if number.isdecimal() else None


def _key(step: int) -> str:
    return f"{step:0{_KEY_BYTES}}"
