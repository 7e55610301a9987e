"""Say why a study has no best configuration: with the one reason for it if there is one, to find its remedy by."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from infpop_operator.core.counting import current_trials
from infpop_operator.core.decision import SetAside
from infpop_operator.core.history import known_model_facts
from infpop_operator.core.load_failures import LOAD_FAILS
from infpop_operator.core.metric_values import missing_metrics
from infpop_operator.core.model import History, Trial, TrialState
from infpop_operator.core.space import cells, ruled_out
from infpop_operator.core.study import Configuration, Pool, Study

NOTHING_ELIGIBLE = "NothingEligible"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cause:
    """Why one cell of a pool has no number."""

    pool: Pool
    cell: Configuration
    reason: str
    detail: str


def why_no_best(study: Study, history: History, set_aside: Mapping[str, tuple[SetAside, ...]]) -> tuple[str, str]:
    """Return the reason and the message for a study that ended without a best configuration.

    Args:
        study: the study.
        history: its history.
        set_aside: by pool, the cells that were not tried again.
    """
    trials = [trial for pool in study.pools for trial in current_trials(study, pool, history)]
    if any(trial.state is TrialState.MEASURED for trial in trials):
        return (NOTHING_ELIGIBLE, _why_not_eligible(study, trials))
    causes = [cause for pool in study.pools for cause in _causes(study, pool, history, set_aside.get(pool.name, ()))]
    reasons = list(dict.fromkeys(cause.reason for cause in causes))
    if not reasons:
        return (NOTHING_ELIGIBLE, "nothing was measured")
    if _no_pool_is_large_enough(causes):
        return (reasons[0], _too_small(study, causes))
    if len(reasons) == 1:
        return (reasons[0], f"nothing could be measured: {_quoted(causes[0])}")
    found = (next(cause for cause in causes if cause.reason == reason) for reason in reasons)
    return (NOTHING_ELIGIBLE, f"nothing could be measured: {'; '.join(map(_quoted, found))}")


def _why_not_eligible(study: Study, trials: list[Trial]) -> str:
    """Return why no number counts: it breaks a constraint, or lacks a metric that the comparison needs."""
    found = (
        missing_metrics(study.objective, trial.extra_metrics) for trial in trials if trial.state is TrialState.MEASURED
    )
    lacking = [sentences for sentences in found if sentences]
    if not lacking:
        return "no valid result meets the constraints"
    return f"no valid result meets the constraints and can be compared: {len(lacking)} with {lacking[-1][0]}"


def _causes(study: Study, pool: Pool, history: History, set_aside: tuple[SetAside, ...]) -> Iterator[_Cause]:
    trials = current_trials(study, pool, history)
    tried = {trial.configuration: trial for trial in trials if _says_why(trial)}
    broken = {cell.load_key: trial for cell, trial in tried.items() if trial.state is TrialState.BROKEN}
    excluded = ruled_out(study, pool, trials, known_model_facts(history))
    for cell in dict.fromkeys((*tried, *cells(study.space))):
        aside = next((each for each in set_aside if each.covers(cell)), None)
        trial = tried.get(cell)
        if aside is not None and aside.reason == LOAD_FAILS:  # the reason is that of its runs
            trial = trial or broken.get(cell.load_key)
        if aside is not None and (trial is None or aside.reason != LOAD_FAILS):
            yield _Cause(pool=pool, cell=cell, reason=aside.reason, detail=aside.detail)
        elif trial is not None:
            yield _Cause(pool=pool, cell=cell, reason=trial.reason or "", detail=trial.detail)
        elif cell in excluded:
            yield _Cause(pool=pool, cell=cell, reason=excluded[cell].reason, detail=excluded[cell].detail)


def _says_why(trial: Trial) -> bool:
    """Return whether the end of a trial is a cause; one that was stopped or preempted had no fault."""
    if trial.state is TrialState.BROKEN:
        return trial.failures > 0
    return trial.state in (TrialState.INFEASIBLE, TrialState.INVALID)


def _no_pool_is_large_enough(causes: list[_Cause]) -> bool:
    return all(
        cause.pool.device_count is not None and cause.cell.gpu_count > cause.pool.device_count for cause in causes
    )


def _too_small(study: Study, causes: list[_Cause]) -> str:
    smallest = min(cause.cell.gpu_count for cause in causes)
    have = ", ".join(f"pool {pool.name} has {pool.device_count}" for pool in study.pools)
    return f"no pool has nodes with {smallest} GPU{'s' if smallest > 1 else ''} for one run: {have}"


def _quoted(cause: _Cause) -> str:
    return f"{cause.reason}: {cause.detail}" if cause.detail else cause.reason
