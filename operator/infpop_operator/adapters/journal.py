"""The journal of a study: an append-only file with one JSON object per line.

Every line is on disk before `append` returns. An incomplete last line (the process or the machine died while writing
it) was never acted upon and is dropped; any other unreadable line is an error that names the line. This module does no
locking.

The format has its own version, which does not change when the status or a name in the code changes. It increases only
if an older version would misread a journal. Version 1 has gained keys that an older version ignores and that its own
journals lack: `hardware` and `engine` of a round, and everything about changes of its pool, which is left out while it
is empty, as is what is new about a run. Two fields of `Finished` have new names in the code; the journal keeps the
original ones. So an upgrade loses nothing. After a downgrade, an older version takes a round that was resumed for an
older one, and starts another; it cannot read the result of a run that skipped a trial.
"""

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    field_serializer,
    field_validator,
)

from infpop_operator.adapters.files import unwritable
from infpop_operator.core.errors import StoreError
from infpop_operator.core.history_diff import Entry, apply
from infpop_operator.core.model import EndedRun, History, Round, StartedRun

VERSION = 1
_NEWER = ("in_order", "confirms")  # of a run: absent while False, as in the journals of earlier versions
_KEYS: Mapping[str, str] = {"missing_sources": "unanswered", "extra_metrics": "figures"}  # field of Finished -> its key


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Header(_Line):
    """The first line: which study the journal belongs to."""

    kind: Literal["journal"] = "journal"
    version: int = VERSION
    namespace: str
    study: str
    started_at: AwareDatetime


class RoundLine(_Line):
    """A round started."""

    kind: Literal["round"] = "round"
    round: Round

    @field_serializer("round", mode="wrap")
    def _without_empty(self, entry: Round, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in write(entry).items() if value not in ([], 0)}


