"""Comparisons over models as JSON values: paired cells as quartiles, improvements as bars, models as points."""

from collections.abc import Iterable, Mapping
from statistics import median

from infpop_operator.analysis.grids import Grid
from infpop_operator.analysis.paired_cells import PairedCells
from infpop_operator.analysis.statistics.relation import score_of
from infpop_operator.analysis.statistics.statistic import ALL, Statistic
from infpop_operator.report.html.landscape_json import Json, short

# Tests whose statistic is a gain in per cent, and what they rest on.
_GAINS = {"improvement": "on recorded landscapes", "improvement-rounds": "in rounds"}


def pairs_to_json(pairs: Iterable[PairedCells]) -> list[Json]:
    """Return one comparison for each two sides and what they have in common, its models by their median."""
    groups: dict[tuple[str, str, str], list[PairedCells]] = {}
    for pair in pairs:
        groups.setdefault((pair.first, pair.second, pair.other), []).append(pair)
    return [
        {
            "first": first,
            "second": second,
            "other": other,
            "median": short(median(pair.quantile(0.5) for pair in found)),
            "models": [_box(pair) for pair in sorted(found, key=lambda pair: -pair.quantile(0.5))],
        }
        for (first, second, other), found in sorted(groups.items())
    ]


def _box(pair: PairedCells) -> Json:
    names = {"least": 0.0, "q1": 0.25, "median": 0.5, "q3": 0.75, "most": 1.0}
    return {
        "model": pair.model,
        "n": len(pair.ratios),
        **{name: short(pair.quantile(share)) for name, share in names.items()},
    }


def retunings_to_json(statistics: Iterable[Statistic]) -> list[Json]:
    """Return what tuning again gained for each model, by engine and change of the GPU model, with the summary of each.

    Args:
        statistics: the answers to the question "retune"; those of rounds are measured, the others of landscapes.
    """
    groups: dict[str, list[Statistic]] = {}
    summaries: dict[str, str] = {}
    for each in statistics:
        if each.test not in _GAINS:
            continue
        title = f"{each.engine}, from {' to '.join(each.groups)}, {_GAINS[each.test]}"
        if each.model == ALL:
            summaries[title] = each.sentence
        elif each.statistic is not None:
            groups.setdefault(title, []).append(each)
    return [
        {"title": title, "sentence": summaries.get(title, ""), "bars": list(map(_bar, sorted(found, key=_by_gain)))}
        for title, found in sorted(groups.items())
    ]


def _by_gain(statistic: Statistic) -> float:
    return -(statistic.statistic or 0.0)


def _bar(statistic: Statistic) -> Json:
    low, high = statistic.interval or (None, None)
    return {"label": statistic.model, "value": short(statistic.statistic), "low": short(low), "high": short(high)}


def relations_to_json(
    grids: Iterable[Grid], parameters: Mapping[str, float], scores: Mapping[str, float]
) -> list[Json]:
    """Return a point for each grid with a number: the best throughput of its model, as in the statistics."""
    return [
        {
            "model": grid.model,
            "engine": grid.engine,
            "gpu": grid.hardware,
            "conditions": grid.conditions.describe(),
            "best": short(best.rate),
            "parameters": short(parameters.get(grid.model)),
            "score": short(score_of(grid.model, scores)),
        }
        for grid in grids
        if (best := grid.best) is not None
    ]
