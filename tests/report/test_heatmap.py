"""The landscape as an image for documents and slides."""

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.patches import Rectangle

from infpop_operator.core.landscape import CellState, Landscape, LandscapeCell
from infpop_operator.report.figures.heatmap import heatmap_figure, save_heatmap


def landscape() -> Landscape:
    """Return a round with a measured best, an infeasible and an untried cell."""
    best = LandscapeCell(
        gpu_count=1,
        batch_size=1,
        state=CellState.MEASURED,
        throughput_tokens_per_second=1234.5,
        spread_ratio=0.01,
        is_best=True,
    )
    infeasible = LandscapeCell(gpu_count=2, batch_size=1, state=CellState.INFEASIBLE, reason="GpuOutOfMemory")
    untried = LandscapeCell(gpu_count=1, batch_size=8, state=CellState.UNTRIED)
    rows = ((best, infeasible), (untried, replace(untried, gpu_count=2)))
    return Landscape(gpu_counts=(1, 2), batch_sizes=(1, 8), rows=rows)


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_every_promised_format_is_drawn(tmp_path: Path, suffix: str, magic: bytes) -> None:
    """`--heatmap` draws PNG, SVG and PDF, as documented."""
    target = tmp_path / f"landscape{suffix}"
    save_heatmap(landscape(), target, title="study on pool")
    assert target.read_bytes().startswith(magic)


def test_the_picture_says_what_was_measured(tmp_path: Path) -> None:
    """Numbers, marks of failed cells and the title are text in the image, not only colours."""
    target = tmp_path / "landscape.svg"
    save_heatmap(landscape(), target, title="study on pool")
    drawn = target.read_text()
    assert all(f"<!-- {text} -->" in drawn for text in ("★ 1,234", "✗", "study on pool", "batch size", "GPUs"))


def test_the_best_of_a_large_landscape_is_framed() -> None:
    """Its numbers have no room: the frame alone says where the best is, at its place."""
    sizes = tuple(range(1, 26))
    (best, _), _ = landscape().rows
    rows = tuple(
        tuple(replace(best, gpu_count=gpus, batch_size=batch, is_best=(gpus, batch) == (3, 20)) for gpus in sizes)
        for batch in sizes
    )
    figure = heatmap_figure(Landscape(gpu_counts=sizes, batch_sizes=sizes, rows=rows), title="study")
    framed = [each for each in figure.axes[0].patches if isinstance(each, Rectangle) and not each.get_fill()]
    assert {each.get_xy() for each in framed} == {(1.5, 18.5)}


def test_a_round_without_a_number_can_be_drawn(tmp_path: Path) -> None:
    """A study in which everything failed still has an image."""
    nothing = LandscapeCell(gpu_count=1, batch_size=1, state=CellState.BROKEN, reason="EngineCrash")
    target = tmp_path / "landscape.png"
    save_heatmap(Landscape(gpu_counts=(1,), batch_sizes=(1,), rows=((nothing,),)), target, title="study")
    assert target.stat().st_size > 0