class StartedLine(_Line):
    """A run is about to be started."""

    kind: Literal["started"] = "started"
    started: StartedRun

    @field_serializer("started", mode="wrap")
    def _to_keys(self, started: StartedRun, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_newer(write(started))


class EndedLine(_Line):
    """A run ended."""

    kind: Literal["ended"] = "ended"
    ended: EndedRun

    @field_validator("ended", mode="before")
    @classmethod
    def _from_keys(cls, ended: object) -> object:
        fields = {key: name for name, key in _KEYS.items()}
        return _with_names(ended, fields) if isinstance(ended, dict) else ended

    @field_serializer("ended", mode="wrap")
    def _to_keys(self, ended: EndedRun, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _with_names(_without_newer(write(ended)), _KEYS)


def _without_newer(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON of a run's start or end without the switches of the run that are off."""
    run = {key: value for key, value in entry["run"].items() if key not in _NEWER or value}
    return {**entry, "run": run}


def _with_names(ended: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON of an ended run with the keys of its observation renamed, in the same order."""
    observation = ended.get("observation")
    if not isinstance(observation, dict):
        return ended
    return {**ended, "observation": {names.get(key, key): value for key, value in observation.items()}}


Line = Header | RoundLine | StartedLine | EndedLine
_Lines: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])


def encode_entry(entry: Entry) -> str:
    """Return one step as a line of JSON, without absent fields."""
    match entry:
        case Round():
            return encode_line(RoundLine(round=entry))
        case StartedRun():
            return encode_line(StartedLine(started=entry))
        case EndedRun():
            return encode_line(EndedLine(ended=entry))


def encode_line(line: Line) -> str:
    """Return the JSON of a line, without absent fields."""
    return line.model_dump_json(exclude_none=True)


def decode_line(text: str | bytes) -> Header | Entry:
    """Return the header or step that a line holds.

    Raises:
        pydantic.ValidationError: the text is not JSON, or not a line of a journal.
    """
    match _Lines.validate_json(text):
        case Header() as header:
            return header
        case RoundLine(round=entry):
            return entry
        case StartedLine(started=entry):
            return entry
        case EndedLine(ended=entry):
            return entry


class NewerJournalError(StoreError):
    """The journal was written by a newer version, which may mean something else by its steps."""


class Journal:
    """The journal file at `path`, created by the first write.

    `elsewhere` is a remedy that the user's command has for a journal that it cannot use, besides mending the file.
    """

    def __init__(self, path: Path, *, elsewhere: str | None = None) -> None:
        self.path = path
        self._elsewhere = elsewhere

    def begin(self, *, namespace: str, study: str, started_at: datetime) -> Header:
        """Write the first line of a new journal."""
        header = Header(namespace=namespace, study=study, started_at=started_at)
        self._append(encode_line(header), flags=os.O_CREAT)
        try:
            _sync_directory(self.path.parent)
        except OSError as error:
            raise unwritable(self.path, error) from error
        return header

    def append(self, entry: Entry) -> None:
        """Append one step and wait until it is on disk."""
        self._append(encode_entry(entry))

    def cut_torn_line(self) -> None:
        """Remove an incomplete last line from the file, so that the next line starts on its own line."""
        complete, torn = self._content()
        if torn:
            try:
                os.truncate(self.path, len(complete))
            except OSError as error:
                raise unwritable(self.path, error) from error

    def is_torn(self) -> bool:
        """Return whether the last line is incomplete: it is being written, or its writer died."""
        return bool(self._content()[1])

    def read(self) -> tuple[Header, tuple[Entry, ...]] | None:
        """Return the header and all complete steps, None for an empty or absent journal. Does not change the file.

        Raises:
            StoreError: the file cannot be read, a line is damaged, or it was written by a newer version.
        """
        lines = self._content()[0].splitlines()
        if not lines:
            return None
        header = self._header(lines[0])
        return (header, tuple(self._entry(number, line) for number, line in enumerate(lines[1:], start=2)))

    def _content(self) -> tuple[bytes, bytes]:
        """Return the complete lines, and the incomplete rest after them."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return (b"", b"")
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be read ({error.strerror}). Check its permissions.") from error
        end = content.rfind(b"\n") + 1
        return (content[:end], content[end:])

    def _header(self, line: bytes) -> Header:
        header = self._parse(1, line)
        if not isinstance(header, Header):
            raise self._damaged(1, "it does not say which study the journal belongs to")
        if header.version > VERSION:
            raise NewerJournalError(
                f"{self.path}: written by a newer InfPop (journal version {header.version}, this one knows {VERSION}). "
                + self._remedy("Upgrade InfPop")
            )
        return header

    def _entry(self, number: int, line: bytes) -> Entry:
        entry = self._parse(number, line)
        if isinstance(entry, Header):
            raise self._damaged(number, "a second header")
        return entry

    def _parse(self, number: int, line: bytes) -> Header | Entry:
        try:
            return decode_line(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise self._damaged(number, f"{where}: {first['msg']}" if where else first["msg"]) from error

    def _damaged(self, number: int, what: str) -> StoreError:
        mending = ["Restore the file from a copy"]
        if number > 1:  # the first line says whose steps the others are
            mending.append("delete this line to forget the step it recorded")
        return StoreError(f"{self.path}, line {number}: damaged ({what}). {self._remedy(*mending)}")

    def _remedy(self, *ways: str) -> str:
        *others, last = [*ways, *([] if self._elsewhere is None else [self._elsewhere])]
        return f"{', '.join(others)}{' or ' if others else ''}{last}."

    def _append(self, line: str, *, flags: int = 0) -> None:
        """Append a line; without `O_CREAT`, a journal that was removed is not begun again without its header."""
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | flags, 0o644)
            try:
                _write_all(descriptor, line.encode() + b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise unwritable(self.path, error) from error


def fold(header: Header, entries: tuple[Entry, ...]) -> History:
    """Return the history that the steps add up to; a step recorded twice counts once."""
    return apply(History(started_at=header.started_at), entries)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_directory(path: Path) -> None:
    """Make the name of a new file durable, in addition to its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
