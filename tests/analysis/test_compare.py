"""Two results side by side: what is paired, what is refused, and how sure a ratio is."""

from math import exp, sqrt

import pytest

from analysis.made_rows import make_grid, make_row
from infpop_operator.analysis.compare import compare_results, median_interval, to_document
from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.analysis.side import parse_side, select_rows
from infpop_operator.core.errors import ResultError


def test_cells_of_both_sides_are_paired() -> None:
    """The ratio is second / first; cells of one side alone are counted, and the bests may be at different places."""
    old = make_grid({(1, 1): 10.0, (1, 2): 40.0, (2, 1): 20.0}, gpu_model="V100")
    new = make_grid({(1, 1): 20.0, (2, 1): 80.0, (4, 1): 90.0})
    found = compare_results(("old", old), ("new", new))
    assert [(pair.first.gpu_count, pair.first.batch_size, pair.ratio) for pair in found.cells] == [(1, 1, 2), (2, 1, 4)]
    (best,) = found.best
    assert (best.first.batch_size, best.second.gpu_count, best.ratio) == (2, 4, 90 / 40)
    assert found.summary is not None
    assert (found.summary.pairs, found.summary.only_first, found.summary.only_second) == (2, 1, 1)
    assert found.summary.mean_ratio == pytest.approx(sqrt(8))
    assert (found.summary.median_ratio, found.summary.median_ratio_interval) == (3.0, None)


def test_the_ratio_of_two_known_noises_has_an_interval() -> None:
    """Half widths of 10 % and of 5 %, which is 1.96 standard errors of 2.55 %: the logarithms add up in squares."""
    old = [make_row(100.0, interval_tokens_per_second=(90.0, 110.0))]
    new = [make_row(200.0, interval_tokens_per_second=(190.0, 210.0))]
    (pair,) = compare_results(("old", old), ("new", new)).cells
    width = sqrt(0.1**2 + 0.05**2)
    assert pair.ratio_interval == pytest.approx((2 * exp(-width), 2 * exp(width)), rel=1e-4)
    (unknown,) = compare_results(("old", old), ("new", [make_row(200.0)])).cells
    assert unknown.ratio_interval is None


def test_the_spread_of_repeats_gives_an_interval_too() -> None:
    """The range of three repeats is 1.693 sigma on average; the error of their median 1.2533 sigma / sqrt(3)."""
    rows = [make_row(100.0, spread_ratio=0.1, repeats=3)]
    (pair,) = compare_results(("a", rows), ("b", rows)).cells
    width = 1.96 * sqrt(2) * 1.2533 * (0.1 / 1.693) / sqrt(3)
    assert pair.ratio_interval == pytest.approx((exp(-width), exp(width)), rel=1e-3)


@pytest.mark.parametrize(
    ("n", "ends"), [(5, None), (6, (1, 6)), (8, (1, 8)), (9, (2, 8)), (20, (6, 15)), (100, (40, 61))]
)
def test_the_interval_of_a_median_goes_by_coin_tosses(n: int, ends: tuple[int, int] | None) -> None:
    """The ranks of printed tables of the sign test (Conover, table A3 at p = 0.5)."""
    assert median_interval(range(1, n + 1)) == ends


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"workload": "long"}, "workload: short against long"),
        ({"simulated": True}, "numbers: measured against simulated"),
        ({"device": "CPU rank"}, "device: GPU against CPU rank"),
        ({"model": "Other"}, "model: Tiny-1b against Other"),
    ],
)
def test_what_differs_is_said_and_nothing_compared(changes: dict[str, object], difference: str) -> None:
    """A comparison that is refused gives the reader no number."""
    first, second = [make_row(workload="short")], [make_row(**({"workload": "short"} | changes))]
    found = compare_results(("a", first), ("b", second))
    assert found.differences == (difference,)
    assert (found.cells, found.best, found.summary) == ((), (), None)
    assert to_document(found)["comparable"] is False


