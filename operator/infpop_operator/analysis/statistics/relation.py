"""Question 6: how does the best throughput go with the size of the model, and with any score given for it?"""

from collections.abc import Iterator, Mapping, Sequence
from math import log

from infpop_operator.analysis.statistics.procedures import Outcome, pearson, spearman
from infpop_operator.analysis.statistics.selection import Selection
from infpop_operator.analysis.statistics.statistic import Statistic, Topic
from infpop_operator.analysis.statistics.wording import SIGNIFICANCE, count, p_words

_Point = tuple[float, float]
_MISSING_SHOWN = 5


def relation(
    selection: Selection, parameters: Mapping[str, float], scores: Mapping[str, float] | None
) -> Iterator[Statistic]:
    """Yield the correlations for each engine and GPU model; the samples are the models.

    Args:
        selection: the grids.
        parameters: number of parameters of the models for which it is known.
        scores: a score of each model by its name, or by the part of its name after the last "/".
    """
    for (engine, hardware), grids in selection.by_engine_and_hardware().items():
        place = f"{engine} on {hardware}"
        topic = Topic(question="relation", engine=engine, gpu_model=hardware, workload=selection.workload)
        known = {grid.model: best.rate for grid in grids if (best := grid.best) is not None}
        quantities = [("parameters", {model: parameters.get(model) for model in known})]
        if scores is not None:
            quantities.append(("score", {model: score_of(model, scores) for model in known}))
        for quantity, values in quantities:
            points = [(x, known[model]) for model, x in values.items() if x is not None]
            unknown = sorted(model for model, x in values.items() if x is None)
            for test, outcome in _correlations(quantity, points):
                yield topic.tested(
                    outcome,
                    test=test,
                    groups=(quantity, "best throughput"),
                    sentence=_sentence(place, quantity, test, outcome),
                    note=_note(outcome, quantity, unknown),
                )


def score_of(model: str, scores: Mapping[str, float]) -> float | None:
    """Return the score of a model, by its whole name or its last part, whatever the case; None if there is none."""
    by_name = {name.casefold(): score for name, score in scores.items()}
    by_last = {name.rpartition("/")[2]: score for name, score in by_name.items()}
    name = model.casefold()
    return by_name.get(name, by_last.get(name.rpartition("/")[2]))


def _correlations(quantity: str, points: Sequence[_Point]) -> Iterator[tuple[str, Outcome]]:
    x, y = [point[0] for point in points], [point[1] for point in points]
    yield "pearson", pearson(x, y)
    if quantity == "parameters":  # both are above 0 and span orders of magnitude; a score is on a scale of its own
        yield "pearson-log", pearson([log(value) for value in x], [log(value) for value in y])
    yield "spearman", spearman(x, y)


def _sentence(place: str, quantity: str, test: str, outcome: Outcome) -> str:
    what = {"parameters": "number of parameters", "score": "score"}[quantity]
    if outcome.statistic is None or outcome.p_value is None:
        return f"{place}: best throughput against {what}: {outcome.note}."
    direction = "falls" if outcome.statistic < 0 else "rises"
    shown = f"{direction} with the {what}" if outcome.p_value < SIGNIFICANCE else f"is not shown to go with the {what}"
    kind = {"pearson": "Pearson's r", "pearson-log": "Pearson's r of the logarithms", "spearman": "Spearman's rho"}
    return (
        f"{place}: best throughput {shown} over {count(outcome.n, 'model')}: {kind[test]} is "
        f"{outcome.statistic:+.2f} ({p_words(outcome.p_value)})."
    )


def _note(outcome: Outcome, quantity: str, unknown: Sequence[str]) -> str | None:
    shown = ", ".join(unknown[:_MISSING_SHOWN])
    more = f" and {len(unknown) - _MISSING_SHOWN} more" if len(unknown) > _MISSING_SHOWN else ""
    missing = f"without a known number of {quantity}" if quantity == "parameters" else "without a score"
    return "; ".join(part for part in (outcome.note, f"{missing}: {shown}{more}" if unknown else None) if part) or None
