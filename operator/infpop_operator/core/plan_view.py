"""What planning the next run of one pool's round looks at, and how it names the run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from infpop_operator.core import placement
from infpop_operator.core.confirmation import measured_again
from infpop_operator.core.contest import Confirmation
from infpop_operator.core.counting import lost_in
from infpop_operator.core.decision import SetAside
from infpop_operator.core.fingerprint import run_name
from infpop_operator.core.history import (
    current_round,
    known_model_facts,
    retries_after,
    trials_of,
)
from infpop_operator.core.load_failures import (
    LoadOutlook,
    above_memory,
    load_outlook,
)
from infpop_operator.core.load_memory import postponed
from infpop_operator.core.model import History, PlannedTrial, Round, Run, Trial, TrialState
from infpop_operator.core.prior import inherited, is_inherited
from infpop_operator.core.races import most_promising, to_beat
from infpop_operator.core.scope import baseline_of, in_scope, own_trials
from infpop_operator.core.space import cells, ruled_out
from infpop_operator.core.study import Configuration, Pool, Study


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The inputs of planning for one pool's round."""

    study: Study
    pool: Pool
    round: Round
    history: History
    baseline: Configuration | None
    known: tuple[Trial, ...]  # all trials of the round
    trials: tuple[Trial, ...]  # the trials among them that count now
    lost: frozenset[int]  # the indexes of those that did not survive a fresh load
    hopeless: frozenset[Configuration]  # ruled out by now, possibly after their trial broke
    open_cells: tuple[Configuration, ...]
    unplaced: Mapping[int, placement.Unplaced]
    loads: LoadOutlook
    inherited: tuple[SetAside, ...]  # what an earlier round showed not to fit
    owes_baseline: bool  # the round was resumed, and has not tried what is in use now
    yielding: tuple[SetAside, ...] = ()  # what is not tried now
    again: Confirmation | None = None  # what is measured again, once the search has ended

    @property
    def trials_left(self) -> int:
        """How many more trials the round may measure; those that another study measured cost nothing."""
        return self.study.budget.max_trials - len(own_trials(self.trials))

    @property
    def next_reopened(self) -> Configuration | None:
        """The open configuration to measure before any other: its race counts no longer, and it may be the best."""
        counting = {trial.index for trial in self.trials}
        reopened = (trial for trial in self.known if trial.index not in counting)
        return most_promising(
            self.study, self.pool, [trial for trial in reopened if trial.configuration in self.open_cells]
        )


def view_of(study: Study, pool: Pool, history: History) -> View:
    """Return what planning looks at for the newest round of `pool`.

    Raises:
        ValueError: the pool has no round yet.
    """
    newest = current_round(history, pool.name)
    if newest is None:
        raise ValueError(f"pool {pool.name} has no round")
    known = trials_of(history, pool.name, newest.number)
    baseline = baseline_of(study, newest)
    lost = lost_in(measured_again(study, pool, history, newest))
    trials = in_scope(study, known, baseline, lost=lost)
    candidates = _baseline_first(baseline, cells(study.space))
    tried = tuple(trial.configuration for trial in known)
    gpu_limit = study.budget.max_concurrent_gpus
    too_large = {cell for cell in (*candidates, *tried) if cell.gpu_count > gpu_limit}
    loads = load_outlook(study, pool, newest, history)
    too_large |= above_memory(known, candidates) | {
        cell for cell in (*candidates, *tried) if cell.load_key in loads.aside
    }
    without_memory = inherited(pool, history, newest)
    too_large |= {cell for cell in (*candidates, *tried) if is_inherited(without_memory, cell)}
    hopeless = too_large | ruled_out(study, pool, known, known_model_facts(history), also=candidates).keys()
    counting = {trial.index for trial in trials}
    done = (each for each in known if each.state is not TrialState.RACED_OUT or each.index in counting)
    excluded = hopeless.union(trial.configuration for trial in done)
    open_cells = tuple(cell for cell in candidates if cell not in excluded)
    later = postponed(known, open_cells) - {baseline}
    open_cells = tuple(cell for cell in open_cells if cell not in later)
    owed = baseline if newest.resumed and baseline in open_cells else None
    if owed is not None and len(own_trials(trials)) >= study.budget.max_trials:
        open_cells = (owed,)
    return View(
        study=study,
        pool=pool,
        round=newest,
        history=history,
        baseline=baseline,
        known=known,
        trials=trials,
        lost=lost,
        hopeless=frozenset(hopeless),
        open_cells=open_cells,
        unplaced=placement.unplaced(pool, history, newest),
        loads=loads,
        inherited=without_memory,
        owes_baseline=owed is not None,
    )


def _baseline_first(baseline: Configuration | None, space: tuple[Configuration, ...]) -> tuple[Configuration, ...]:
    """Return the cells, the baseline first; it is measured for comparison even outside the search space."""
    if baseline is None or baseline in space:
        return space
    return (baseline, *space)


def retryable(view: View) -> tuple[Trial, ...]:
    """Return the trials that are due for another attempt; a ruled-out trial is not retried."""
    candidates = (trial for trial in view.trials if trial.configuration not in view.hopeless)
    return tuple(
        trial
        for trial in candidates
        if (trial.state is TrialState.BROKEN and trial.failures <= retries_after(trial.reason))
        or (trial.state is TrialState.INVALID and trial.invalid_results == 1)
    )


def planned_run(
    view: View,
    trials: tuple[PlannedTrial, ...],
    *,
    attempt: int,
    longer: bool = False,
    in_order: bool = False,
    confirms: bool = False,
) -> Run:
    """Return the run of these trials, which share one engine load, with its name.

    It tells its runner what a trial has to beat, except where the number itself is wanted: of the baseline, of a
    trial that is measured longer, and of one that is measured again.
    """
    run = Run(
        name="",
        pool=view.pool.name,
        round=view.round.number,
        attempt=attempt,
        trials=trials,
        longer=longer,
        in_order=in_order,
        confirms=confirms,
        to_beat_tokens_per_second=None if longer or confirms else _to_beat(view, trials),
    )
    return replace(run, name=run_name(view.study, run))


def _to_beat(view: View, trials: tuple[PlannedTrial, ...]) -> float | None:
    chosen = [trial.configuration for trial in trials]
    return None if view.baseline in chosen else to_beat(view.study, view.trials, chosen, lost=view.lost)