def test_differences_in_software_are_told() -> None:
    """Two versions of an engine may be compared, and the reader must know; two engines have versions of their own."""
    old = make_row(engine_version="0.9", workload="w")
    newer, other = (
        make_row(engine_version="0.10", workload="w"),
        make_row(engine="hf", engine_version="5", workload="w"),
    )
    assert compare_results(("a", [old]), ("b", [newer])).warnings == ("engine version differs: 0.9 against 0.10",)
    assert compare_results(("a", [old]), ("b", [other])).warnings == ()


def test_simulated_numbers_say_so() -> None:
    """Two simulations may be compared, and the reader is told that nothing was measured."""
    rows = [make_row(simulated=True, workload="w")]
    assert compare_results(("a", rows), ("b", rows)).warnings == ("these numbers are simulated: nothing was measured",)


def test_facts_of_rows_without_a_number_do_not_matter() -> None:
    """How a trial that failed was to be measured is no difference."""
    rows = [make_row(mode="adaptive", workload="w")]
    failed = make_row(None, mode="full", workload="w", batch_size=2)
    assert compare_results(("a", rows), ("b", [*rows, failed])).warnings == ()


def test_engines_are_compared_only_where_each_side_has_one() -> None:
    """Otherwise hf is compared with hf and vLLM with vLLM."""
    hf, vllm = make_row(10.0, engine="hf"), make_row(30.0)
    (pair,) = compare_results(("a", [hf]), ("b", [vllm])).cells
    assert (pair.first.engine, pair.second.engine, pair.ratio) == ("hf", "vllm", 3.0)
    (same,) = compare_results(("a", [hf, vllm]), ("b", [make_row(60.0)])).cells
    assert (same.first.engine, same.ratio) == ("vllm", 2.0)


def test_the_recommended_configuration_is_the_best_of_a_side() -> None:
    """A study with another aim than throughput recommends what is not the fastest."""
    rows = [make_row(10.0, is_best=True), make_row(99.0, batch_size=2)]
    (best,) = compare_results(("a", rows), ("b", [make_row(20.0)])).best
    assert best.ratio == 2.0


def test_a_recommended_variant_has_its_own_number() -> None:
    """A faster variant of extra parameters at the same place breaks a constraint: it is not what is recommended."""
    rows = [make_row(30.0, extra={"a": 1}, is_best=True), make_row(40.0, extra={"a": 2}, reason="ConstraintBroken")]
    (best,) = compare_results(("a", rows), ("b", [make_row(60.0)])).best
    assert (best.first.tokens_per_second, best.ratio) == (30.0, 2.0)


def rows_of_rounds() -> list[TrialResultRow]:
    """Return rows of two rounds and two pools."""
    return [make_row(round=number, pool=pool) for number in (1, 2) for pool in ("a", "b")]


def test_a_side_names_what_it_means() -> None:
    """Keys narrow the rows; a comma is part of a value unless a key follows; a path may hold what is no selection."""
    side = parse_side("some/dir#pool=A,round=2")
    assert (side.source, side.wanted) == ("some/dir", (("pool", "A"), ("round", "2")))
    assert [(row.pool, row.round) for row in select_rows(side, rows_of_rounds())] == [("a", 2)]
    assert parse_side("x.csv#workload=in 1, out 2,engine=hf").wanted == (("workload", "in 1, out 2"), ("engine", "hf"))
    assert parse_side("plain").source == "plain"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("d#pol=a", "pol=a: is no selection. After # write one or several of pool=..., round=..., engine=..."),
        ("d#pool=", "pool=: is no selection"),
        ("d#pool=a,pool=b", "pool=b: is there twice"),
        ("d#", "#: is no selection"),
        ("d#pool=c", "pool=c: no trial has it. Choose one of: a, b."),
    ],
)
def test_a_wrong_side_names_the_value_and_the_remedy(text: str, message: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ResultError) as error:
        select_rows(parse_side(text), rows_of_rounds())
    assert message in str(error.value)
