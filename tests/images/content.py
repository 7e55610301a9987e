"""Name builds by a hash of their inputs: the same content is never built twice, different content never confused."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

_KEY_LENGTH = 12
_NO_SOURCE = ("__pycache__", ".egg-info")


def key_of(*parts: str | bytes) -> str:
    """Return a short key for these parts, in this order."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:_KEY_LENGTH]


def key_of_files(root: Path, files: Iterable[Path], *others: str) -> str:
    """Return a short key for files, including their paths under `root`, and for `others`."""
    parts: list[str | bytes] = list(others)
    for path in sorted(files):
        parts += [str(path.relative_to(root)), path.read_bytes()]
    return key_of(*parts)


def context_files(root: Path) -> tuple[Path, ...]:
    """Return the files that a build in `root` reads: those that its `.dockerignore`, a list of exceptions, allows."""
    lines = (root / ".dockerignore").read_text().splitlines()
    tops = [root / line.removeprefix("!") for line in lines if line.startswith("!")]
    found = [path for top in tops for path in ([top] if top.is_file() else sorted(top.rglob("*"))) if path.is_file()]
    return tuple(path for path in found if not any(part.endswith(_NO_SOURCE) for part in path.parts))
