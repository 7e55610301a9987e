"""Write a result file that is never left half written, or a container's termination log."""

import os
import tempfile
from pathlib import Path


def write_result(path: Path, text: str) -> None:
    """Replace the content of `path` by `text`; a reader sees the old or the new one.

    A file below /dev (the termination log is mounted there as a single file) cannot be replaced by a rename and is
    written in place.

    Raises:
        OSError: the file cannot be written.
    """
    if path.is_relative_to("/dev"):
        _write_in_place(path, text.encode())
        return
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
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
