"""Replace a file atomically: after a crash, and for any reader, it has the old or the new content, never a part."""

import os
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace the content of `path` by `content`, which is on disk before the old content is removed.

    Text is written in UTF-8.

    Raises:
        OSError: the directory cannot be written, or the disk is full; the old content is kept.
    """
    draft = path.with_name(f".{path.name}.new")
    with draft.open("wb") as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
