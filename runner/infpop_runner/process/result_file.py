"""Write a result file that is never left half written, or a container's termination log."""

import os
import tempfile
from pathlib import Path


class ResultFile:
    """Replaces its whole content with each `write`.

    A file below /dev (the termination log is mounted there as a single file) cannot be replaced by a rename and is
    written in place.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, text: str) -> None:
        """Replace the content; a reader sees the old or the new one.

        Raises:
            OSError: the file cannot be written.
        """
        if self._path.is_relative_to("/dev"):
            _write_in_place(self._path, text.encode())
            return
        descriptor, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _write_in_place(path: Path, content: bytes) -> None:
    """Overwrite the old content in one write, padded with spaces to its length, and truncate the file afterwards.

    If the process is killed between the two steps, the file holds JSON with trailing spaces; it is never empty.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(descriptor, content.ljust(os.fstat(descriptor).st_size), 0)
        os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)
