"""Write a report into a directory without losing what is not ours.

A file that no report of ours wrote is never replaced unless the user insists, and never deleted. A list of what was
written lies beside it, so that the next report replaces its files and removes those that it no longer has.
"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from infpop_operator.core.errors import ReportError

LIST = ".infpop-report.json"
PAGE = "index.html"
# What the list may name: a list that was tampered with must not make us replace or remove anything else.
_OURS = re.compile(r"index\.html|statistics\.json|(?:tables|figures)/[A-Za-z0-9_][A-Za-z0-9._-]*\.(?:csv|png|svg)")
_LONGEST_NAME = 80


class ReportDirectory:
    """The directory of one report. Names are relative paths such as "tables/best.csv"."""

    def __init__(self, directory: Path, names: Iterable[str], *, force: bool = False) -> None:
        """Prepare a directory for a report.

        Args:
            directory: created if it does not exist.
            names: the files that will be written.
            force: whether files may be replaced that no report wrote.

        Raises:
            ReportError: it cannot be written, or a file is in the way.
        """
        self._directory = directory
        self._names = tuple(names)
        earlier = _earlier(directory)
        if not force:
            _refuse_foreign(directory, self._names, earlier)
        try:
            for folder in (directory, *(directory / name for name in sorted({_folder(name) for name in self._names}))):
                folder.mkdir(parents=True, exist_ok=True)
            # Both, until the report is complete: after a crash the next one still knows what is ours.
            self._save_list({*earlier, *self._names})
        except OSError as error:
            raise _unwritable(directory, error) from error
        self._stale = set(earlier) - set(self._names)

    def path(self, name: str) -> Path:
        """Return the path of one of the files."""
        return self._directory / name

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file.

        Raises:
            ReportError: it cannot be written.
        """
        data = content.encode(errors="replace") if isinstance(content, str) else content
        path = self.path(name)
        draft = path.with_name(f".{path.name}.new")
        try:
            draft.write_bytes(data)
            draft.replace(path)  # a reader has the old page or the new one, never a part
        except OSError as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)  # half a page must not fill the disk that the study's journal is on
            raise _unwritable(path, error) from error

    def finish(self) -> None:
        """Remove what an earlier report wrote and this one has no more.

        Raises:
            ReportError: the directory cannot be written.
        """
        try:
            for name in self._stale:
                self.path(name).unlink(missing_ok=True)
            self._save_list(set(self._names))
        except OSError as error:
            raise _unwritable(self._directory, error) from error

    def _save_list(self, names: set[str]) -> None:
        (self._directory / LIST).write_text(json.dumps({"files": sorted(names)}, indent=1) + "\n", encoding="utf-8")


def file_names(texts: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yield a file name for each of several texts, without a suffix: letters, digits, dot and dash, each once."""
    seen: dict[str, int] = {}
    for parts in texts:
        words = [re.sub(r"[^A-Za-z0-9.]+", "-", part).strip("-.") for part in parts]
        name = "-".join(word for word in words if word)[:_LONGEST_NAME].rstrip("-.") or "unnamed"
        number = seen.get(name.lower(), 0) + 1  # some file systems do not tell capitals apart
        seen[name.lower()] = number
        yield name if number == 1 else f"{name}_{number}"


def _earlier(directory: Path) -> tuple[str, ...]:
    """Return what an earlier report wrote; a list that cannot be read names nothing."""
    try:
        names = json.loads((directory / LIST).read_text(encoding="utf-8"))["files"]
        return tuple(name for name in names if isinstance(name, str) and _OURS.fullmatch(name))
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def _refuse_foreign(directory: Path, names: tuple[str, ...], earlier: tuple[str, ...]) -> None:
    if directory.exists() and not directory.is_dir():
        raise ReportError(f"--output: {directory}: is not a directory. Name another one.")
    foreign = next((name for name in names if name not in earlier and (directory / name).exists()), None)
    if foreign is not None:
        raise ReportError(
            f"--output: {directory / foreign}: is a file that no report wrote. "
            "Name another directory, or replace it with --force."
        )
    linked = next((folder for name in names if (folder := directory / _folder(name)).is_symlink()), None)
    if linked is not None and linked != directory:
        raise ReportError(f"--output: {linked}: is a link to another place. Name another directory, or use --force.")


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _unwritable(path: Path, error: OSError) -> ReportError:
    reason = error.strerror or str(error)
    return ReportError(f"--output: {path}: cannot be written ({reason}). Name a directory that you may write to.")
