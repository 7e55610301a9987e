"""Plan which batch sizes share the load of the search's choice (`trialsPerRun: auto`).

The operator learns the results of a run when it ends, so the run itself decides after each of them: a trial travels
with the throughput that an earlier one must have reached (`PlannedTrial.needs_tokens_per_second`). Only a loss that is
a function of the throughput at one GPU count can be said in this way. What depends on another loss is left out: its
metric arrives after the run, and until then nothing says whether the load is worth more of its time.
"""

from collections.abc import Iterator, Sequence

from infpop_operator.core import objective
from infpop_operator.core.model import PlannedTrial
from infpop_operator.core.search import Companion, SearchRequest, companions
from infpop_operator.core.space import cells
from infpop_operator.core.study import Configuration, Pool, Study
from infpop_runner.contract import MOST_TRIALS

_LEAST_THROUGHPUT = 1e-9  # tokens/s; the contract allows no 0
_SIGNIFICANT_DIGITS = 6  # of a threshold: as many as a measured throughput has


def companion_trials(
    study: Study, pool: Pool, request: SearchRequest, first: Configuration, *, trials_left: int, weighted: bool
) -> tuple[PlannedTrial, ...]:
    """Return the trials to measure after `first` on its load, in this order.

    Args:
        study: the study.
        pool: the pool of the round.
        request: the request for `first`, which becomes the trial `request.index`.
        first: what the run measures in any case.
        trials_left: how many trials the round may still have, `first` included.
        weighted: whether the losses of the request are weighted ones of two metrics.
    """
    most = min(MOST_TRIALS, trials_left) - 1
    if most < 1 or first not in cells(study.space):
        return ()
    wanted = companions(request, first, most)
    if not _is_order_free(study):
        wanted = tuple(each for each in wanted if each.configuration.batch_size > first.batch_size)
    planned = _conditional(study, pool, wanted, weighted=weighted)
    return tuple(
        PlannedTrial(index=index, configuration=cell, needs_tokens_per_second=needs)
        for index, (cell, needs) in enumerate(planned, start=request.index + 1)
    )


def is_measured_in_order(study: Study, trials: Sequence[PlannedTrial]) -> bool:
    """Return whether a run must be told to keep the order of `trials`: not so if their batch sizes ascend anyway."""
    batches = [trial.configuration.batch_size for trial in trials]
    return batches != sorted(batches) and _is_order_free(study)


def _is_order_free(study: Study) -> bool:
    """Return whether batch sizes may descend: after a larger one the memory of a smaller one may not be known."""
    return all(bound.metric != "gpuMemoryPeakBytes" for bound in study.objective.constraints)


def _conditional(
    study: Study, pool: Pool, wanted: Sequence[Companion], *, weighted: bool
) -> Iterator[tuple[Configuration, float | None]]:
    """Yield each companion with the throughput that it needs, None if it is worthwhile in any case.

    If the losses are `weighted` ones of two metrics, no throughput says whether it is worthwhile, so it always is.
    """
    for each in wanted:
        if each.needs_loss is None or weighted:
            yield each.configuration, None
            continue
        gpus, price = each.configuration.gpu_count, pool.price_per_gpu_hour
        needs = objective.throughput_at(study.objective, each.needs_loss, gpus, price)
        if needs is not None:
            # Any measurement reaches a threshold of 0, but not every earlier trial becomes one.
            yield each.configuration, max(float(f"{needs:.{_SIGNIFICANT_DIGITS}g}"), _LEAST_THROUGHPUT)
