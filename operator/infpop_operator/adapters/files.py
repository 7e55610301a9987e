"""Replace a file atomically: after a crash, and for any reader, it has the old or the new content, never a part."""

import errno
import os
from pathlib import Path

from infpop_operator.core.errors import GoneError, StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_GONE = {errno.ENOENT, errno.ENOTDIR}


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace the content of `path` by `content`, which is on disk before the old content is removed.

    Text is written in UTF-8. What a link names is replaced, not the link. A device or a pipe (`/dev/stdout`) is written
    to.

    Raises:
        OSError: the directory cannot be written, or the disk is full; the old content is kept.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            stream.write(data)
        return
    path = Path(os.path.realpath(path))  # `resolve` raises another error for a circle of links
    draft = path.with_name(f".{path.name}.new")
    with draft.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)


def unwritable(path: Path, error: OSError) -> StoreError:
    """Return the error for a part of a study's directory that cannot be written: what to do depends on why.

    Args:
        path: the directory, or a file in it.
        error: of the system.
    """
    if error.errno in _GONE:
        return GoneError(
            f"{path}: was removed, and what was recorded there with it. Restore it to resume; without it, the same"
            " command starts from the beginning."
        )
    if error.errno in _FULL:
        return StoreError(
            f"{path}: cannot be written ({error.strerror}). Free space and run the same command again, or name another"
            " directory with --output."
        )
    return StoreError(f"{path}: cannot be written ({error.strerror}). Name another directory with --output.")
