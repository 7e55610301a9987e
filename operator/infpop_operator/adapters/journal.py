"""The journal of a study: one JSON object a line, only ever appended to.

Every line is on the disk before `append` returns. A line without its end (the process or the machine died while it was
written) was never acted upon and is dropped; any other line that cannot be read is an error that names it. The format
has a version of its own and does not change when the status changes. Locking is not done here.
"""

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from infpop_operator.core.errors import StoreError
from infpop_operator.core.history_diff import Entry, apply
from infpop_operator.core.model import EndedRun, History, Round, StartedRun

VERSION = 1


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Header(_Line):
    """The first line: whose journal this is."""

    kind: Literal["journal"] = "journal"
    version: int = VERSION
    namespace: str
    study: str
    started_at: AwareDatetime


class RoundLine(_Line):
    """A round began."""

    kind: Literal["round"] = "round"
    round: Round


class StartedLine(_Line):
    """A run is about to be started."""

    kind: Literal["started"] = "started"
    started: StartedRun


class EndedLine(_Line):
    """A run ended."""

    kind: Literal["ended"] = "ended"
    ended: EndedRun


Line = Header | RoundLine | StartedLine | EndedLine
_Lines: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])


def encode_entry(entry: Entry) -> str:
    """Return one step as a line of JSON, without what is absent."""
    match entry:
        case Round():
            return encode_line(RoundLine(round=entry))
        case StartedRun():
            return encode_line(StartedLine(started=entry))
        case EndedRun():
            return encode_line(EndedLine(ended=entry))


def encode_line(line: Line) -> str:
    """Return a line's JSON, without what is absent."""
    return line.model_dump_json(exclude_none=True)


def decode_line(text: str | bytes) -> Header | Entry:
    """Return what a line holds.

    Raises:
        pydantic.ValidationError: it is not JSON, or no line of a journal.
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


class Journal:
    """The file `path`, which exists once something was appended."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, *, namespace: str, study: str, started_at: datetime) -> Header:
        """Write the first line of a new journal."""
        header = Header(namespace=namespace, study=study, started_at=started_at)
        self._append(encode_line(header))
        try:
            _sync_directory(self.path.parent)
        except OSError as error:
            raise self._unwritable(error) from error
        return header

    def append(self, entry: Entry) -> None:
        """Add one step and wait until it is on the disk."""
        self._append(encode_entry(entry))

    def cut_torn_line(self) -> None:
        """Cut a torn last line off the file, so that the next line starts where it should."""
        whole, torn = self._content()
        if torn:
            try:
                os.truncate(self.path, len(whole))
            except OSError as error:
                raise self._unwritable(error) from error

    def read(self) -> tuple[Header, tuple[Entry, ...]] | None:
        """Return the header and all whole steps, None for a journal that was never begun. Changes nothing.

        Raises:
            StoreError: the file cannot be read, a line is damaged, or it was written by a newer version.
        """
        lines = self._content()[0].splitlines()
        if not lines:
            return None
        header = self._header(lines[0])
        return (header, tuple(self._entry(number, line) for number, line in enumerate(lines[1:], start=2)))

    def _content(self) -> tuple[bytes, bytes]:
        """Return the whole lines and what follows them."""
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
            raise self._damaged(1, "it does not say whose journal this is")
        if header.version > VERSION:
            raise StoreError(
                f"{self.path}: written by a newer InfPop (journal version {header.version}, this one knows {VERSION})."
                " Upgrade InfPop, or name another directory with --output."
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
        return StoreError(
            f"{self.path}, line {number}: damaged ({what}). Restore the file from a copy, delete this line to forget"
            " the step it recorded, or name another directory with --output."
        )

    def _append(self, line: str) -> None:
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                _write_all(descriptor, line.encode() + b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(f"{self.path}: cannot be written ({error.strerror}). Free space or name another --output.")


def fold(header: Header, entries: tuple[Entry, ...]) -> History:
    """Return the history that the steps add up to; a step that was recorded twice counts once."""
    return apply(History(started_at=header.started_at), entries)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_directory(path: Path) -> None:
    """Make a new file's name durable, not only its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
