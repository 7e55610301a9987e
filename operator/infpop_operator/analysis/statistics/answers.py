"""Answer the questions of the report on the results of a user: a flat list of statistics."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import combinations

from infpop_operator.analysis.comparable import condition_differences
from infpop_operator.analysis.grids import Grid, arrange_grids, by_conditions, shared_places
from infpop_operator.analysis.parameter_counts import parameter_counts
from infpop_operator.analysis.rows import ResultTable
from infpop_operator.analysis.statistics.batch import batch
from infpop_operator.analysis.statistics.correction import correct
from infpop_operator.analysis.statistics.engine import engine
from infpop_operator.analysis.statistics.gpu_scaling import gpu_scaling
from infpop_operator.analysis.statistics.hardware import hardware
from infpop_operator.analysis.statistics.relation import relation
from infpop_operator.analysis.statistics.retune import retune, retuned_rounds
from infpop_operator.analysis.statistics.selection import Selection, Side, match_of, name_of
from infpop_operator.analysis.statistics.statistic import Question, Statistic

_SIDES: tuple[tuple[Side, Question], ...] = (("hardware", "hardware"), ("engine", "engine"))


def answer(
    table: ResultTable, *, scores: Mapping[str, float] | None = None, batch_size: int = 1
) -> tuple[Statistic, ...]:
    """Return the answers to all questions, in the order of the questions; `docs/statistics.md` describes each test.

    Args:
        table: the results; those of different workloads or devices, and simulated ones, are answered apart.
        scores: a score of each model, for example its accuracy, by its name.
        batch_size: at which GPU counts, and engines at each GPU count, are compared.
    """
    grids = arrange_grids(table.trials)
    groups = by_conditions(grids)
    selections = [
        Selection(grids=each, workload=conditions.describe() if len(groups) > 1 or conditions.simulated else None)
        for conditions, each in groups.items()
    ]
    parameters = parameter_counts(table.trials)
    found: list[Statistic] = []
    for each in selections:
        found += gpu_scaling(each, batch_size)
    for each in selections:
        found += batch(each)
    for each in selections:
        found += hardware(each)
    found += _refused(grids, *_SIDES[0])
    for each in selections:
        found += engine(each, batch_size)
    found += _refused(grids, *_SIDES[1])
    for each in selections:
        found += retune(each)
    found += retuned_rounds(table.rounds)
    for each in selections:
        found += relation(each, parameters, scores)
    return correct(found)


def _refused(grids: tuple[Grid, ...], side: Side, question: Question) -> Iterator[Statistic]:
    """Yield why two sides are not compared, where no model has numbers of both under the same conditions."""
    by_match: dict[tuple[str, str], list[Grid]] = defaultdict(list)
    for grid in grids:
        if grid.rates:
            by_match[match_of(grid, side)].append(grid)
    compared: set[tuple[str, ...]] = set()
    refused: dict[tuple[str, ...], str] = {}
    for (rest, _), found in by_match.items():
        for one, other in combinations(sorted(found, key=lambda grid: name_of(grid, side)), 2):
            first, second = name_of(one, side), name_of(other, side)
            if first == second:
                continue
            differences = condition_differences([one.conditions], [other.conditions])
            if one.conditions == other.conditions and shared_places(one, other):
                compared.add((rest, first, second))
            elif differences:
                refused.setdefault((rest, first, second), "; ".join(differences))
    for key, reason in sorted(refused.items()):
        if key in compared:
            continue
        rest, first, second = key
        yield Statistic(
            question=question,
            test="wilcoxon",
            engine=rest if side == "hardware" else None,
            gpu_model=rest if side == "engine" else None,
            groups=(first, second),
            sentence=f"{rest}: {first} and {second} are not compared, because their conditions differ: {reason}.",
            note=f"not compared: {reason}",
        )
