"""Replacing a file so that a reader, or a crash, meets the old content or the new one and nothing between."""

import os
from pathlib import Path


def write_atomically(path: Path, content: str) -> None:
    """Replace `path` by `content`, which is on the disk before the old content goes.

    Raises:
        OSError: the directory cannot be written, or the disk is full; the old content is still there.
    """
    draft = path.with_name(f".{path.name}.new")
    with draft.open("w", encoding="utf-8") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
