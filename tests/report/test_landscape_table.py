"""Landscapes on terminals of any size: every number is whole, and what is not shown is counted."""

import io
import re
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from factories.studies import START
from infpop_operator.core.landscape import CellState, Landscape, LandscapeCell, arrange
from infpop_operator.report.landscape_cells import cell_text, legend_lines
from infpop_operator.report.landscape_table import LEAST_LINES, LandscapeTable, render_landscape, render_legend
from infpop_operator.report.live import LiveView
from infpop_operator.report.picture import Notice, Picture, PoolPicture, RunPicture
from infpop_operator.report.rendering import render_live, render_page
from infpop_operator.report.status_page import Outcome, StatusPage
from report.played_studies import printed
from report.random_landscapes import cells_of, random_landscape

WIDTHS = (40, 47, 60, 80, 99, 120, 200)
SEEDS = range(15)


def lines_of(shown: RenderableType, width: int) -> list[str]:
    """Return the lines that a terminal of this width shows, without spaces at their ends."""
    return [line.rstrip() for line in printed(shown, width).splitlines()]


def table_rows(lines: list[str]) -> list[list[str]]:
    """Return the rows of all tables as label and cells."""
    rows = (re.split(r" {2,}", line.strip()) for line in lines)
    return [row for row in rows if row[0].isdigit()]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_page_has_every_cell_whole_and_no_line_is_too_long(seed: int, width: int) -> None:
    """The tables together have each cell once beside its label, whether they are split, turned or neither."""
    landscape = random_landscape(seed)
    lines = lines_of(render_landscape(landscape, "GPU"), width)
    assert all(cell_len(line) <= width for line in lines)
    shown = table_rows(lines)
    expected = [cell_text(cell).plain for cell in cells_of(landscape)]
    assert sorted(text for _, *cells in shown for text in cells) == sorted(expected)
    labels = {label for label, *_ in shown}
    assert labels in (set(map(str, landscape.batch_sizes)), set(map(str, landscape.gpu_counts)))
    tables = sum(line.startswith("─") for line in lines)
    assert any("--wide" in line for line in lines) == (tables > 1 or "(down) and batch" in " ".join(lines))


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_not_in_the_first_table_is_counted(seed: int) -> None:
    """The reader of the first table knows how many GPU counts it lacks."""
    landscape = random_landscape(seed, gpu_counts=16, batch_sizes=11)
    lines = lines_of(render_landscape(landscape, "GPU"), 60)
    heading = next(line.split() for line in lines if line.startswith("batch"))
    assert f"{16 - len(heading[1:])} more GPU counts below; side by side: --wide" in lines


@pytest.mark.parametrize("seed", SEEDS)
def test_a_wide_table_has_all_gpu_counts_side_by_side(seed: int) -> None:
    """Whatever the terminal, `--wide` gives one table in the usual orientation."""
    landscape = random_landscape(seed)
    lines = lines_of(render_landscape(landscape, "GPU", wide=True), 40)
    assert [line.split()[1:] for line in lines if line.lstrip().startswith("batch")] == [
        list(map(str, landscape.gpu_counts))
    ]
    rows = [[str(batch), *(cell_text(cell).plain for cell in row)] for batch, row in _by_batch(landscape)]
    assert table_rows(lines) == rows


def _by_batch(landscape: Landscape) -> list[tuple[int, tuple[LandscapeCell, ...]]]:
    return list(zip(landscape.batch_sizes, landscape.rows, strict=True))


