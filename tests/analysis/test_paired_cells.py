"""Which cells of two landscapes are a pair."""

from dataclasses import replace

from html_report.contents import grid
from infpop_operator.analysis.paired_cells import PairedCells, paired_cells
from infpop_operator.analysis.result_landscapes import to_landscapes
from infpop_operator.analysis.rows import ResultTable
from infpop_operator.analysis.statistics.answers import answer


def test_only_the_same_configuration_of_the_same_workload_is_a_pair() -> None:
    """Other workloads, other parameters, simulated numbers and cells with one number have no ratio."""
    slow = tuple(grid(gpu_model="V100", pool="V100"))
    fast = tuple(grid(2.0))
    other = tuple(replace(each, workload="other", model="x") for each in grid(gpu_model="V100", pool="V100"))
    simulated = tuple(replace(each, simulated=True, source="sim") for each in grid(gpu_model="H100", pool="H100"))
    found = paired_cells(to_landscapes(ResultTable(trials=(*slow, *fast, *other, *simulated))), "gpu_model")
    assert [(each.model, each.first, each.second, set(each.ratios)) for each in found] == [
        ("m-7b", "V100", "A100", {2.0})
    ]


def test_several_studies_of_one_side_count_with_their_median() -> None:
    """As in the statistics, not the study that was read last."""
    slow = tuple(grid(gpu_model="V100", pool="V100"))
    studies = tuple(
        each for name, factor in (("a", 3.0), ("b", 5.0), ("c", 2.0)) for each in grid(factor, study=name, source=name)
    )
    table = ResultTable(trials=(*slow, *studies))
    (pair,) = paired_cells(to_landscapes(table), "gpu_model")
    assert set(pair.ratios) == {3.0}
    tested = next(each for each in answer(table) if (each.question, each.test) == ("hardware", "improvement"))
    assert (tested.n, tested.median) == (len(pair.ratios), 200.0)


def test_quantiles_are_those_of_definition_7() -> None:
    """Hyndman and Fan's definition 7 of 1, 2, 4, 8: the quartiles are 1.75, 3 and 5."""
    pair = PairedCells(model="m", other="vllm", first="a", second="b", ratios=(1.0, 2.0, 4.0, 8.0))
    assert [pair.quantile(share) for share in (0, 0.25, 0.5, 0.75, 1)] == [1, 1.75, 3, 5, 8]
