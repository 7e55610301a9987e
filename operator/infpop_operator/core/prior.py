"""What an earlier round of a pool says about its newest round: a prior for the search, and cells that need no trial.

Numbers of an earlier round are never results of the newest one: the search gets them as its `Prior` alone. A
configuration that ran out of memory is certain to do so again on GPUs with no more memory; no other failure is certain.
"""

from collections.abc import Iterable, Sequence

from infpop_operator.core import objective
from infpop_operator.core.constraints import violations
from infpop_operator.core.decision import SetAside
from infpop_operator.core.history import trials_of
from infpop_operator.core.load_memory import OUT_OF_MEMORY, load_limits, while_loading
from infpop_operator.core.metric_values import has_value
from infpop_operator.core.model import HAS_WORKED, REQUESTED, History, Round, Trial, TrialState
from infpop_operator.core.recommend import measurement, trial_loss
from infpop_operator.core.scalarised import scalarised_losses
from infpop_operator.core.search import Prior, PriorCell
from infpop_operator.core.search_trials import is_too_large
from infpop_operator.core.study import Configuration, Pool, Study
from infpop_runner.contract import RacedOut

INHERITED = "Inherited"
ENOUGH_CELLS = 8  # measured cells of an earlier round; with fewer, an older round may say more. Reasoned, not measured
# Facts of a round's subject that decide what fits in memory, beside the memory itself: their first words.
_MEMORY_FACTS = ("model", "engine", "workload", "software")


def prior_of(study: Study, pool: Pool, history: History, newest: Round, *, weight: float | None = None) -> Prior | None:
    """Return what the search of `newest` knows from before; None if no earlier round measured anything.

    The prior is the last earlier round with `ENOUGH_CELLS` measured cells, else the one with the most. Its values and
    constraints are those of the study's objective as it is now; with `weight`, that of the second metric, its values
    are weighted ones of both metrics.
    """
    found: tuple[Round, tuple[PriorCell, ...]] | None = None
    for entry in _earlier(history, newest):
        cells = tuple(_cells(study, pool, trials_of(history, pool.name, entry.number), weight))
        if _measured(cells) > (0 if found is None else _measured(found[1])):
            found = (entry, cells)
        if found is not None and _measured(found[1]) >= ENOUGH_CELLS:
            break
    if found is None:
        return None
    entry, cells = found
    was, now = _facts(entry, ("model",)), _facts(newest, ("model",))
    return Prior(cells=cells, same_model=bool(was) and was == now)


def inherited(pool: Pool, history: History, newest: Round) -> tuple[SetAside, ...]:
    """Return the configurations of `newest` that cannot fit in memory, because they did not in an earlier round.

    That is certain if a GPU has no more memory now than then, and model, engine, software and workload are the same.
    If any of this is unknown, nothing is inherited; nor in a requested round: its user wants everything measured again.
    Of each engine load these are the batch sizes from the smallest that ran out of memory and is larger than all that
    worked in that round.
    """
    if newest.trigger == REQUESTED:
        return ()
    found: dict[object, SetAside] = {}
    for entry in _earlier(history, newest):
        for each in _too_large_for(pool, history, entry, newest):
            known = found.get((each.gpu_count, each.extra))
            if known is None or (each.min_batch_size or 0) < (known.min_batch_size or 0):
                found[each.gpu_count, each.extra] = each
    return tuple(found.values())


def _earlier(history: History, newest: Round) -> Iterable[Round]:
    """Return the other rounds of the pool, the last first."""
    return (entry for entry in reversed(history.rounds) if entry.pool == newest.pool and entry.number != newest.number)


def _measured(cells: tuple[PriorCell, ...]) -> int:
    return sum(cell.is_measured for cell in cells)


def _cells(study: Study, pool: Pool, trials: Sequence[Trial], weight: float | None) -> Iterable[PriorCell]:
    losses = {} if weight is None else scalarised_losses(study, pool, trials, weight)
    for trial in trials:
        if trial.state is TrialState.INFEASIBLE:
            yield PriorCell(
                configuration=trial.configuration,
                is_usable=False,
                too_large=is_too_large(study, trial),
                while_loading=while_loading(trial),
            )
        elif isinstance(trial.result, RacedOut):
            at_most, gpus = trial.result.at_most_tokens_per_second, trial.configuration.gpu_count
            bound = (
                objective.loss_at(study.objective, at_most, gpus, pool.price_per_gpu_hour) if weight is None else None
            )
            yield PriorCell(configuration=trial.configuration, loss=bound, is_bound=bound is not None)
        elif trial.state is TrialState.MEASURED and has_value(study.objective, trial.extra_metrics):
            gpus = trial.configuration.gpu_count
            is_usable = not violations(study, measurement(trial), gpus, trial.extra_metrics)
            yield PriorCell(
                configuration=trial.configuration,
                loss=trial_loss(study, pool, trial) if weight is None else losses.get(trial.index),
                is_usable=is_usable,
                too_large=not is_usable and is_too_large(study, trial),
            )


def _facts(entry: Round, kinds: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in entry.subject if name.partition(".")[0] in kinds}


def _too_large_for(pool: Pool, history: History, entry: Round, newest: Round) -> Iterable[SetAside]:
    was = None if entry.hardware is None else entry.hardware.gpu_memory_mib
    if was is None or pool.gpu_memory_mib is None or pool.gpu_memory_mib > was:
        return
    facts = _facts(entry, _MEMORY_FACTS)
    if not facts or facts != _facts(newest, _MEMORY_FACTS):
        return
    trials = trials_of(history, pool.name, entry.number)
    for key in dict.fromkeys(trial.configuration.load_key for trial in trials):
        own = [trial for trial in trials if trial.configuration.load_key == key]
        works = max((_batch(trial) for trial in own if trial.state in HAS_WORKED), default=0)
        dead = key in load_limits(own, ())
        failed = [
            _batch(trial)
            for trial in own
            if trial.reason == OUT_OF_MEMORY and _batch(trial) > works and (dead or not while_loading(trial))
        ]
        if failed:
            detail = (
                f"batch {min(failed)} ran out of memory in round {entry.number} with {was} MiB per GPU;"
                f" now it is {pool.gpu_memory_mib} MiB"
            )
            yield SetAside(
                gpu_count=key[0], extra=key[1], min_batch_size=min(failed), reason=INHERITED, detail=detail, attempts=0
            )


def _batch(trial: Trial) -> int:
    return trial.configuration.batch_size


def is_inherited(aside: Iterable[SetAside], cell: Configuration) -> bool:
    """Return whether one of the entries of `inherited` covers a cell."""
    return any(each.covers(cell) for each in aside)