@pytest.mark.parametrize("height", [LEAST_LINES, 8, 15, 40])
@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_table_of_limited_height_counts_what_it_leaves_out(seed: int, width: int, height: int) -> None:
    """Rows and columns shown and counted are all there are; the best is among those shown."""
    landscape = random_landscape(seed)
    table = LandscapeTable(landscape=landscape, device="GPU", most_lines=height)
    lines = lines_of(table, width)
    assert len(lines) <= height
    assert all(cell_len(line) <= width for line in lines)
    rows = table_rows(lines)
    best = landscape.best
    assert best is None or any(cell_text(best).plain in row for row in rows)
    said = re.fullmatch(r"(?:(\d+) more batch sizes?)?(?:, )?(?:(\d+) more GPU counts?)?", lines[-1])
    if said is None:
        assert sum(len(row) - 1 for row in rows) == sum(1 for _ in cells_of(landscape))
        return
    assert len(rows) + int(said[1] or 0) == len(landscape.batch_sizes)
    assert all(len(row) - 1 + int(said[2] or 0) == len(landscape.gpu_counts) for row in rows)


MARKS = "★†?‡<✗~!-·"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_legend_has_the_marks_that_occur_and_no_other(seed: int) -> None:
    """Each mark and each short reason of the table begins a line of the legend."""
    landscape = random_landscape(seed)
    texts = [cell_text(cell).plain for cell in cells_of(landscape)]
    legend = lines_of(render_legend(landscape), 400)
    occurring = {text[0] for text in texts if text[0] in MARKS} | {"‡" for text in texts if "‡" in text}
    counted = {"(" for text in texts if text.endswith(")")}
    assert {line[0] for line in legend} == occurring | counted
    for text in texts:
        if text[0] in "✗~!-":
            assert any(line.startswith(text.partition(" (")[0]) for line in legend), text


def test_a_cell_of_several_variants_says_how_many() -> None:
    """The best of three is marked as such, and so is the best of the two that were tried so far."""
    one = LandscapeCell(gpu_count=1, batch_size=8, state=CellState.MEASURED, throughput_tokens_per_second=1234.0)
    slower = replace(one, throughput_tokens_per_second=900.0)
    waiting = replace(one, state=CellState.UNTRIED, throughput_tokens_per_second=None)
    whole = arrange((one, slower, slower), collapsed_extra=("mode",))
    part = arrange((one, slower, waiting), collapsed_extra=("mode",))
    assert "1,234 (3)" in printed(render_landscape(whole, "GPU"))
    assert lines_of(render_legend(whole), 80) == ["(3)  the best of 3 variants, which differ in mode"]
    assert "1,234 (2/3)" in printed(render_landscape(part, "GPU"))
    assert lines_of(render_legend(part), 80) == [
        "(2/3)  the best so far: 2 of 3 variants are tried, which differ in mode"
    ]
    assert "(" not in cell_text(arrange((waiting, waiting)).rows[0][0]).plain


def test_a_landscape_says_what_it_is_of() -> None:
    """Model, engine and hardware are above each table, so that it can be copied alone."""
    page = StatusPage(picture=_picture(random_landscape(1)), outcome=Outcome.OPEN)
    lines = lines_of(render_page(page), 80)
    above = lines[next(number for number, line in enumerate(lines) if line.startswith("Tokens/s")) - 1]
    assert above == "组织/模型 with vllm on NVIDIA-A100-SXM4-40GB"


@pytest.mark.parametrize("height", [12, 24, 50])
@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize(("runs", "pools"), [(0, 1), (2, 1), (40, 1), (3, 4)])
def test_a_live_view_fits_the_screen(runs: int, pools: int, width: int, height: int) -> None:
    """Whatever is tuned, the picture is not longer or wider than the terminal, and says what it leaves out."""
    for seed in range(5):
        picture = _picture(*(random_landscape(seed + each) for each in range(pools)), runs=runs)
        lines = lines_of(render_live(picture, height), width)
        assert len(lines) <= height
        assert all(cell_len(line) <= width for line in lines)
        left_out = [line for line in lines if line.endswith("not shown")]
        assert sum(line.startswith("0:12") for line in lines) == runs or any("more run" in line for line in left_out)
        assert sum(line.startswith("Pool") for line in lines) == pools or any("more pool" in line for line in lines)


