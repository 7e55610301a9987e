"""How pages show trials that were slower than the best, and how sure their numbers are."""

from pathlib import Path

from infpop_operator.core.landscape import CellState, Landscape, LandscapeCell
from infpop_operator.report.figures.heatmap import save_heatmap
from infpop_operator.report.landscape_table import render_landscape, render_legend
from infpop_operator.report.rendering import render_page
from report.played_studies import printed
from report.study_objects import ended, page_of

BEST = LandscapeCell(
    gpu_count=1, batch_size=1, state=CellState.MEASURED, throughput_tokens_per_second=1234.5, is_best=True
)
SLOW = LandscapeCell(gpu_count=2, batch_size=1, state=CellState.RACED_OUT, at_most_tokens_per_second=812.3)
ROUND = Landscape(gpu_counts=(1, 2), batch_sizes=(1,), rows=((BEST, SLOW),))


def test_a_table_has_a_mark_of_its_own_for_what_was_raced_out() -> None:
    """The cell and the legend have what it does not exceed, in ASCII."""
    assert "<812" in printed(render_landscape(ROUND, "GPU"))
    legend = printed(render_legend(ROUND)).splitlines()
    assert legend[1] == "< slower than the best  1x, the number is the most it can reach"


def test_a_heat_map_has_the_same_mark(tmp_path: Path) -> None:
    """It is no colour: a bound is not a measurement."""
    target = tmp_path / "landscape.svg"
    save_heatmap(ROUND, target, title="study")
    assert "<!-- &lt;812 -->" in target.read_text() or "<!-- <812 -->" in target.read_text()


def test_the_page_of_an_adaptive_study_says_how_long_and_how_sure() -> None:
    """Trials have their interval and time, raced-out ones what they do not exceed, and the conclusion counts them."""
    page = page_of(ended(measurement={"mode": "Adaptive"}, baseline=None, publish=None))
    outcomes = [line.outcome for line in page.trials]
    assert any("tokens/s (95 % interval " in outcome and outcome.endswith(" s)") for outcome in outcomes)
    assert any(outcome.startswith("slower than the best: at most ") for outcome in outcomes)
    assert page.conclusion is not None
    assert "slower than the best" in dict(page.conclusion.facts)["Trials"]
    assert "the number is the most it can reach" in printed(render_page(page), width=160)
