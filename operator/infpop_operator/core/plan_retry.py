"""Plan the run that tries again what a run has not measured."""

from dataclasses import replace

from infpop_operator.core.history import (
    RETRIES_PER_TRIAL,
    missing_trials,
    next_index,
    retries_after,
    suspect,
)
from infpop_operator.core.load_failures import (
    smallest_of_each,
)
from infpop_operator.core.model import (
    EndedRun,
    PlannedTrial,
    Run,
    Trial,
    TrialState,
)
from infpop_operator.core.plan_companions import is_measured_in_order
from infpop_operator.core.plan_view import View, planned_run, retryable
from infpop_operator.core.study import Configuration


def retry_run(view: View, wanted: tuple[Configuration, ...], *, yields_to: tuple[Configuration, ...]) -> Run | None:
    """Return a run that retries the first of the `wanted` trials whose load does not yield to one of `yields_to`."""
    due = retryable(view)
    if yields_to and not view.loads.any_loaded:
        wanted = tuple(cell for cell in wanted if cell.load_key not in view.loads.failed)
    trial = next((trial for trial in due if trial.configuration in wanted), None)
    if trial is None:
        return None
    if (smallest := _smallest_instead(view, trial)) is not None:
        return smallest
    if trial.state is TrialState.INVALID:
        planned = PlannedTrial(index=trial.index, configuration=trial.configuration)
        return planned_run(view, (planned,), attempt=trial.attempts + 1, longer=True)
    by_index = {trial.index: trial for trial in view.trials if trial.configuration not in view.hopeless}
    last = next(entry for entry in reversed(view.history.ended) if entry.run.name == trial.run)
    group = _group(last, trial, by_index)
    attempt = 1 + max(by_index[planned.index].attempts for planned in group)
    in_order = last.run.in_order and is_measured_in_order(view.study, group)
    return planned_run(view, group, attempt=attempt, longer=last.run.longer, in_order=in_order)


def _smallest_instead(view: View, trial: Trial) -> Run | None:
    """Return the last attempt of a load that only fails: with its smallest batch, which loads if any batch does."""
    key = trial.configuration.load_key
    runs = view.loads.failed.get(key, ())
    known = {each.configuration: each for each in view.trials}
    smallest = smallest_of_each((*view.open_cells, *known)).get(key)
    tried = {planned.configuration for entry in runs for planned in entry.run.trials}
    if (
        not view.loads.alive - {key}
        or len(runs) < RETRIES_PER_TRIAL
        or smallest is None
        or smallest in tried
        or smallest in known
    ):
        return None
    if view.trials_left <= 0:
        return None
    index = next_index(view.history, view.pool.name, view.round.number)
    return planned_run(view, (PlannedTrial(index=index, configuration=smallest),), attempt=1)


def _group(last: EndedRun, trial: Trial, by_index: dict[int, Trial]) -> tuple[PlannedTrial, ...]:
    """Return the trials to retry in one load: a trial that the engine died on alone, the other ones together.

    The first of them is measured in any case.
    """
    died_on = suspect(last)
    if died_on is not None and died_on.index == trial.index:
        return _first_certain((died_on,))
    together = tuple(
        planned
        for planned in missing_trials(last)
        if planned != died_on
        and planned.index in by_index
        and by_index[planned.index].run == last.run.name
        and by_index[planned.index].failures <= retries_after(by_index[planned.index].reason)
    )
    return _first_certain(together)


def _first_certain(trials: tuple[PlannedTrial, ...]) -> tuple[PlannedTrial, ...]:
    return (replace(trials[0], needs_tokens_per_second=None), *trials[1:])