def test_a_live_view_explains_its_marks_if_there_is_room() -> None:
    """A high terminal shows the legend; a low one needs its lines for numbers."""
    landscape = random_landscape(5, gpu_counts=4, batch_sizes=6)
    picture = _picture(landscape)
    high, low = (lines_of(render_live(picture, height), 80) for height in (60, 24))
    assert "· not tried" in high
    assert "· not tried" not in low
    assert len(table_rows(low)) == len(landscape.batch_sizes)


def test_the_live_view_knows_the_height_of_its_terminal() -> None:
    """Each frame has as many lines as the terminal at most, and says what it leaves out."""
    page = StatusPage(picture=_picture(random_landscape(3, gpu_counts=4, batch_sizes=14)), outcome=Outcome.OPEN)
    console = Console(file=io.StringIO(), width=80, height=16, force_terminal=True, color_system=None)
    view = LiveView(console)
    view.show(page, START)
    stream = console.file
    assert isinstance(stream, io.StringIO)
    frame = stream.getvalue()
    view.close()
    assert frame.count("\n") < 16
    assert re.search(r"\d+ more batch sizes", frame)


def test_a_page_with_wide_names_stays_within_the_terminal() -> None:
    """A character that takes two columns counts as two."""
    page = StatusPage(picture=_picture(random_landscape(3), runs=2), outcome=Outcome.OPEN)
    for width in WIDTHS:
        assert all(cell_len(line) <= width for line in lines_of(render_page(page), width))


def test_the_legend_says_why_what_was_never_tried_cannot_work() -> None:
    """A cause that no cell of the table was tried for is told; one that such a cell tells is told once."""

    def cell(gpus: int, state: CellState) -> LandscapeCell:
        return LandscapeCell(gpu_count=gpus, batch_size=8, state=state, reason="HeadsNotDivisible", detail="3 heads")

    alone = arrange([cell(2, CellState.RULED_OUT)])
    beside = arrange([cell(2, CellState.RULED_OUT), cell(4, CellState.INFEASIBLE)])
    told = "- heads  1x HeadsNotDivisible, not tried: certain to fail"
    assert lines_of(render_legend(alone), 80) == [f"{told}: 3 heads"]
    assert told in lines_of(render_legend(beside), 80)


def test_every_legend_line_is_whole() -> None:
    """A long reason goes on in the next line, indented."""
    landscape = random_landscape(7)
    text = " ".join(" ".join(lines_of(render_legend(landscape), 50)).split())
    details = {cell.detail for cell in cells_of(landscape) if cell.detail and cell.state is not CellState.RUNNING}
    assert details
    assert len(list(legend_lines(landscape))) < len(lines_of(render_legend(landscape), 50))
    for detail in details:
        assert re.sub(r"\s", "", detail) in re.sub(r"\s", "", text)


def _picture(*landscapes: Landscape, runs: int = 1) -> Picture:
    """Return the picture of a study with wide names, with a waiting run for each of `runs`."""
    why = "0/3 nodes are available: " + "insufficient nvidia.com/gpu, " * 4
    run = RunPicture(what="8 GPUs, batch size 8", state="waiting: Queued", seconds=12, detail=why, remedy="add GPUs")
    pools = (
        PoolPicture(
            name=f"p{number}",
            device="GPU",
            title=f"Pool p{number}: NVIDIA-A100-SXM4-40GB, 2 nodes, up to 8 GPUs, ended: MaxTrialsReached",
            subject="组织/模型 with vllm on NVIDIA-A100-SXM4-40GB",
            landscape=landscape,
        )
        for number, landscape in enumerate(landscapes)
    )
    return Picture(
        title="名前空間/研究 🚀🚀: vllm, 组织/" + "模型-" * 20,
        is_simulated=False,
        trials_done=3,
        trials_most=12,
        best="8 GPUs, batch size 512: 1,234,567 tokens/s",
        notices=(Notice(text="In progress", when="for 1:12", reason="Loading"),),
        runs=(run,) * runs,
        pools=tuple(pools),
    )
