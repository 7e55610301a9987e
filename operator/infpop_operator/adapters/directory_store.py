"""The store of a study in a directory: `journal.jsonl`, `status.json`, `study.yaml`, `runs/`, `lock`.

The journal is the source of truth. The status is written for users and programs to read; InfPop reads back only the
times of its conditions. One process at a time may use a directory: the kernel owns the lock and releases it when the
process that holds it ends, however it ends.
"""

import fcntl
import json
import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Self, TextIO

from infpop_operator.adapters.files import unwritable, write_atomically
from infpop_operator.adapters.journal import Header, Journal, fold
from infpop_operator.core.errors import GoneError, StoreError
from infpop_operator.core.history_diff import Entry
from infpop_operator.core.model import History

JOURNAL = "journal.jsonl"
_LOCK = "lock"
STATUS = "status.json"
STUDY = "study.yaml"
RUNS = "runs"
_ELSEWHERE = "Name another directory with --output"


class DirectoryStore:
    """The study `namespace`/`study` in `directory`, locked while the `with` block is active.

    Raises on entering:
        StoreError: the directory is in use, belongs to another study, holds something else, or cannot be written.
    """

    def __init__(self, directory: Path, *, namespace: str, study: str) -> None:
        self.directory = directory
        self.runs = directory / RUNS
        self._namespace = namespace
        self._study = study
        self._journal = Journal(directory / JOURNAL, elsewhere="name another directory with --output")
        self._lock: TextIO | None = None

    def __enter__(self) -> Self:
        """Lock the directory; create it if it does not exist."""
        self._create()
        self._refuse_foreign_content()
        self._take_lock()
        try:
            self._refuse_other_study()
        except StoreError:
            self._release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Release the directory."""
        self._release()

    def load(self, now: datetime) -> History:
        """Return the recorded history; for a new study, an empty history that started at `now`.

        Raises:
            StoreError: the journal is damaged, or was written by a newer version.
        """
        self._journal.cut_torn_line()
        known = self._journal.read()
        if known is None:
            known = (self._journal.begin(namespace=self._namespace, study=self._study, started_at=now), ())
        return fold(*known)

    def record(self, entry: Entry) -> None:
        """Record one step; it is on disk when this returns."""
        self._refuse_other_owner()
        self._journal.append(entry)

    def save_study(self, text: str) -> None:
        """Save a copy of the study as the user gave it."""
        self._replace(STUDY, text)

    def save_status(self, status: object) -> None:
        """Replace `status.json`; `status` consists of plain JSON values."""
        self._replace(STATUS, json.dumps(status, indent=2) + "\n")

    def read_status(self) -> object:
        """Return the last saved status, None if it cannot be read."""
        try:
            return json.loads((self.directory / STATUS).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None

    def _replace(self, name: str, content: str) -> None:
        self._refuse_other_owner()
        try:
            write_atomically(self.directory / name, content)
        except OSError as error:
            raise unwritable(self.directory, error) from error

    def _create(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise StoreError(f"{self.directory}: is not a directory. {_ELSEWHERE}.") from error
        except OSError as error:
            raise StoreError(f"{self.directory}: cannot be created ({error.strerror}). {_ELSEWHERE}.") from error

    def _refuse_foreign_content(self) -> None:
        """Refuse a directory with other content; a journal, or only the lock file, marks a directory of InfPop."""
        try:
            names = {entry.name for entry in self.directory.iterdir()}
        except OSError as error:
            raise StoreError(f"{self.directory}: cannot be read ({error.strerror}). {_ELSEWHERE}.") from error
        if names and JOURNAL not in names and names != {_LOCK}:
            shown = ", ".join(sorted(names)[:3])
            raise StoreError(
                f"{self.directory}: is not empty and holds no InfPop study (it has {shown}). {_ELSEWHERE}."
            )

    def _take_lock(self) -> None:
        try:
            lock = (self.directory / _LOCK).open("a+", encoding="utf-8")
        except OSError as error:
            raise unwritable(self.directory, error) from error
        try:
            self._lock_exclusively(lock)
        except BaseException:
            lock.close()
            raise
        self._lock = lock

    def _lock_exclusively(self, lock: TextIO) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.truncate(lock.fileno(), 0)
            os.write(lock.fileno(), str(os.getpid()).encode())
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip()
            by = f" by process {holder}" if holder else ""
            message = f"{self.directory}: in use{by}. Wait until that `infpop tune` ends, or stop it. {_ELSEWHERE}."
            raise StoreError(message) from error
        except OSError as error:
            raise unwritable(self.directory, error) from error

    def _refuse_other_study(self) -> None:
        known = self._journal.read()
        if known is not None and (known[0].namespace, known[0].study) != (self._namespace, self._study):
            raise StoreError(
                f"{self.directory}: belongs to the study {_shown(known[0])}, not to"
                f" {_shown(Header(namespace=self._namespace, study=self._study, started_at=known[0].started_at))}."
                f" {_ELSEWHERE}, or set metadata.name back."
            )

    def _refuse_other_owner(self) -> None:
        """Refuse to write into a directory that took the place of the locked one: another process may have begun there.

        Raises:
            GoneError: the lock file there is not the one that this process holds.
        """
        if self._lock is None:
            return
        with suppress(OSError):  # without a lock file no other process has begun
            if not os.path.samestat(os.fstat(self._lock.fileno()), (self.directory / _LOCK).stat()):
                message = f"{self.directory}: was removed, and another `infpop tune` has begun there. {_ELSEWHERE}."
                raise GoneError(message)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _shown(header: Header) -> str:
    return f"{header.namespace}/{header.study}" if header.namespace else header.study
