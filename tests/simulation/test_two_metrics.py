"""A search for two metrics has more of the Pareto front after as many trials than a search for one of them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from math import log
from operator import itemgetter
from statistics import mean

from factories.runs import make_ended, make_result
from factories.studies import START, at, make_measured, make_study
from infpop_operator.core.decide import decide
from infpop_operator.core.model import Finished, History
from infpop_operator.core.space import cells
from infpop_operator.core.study import Algorithm, Budget, Configuration, Objective, Study

NEW_TOKENS = make_study().workload.max_new_tokens
TRIALS = 8
# How many sequences half of the peak needs, what a doubling of the GPUs gains, and the largest batch of a GPU.
SHAPES = ((16, 0.9, 256), (64, 0.5, 1024), (128, 0.3, 64), (32, 0.1, 512), (256, 0.7, 1024))

Rates = Callable[[Configuration], float | None]


def rates_of(half: int, gain: float, largest: int) -> Rates:
    """Return tokens/s that saturate with the batch size; None above the largest batch."""

    def rate(cell: Configuration) -> float | None:
        fits = cell.batch_size <= largest * cell.gpu_count
        return 1000.0 * cell.gpu_count**gain * cell.batch_size / (cell.batch_size + half) if fits else None

    return rate


def tried(study: Study, rates: Rates) -> Iterator[Configuration]:
    """Yield the configurations in the order in which the study tries them."""
    history, number = History(started_at=START), 0
    while (decision := decide(study, history, {}, at(number * 100))).start:
        (run,), number = decision.start, number + 1
        (planned,) = run.trials
        cell, rate = planned.configuration, rates(planned.configuration)
        outcome = (
            "GpuOutOfMemory"
            if rate is None
            else make_measured(
                rate,
                index=planned.index,
                batch_size=cell.batch_size,
                spread_ratio=0.0,
                batch_seconds_p50=cell.batch_size * NEW_TOKENS / rate,
            )
        )
        ended = make_ended(run, Finished(result=make_result(run, [outcome]), ended_at=at(number * 100)))
        history = replace(decision.history, ended=(*decision.history.ended, ended))
        yield cell


def points_of(found: Iterable[Configuration], rates: Rates) -> list[tuple[float, float]]:
    """Return the logarithms of tokens/s, and of tokens/s of one sequence, of the configurations that work."""
    return [(log(rate), log(rate / cell.batch_size)) for cell in found if (rate := rates(cell)) is not None]


def area(found: Iterable[Configuration], study: Study, rates: Rates) -> float:
    """Return the area that configurations beat, down to the two ends of what is possible in the study's space."""
    possible = points_of(cells(study.space), rates)
    least, reached = max(possible, key=itemgetter(1))[0] - 0.1, max(possible)[1] - 0.1
    total = 0.0
    for first, second in sorted(points_of(found, rates), reverse=True):
        if first > least and second > reached:
            total += (first - least) * (second - reached)
            reached = second
    return total


def share(objective: Objective, shape: tuple[int, float, int], seed: int) -> float:
    """Return which part of the area of all configurations a search has after `TRIALS` trials."""
    rates, algorithm = rates_of(*shape), Algorithm(name="landscape", seed=seed)
    study = make_study(objective=objective, algorithm=algorithm, budget=Budget(max_trials=TRIALS))
    return area(tried(study, rates), study, rates) / area(cells(study.space), study, rates)


def test_a_search_for_two_metrics_has_more_of_the_front() -> None:
    """On average over five kinds of landscapes, with the tokens/s against the time of a sequence for a token."""
    both = Objective(second_metric="secondsPerOutputToken")
    first, second = (
        mean(share(objective, shape, seed) for shape in SHAPES for seed in range(2))
        for objective in (Objective(), both)
    )
    assert second > first + 0.05
