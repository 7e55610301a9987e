"""Where a result goes: a file that is never half written, a container's termination log, or standard output."""

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
            OSError: it cannot be written.
        """
        if self._path.is_relative_to("/dev"):
            self._path.write_text(text, encoding="utf-8")
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
