"""The consoles of the commands: nothing is cut in a pipe, and ASCII terminals get marks that differ."""

import io

import pytest

from infpop_operator.cli.terminal import UNLIMITED, console_on
from infpop_operator.report.landscape_cells import cell_text
from infpop_operator.report.landscape_table import render_landscape, render_legend
from report.random_landscapes import cells_of, random_landscape

UTF_8 = {"LANG": "en_US.UTF-8"}


def stream(encoding: str = "utf-8") -> io.TextIOWrapper:
    """Return a stream that is no terminal, and fails on a character that it cannot encode."""
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")


def text_of(stream: io.TextIOWrapper) -> str:
    """Return what was written."""
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode(stream.encoding)


def test_a_pipe_has_no_width_but_the_one_that_is_given() -> None:
    """A long line stays one line; with COLUMNS it is wrapped, and COLUMNS=0 is no width."""
    for columns, width in (({}, UNLIMITED), ({"COLUMNS": "0"}, UNLIMITED), ({"COLUMNS": "60"}, 60)):
        assert console_on(stream(), {**UTF_8, **columns}).width in {width, 80}
    long, whole = "word " * 200, stream()
    console_on(whole, UTF_8).print(long)
    assert text_of(whole).rstrip() == long.rstrip()


def test_a_pipe_gets_all_gpu_counts_side_by_side() -> None:
    """A script finds a row in one line."""
    landscape, out = random_landscape(5, gpu_counts=16, batch_sizes=3), stream()
    console_on(out, UTF_8).print(render_landscape(landscape, "GPU"), crop=False)
    heading = next(line for line in text_of(out).splitlines() if line.startswith("batch"))
    assert heading.split()[1:] == list(map(str, landscape.gpu_counts))


@pytest.mark.parametrize(
    ("encoding", "environment"),
    [
        ("ascii", UTF_8),
        ("latin-1", UTF_8),
        ("utf-8", {"LC_ALL": "C"}),
        ("utf-8", {"LANG": "C"}),
        ("utf-8", {"LANG": "POSIX", "LC_CTYPE": "C.UTF-8"}),  # as Python itself sets it
    ],
)
def test_an_ascii_terminal_gets_marks_that_differ(encoding: str, environment: dict[str, str]) -> None:
    """Each kind of cell still has a mark of its own, and the widths stay."""
    landscape = random_landscape(0, gpu_counts=12, batch_sizes=12)
    plain, ascii_only = stream(), stream(encoding)
    for each, variables in ((plain, UTF_8), (ascii_only, environment)):
        console_on(each, variables).print(render_landscape(landscape, "GPU"), crop=False)
    before, after = text_of(plain).splitlines(), text_of(ascii_only).splitlines()
    assert all(line.isascii() for line in after)
    assert list(map(len, before)) == list(map(len, after))
    marks = {text[0] for text in (cell_text(cell).plain for cell in cells_of(landscape)) if not text[0].isdigit()}
    assert {"★", "†", "?", "<", "✗", "~", "!", "·"} <= marks
    replaced = {mark: _in_ascii(mark, environment) for mark in marks | set("‡-")}
    assert len(set(replaced.values())) == len(replaced)


def _in_ascii(mark: str, environment: dict[str, str]) -> str:
    out = stream("ascii")
    console_on(out, environment).print(mark, markup=False)
    return text_of(out).strip()


@pytest.mark.parametrize("environment", [{}, UTF_8, {"LC_ALL": "de_DE.UTF-8", "LANG": "C"}, {"LC_CTYPE": "C.UTF-8"}])
def test_other_terminals_get_the_marks_themselves(environment: dict[str, str]) -> None:
    """A container without a locale can show them as well."""
    out = stream()
    console_on(out, environment).print(render_legend(random_landscape(0)), crop=False)
    assert "★ best" in text_of(out)
