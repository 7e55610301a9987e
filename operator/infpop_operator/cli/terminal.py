"""Where the commands print for people: a terminal or a pipe, of what width, and with which characters."""

import os
import sys
from collections.abc import Mapping
from typing import IO, TextIO, cast

from rich.console import Console

from infpop_operator.report.rendering import render_page
from infpop_operator.report.status_page import StatusPage

UNLIMITED = 1_000_000  # the width of what is not a terminal, so that nothing in it is cut or wrapped
# One character for one, so that widths stay; no two marks of a landscape become the same.
_IN_ASCII = str.maketrans("★✗†‡·…─━╸╺→—", "*x+^.>-==->-")
_PLAIN_LOCALES = {"C", "POSIX"}
_COERCED = {"C.UTF-8", "C.utf8", "UTF-8"}  # what Python itself puts in the place of the locale C (PEP 538)


def console(*, stderr: bool = False) -> Console:
    """Return the console of standard output or standard error."""
    environment = os.environ  # noqa: TID251 - the edge: the environment decides how a terminal is written to
    return console_on(sys.stderr if stderr else sys.stdout, environment)


def console_on(stream: TextIO, environment: Mapping[str, str]) -> Console:
    """Return a console on `stream`.

    A terminal has its own width. Anything else has the width that `COLUMNS` gives, or else an unlimited one. If the
    stream's encoding is not UTF, or the locale is C, marks and lines are in ASCII; names stay as they are.
    """
    file: IO[str] = cast("IO[str]", _AsciiStream(stream)) if _wants_ascii(stream, environment) else stream
    columns = environment.get("COLUMNS", "")
    has_width = stream.isatty() or (columns.isascii() and columns.isdigit() and int(columns) > 0)
    return Console(file=file) if has_width else Console(file=file, width=UNLIMITED)


def print_page(page: StatusPage, *, wide: bool = False) -> None:
    """Print a page to standard output; with `wide`, its landscapes are as wide as they need to be."""
    console().print(render_page(page, wide=wide), crop=False)


def _wants_ascii(stream: TextIO, environment: Mapping[str, str]) -> bool:
    encoding = (stream.encoding or "").lower()
    return not encoding.startswith("utf") or _locale(environment) in _PLAIN_LOCALES


def _locale(environment: Mapping[str, str]) -> str:
    """Return the locale that decides which characters there are; empty if none is chosen."""
    chosen = environment.get("LC_ALL") or environment.get("LC_CTYPE") or ""
    return chosen if chosen and chosen not in _COERCED else environment.get("LANG", "") or chosen


class _AsciiStream:
    """Writes to another stream with an ASCII character in the place of each mark and line."""

    encoding = "utf-8"  # rich would choose other frames than those whose characters are replaced here

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(text.translate(_IN_ASCII))

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()
