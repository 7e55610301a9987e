"""A base image without a registry: Debian's Python and its dependencies, from Debian's archive."""

import shutil
import subprocess
from pathlib import Path

from images.content import key_of

_SUITE = "bookworm"
_PACKAGES = ("ca-certificates", "python3", "python3-venv")
_NOT_NEEDED = (
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
)


def base_key() -> str:
    """Return the content key of what `make_base` creates."""
    return key_of(_SUITE, *_PACKAGES, *_NOT_NEEDED)


def make_base(folder: Path) -> None:
    """Fill `folder`, which must not exist yet, with a small Debian that has Python.

    Raises:
        subprocess.CalledProcessError: Debian's archive cannot be reached; its output is on standard error.
    """
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", _SUITE, str(folder)]
    subprocess.run(command, stdout=2, check=True)
    for name in _NOT_NEEDED:
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
