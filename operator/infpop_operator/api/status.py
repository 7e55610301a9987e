"""Tell in the shape of the CR's status what is known of a study, and why it stands where it stands."""

from collections.abc import Sequence
from datetime import datetime

from infpop_operator.api.quantities import decimal_string
from infpop_operator.api.status_model import (
    Baseline,
    Best,
    Condition,
    PoolStatus,
    StudyStatus,
    TrialCounts,
    TrialRow,
)
from infpop_operator.core import objective
from infpop_operator.core.engine_args import engine_args
from infpop_operator.core.history import current_round, gpu_seconds, trials_of
from infpop_operator.core.model import Configuration, Decision, History, Pool, Study, Trial, TrialState, Verdict
from infpop_operator.core.recommend import best_of_pool, best_of_study, measurement, trial_value
from infpop_operator.core.scope import baseline_of
from infpop_runner.contract import Measured

MAX_TRIAL_ROWS = 500  # a row is about 260 bytes and an etcd object may have 1.5 MiB; older rounds go first


def to_status(study: Study, decision: Decision, now: datetime, *, previous: Sequence[Condition] = ()) -> StudyStatus:
    """Return the status that says what `decision` knows and why.

    Args:
        study: the study.
        decision: the newest decision; its history is what the status tells.
        now: when conditions that change are said to change.
        previous: conditions of the last status; those that did not change keep their time.
    """
    history = decision.history
    best = best_of_study(study, history)
    pools = [_pool_status(study, pool, decision) for pool in study.pools]
    return StudyStatus(
        simulated=study.engine.name == "simulated",
        conditions=_conditions(decision, now, previous),
        best=_best(study, *best) if best is not None else None,
        pools=[pool for pool in pools if pool is not None],
        trials=_rows(study, history),
        gpu_hours=decimal_string(gpu_seconds(history, now) / 3600),
    )


def _conditions(decision: Decision, now: datetime, previous: Sequence[Condition]) -> list[Condition]:
    """Return the conditions as kstatus reads them: Reconciling and Stalled are abnormal when true, Ready sums up."""
    verdict, reason, message = decision.verdict, decision.reason, decision.message
    goes_on = verdict in (Verdict.WORKING, Verdict.WAITING)
    truths = {
        "Accepted": (True, "Valid", "the study is valid"),
        "Ready": (verdict is Verdict.SUCCEEDED, reason, message),
        "Reconciling": (goes_on, reason, message),
        "Stalled": (verdict is Verdict.STALLED, reason, message),
        "Succeeded": (verdict is Verdict.SUCCEEDED, reason, message),
    }
    since = {condition.type: condition for condition in previous}
    return [
        Condition(
            type=kind,
            status="True" if holds else "False",
            reason=why,
            message=text,
            last_transition_time=_unchanged_since(since.get(kind), holds=holds) or now,
        )
        for kind, (holds, why, text) in truths.items()
    ]


def _unchanged_since(before: Condition | None, *, holds: bool) -> datetime | None:
    if before is None or before.status != ("True" if holds else "False"):
        return None
    return before.last_transition_time


def _best(study: Study, pool: Pool, trial: Trial) -> Best:
    measured, configuration = measurement(trial), trial.configuration
    gpus, tokens = configuration.gpu_count, measured.throughput_tokens_per_second
    cost = None
    if pool.price_per_gpu_hour is not None:
        cost = decimal_string(objective.cost_per_million_tokens(measured, gpus, pool.price_per_gpu_hour))
    return Best(
        pool=pool.name,
        gpu_count=gpus,
        batch_size=configuration.batch_size,
        extra=_extra(trial),
        throughput=decimal_string(tokens),
        throughput_per_gpu=decimal_string(tokens / gpus),
        spread=decimal_string(measured.spread_ratio, significant=3),
        cost_per_million_tokens=cost,
        engine_args=list(engine_args(study, configuration)),
        run=trial.run,
    )


def _pool_status(study: Study, pool: Pool, decision: Decision) -> PoolStatus | None:
    newest = current_round(decision.history, pool.name)
    if newest is None:
        return None
    trials = trials_of(decision.history, pool.name, newest.number)
    best = best_of_pool(study, pool, decision.history)
    in_use = baseline_of(study, newest)
    baseline = _baseline_trial(in_use, trials)
    ended = [entry for entry in decision.history.ended if entry.run.pool == pool.name]
    return PoolStatus(
        name=pool.name,
        gpu=pool.gpu_model,
        fingerprint=pool.fingerprint,
        round=newest.number,
        identity=newest.identity,
        best=_best(study, pool, best) if best is not None else None,
        baseline=_baseline(in_use, baseline),
        improvement_percent=_improvement(study, pool, best, baseline),
        trials=_counts(trials),
        gpu_hours=decimal_string(sum(entry.gpu_seconds for entry in ended) / 3600),
        ended=decision.reasons_by_pool.get(pool.name),
    )


def _baseline_trial(in_use: Configuration | None, trials: Sequence[Trial]) -> Trial | None:
    matching = (trial for trial in trials if trial.configuration == in_use)
    return next((trial for trial in matching if isinstance(trial.result, Measured)), None)


def _baseline(in_use: Configuration | None, trial: Trial | None) -> Baseline | None:
    if in_use is None:
        return None
    return Baseline(
        gpu_count=in_use.gpu_count,
        batch_size=in_use.batch_size,
        throughput=decimal_string(measurement(trial).throughput_tokens_per_second) if trial is not None else None,
    )


def _improvement(study: Study, pool: Pool, best: Trial | None, baseline: Trial | None) -> str | None:
    if best is None or baseline is None:
        return None
    new, old = trial_value(study, pool, best), trial_value(study, pool, baseline)
    ratio = objective.improvement_ratio(study.objective, new=new, old=old)
    return f"{ratio * 100:.1f}"


def _counts(trials: Sequence[Trial]) -> TrialCounts:
    states = [trial.state for trial in trials]
    return TrialCounts(
        total=len(states),
        measured=states.count(TrialState.MEASURED),
        infeasible=states.count(TrialState.INFEASIBLE),
        invalid=states.count(TrialState.INVALID),
        broken=states.count(TrialState.BROKEN),
        running=states.count(TrialState.RUNNING),
    )


def _rows(study: Study, history: History) -> list[TrialRow]:
    """Return the newest rounds' trials, at most `MAX_TRIAL_ROWS` in all."""
    rows = [_row(study, trial) for entry in history.rounds for trial in trials_of(history, entry.pool, entry.number)]
    return rows[-MAX_TRIAL_ROWS:]


def _row(study: Study, trial: Trial) -> TrialRow:
    measured = trial.result if isinstance(trial.result, Measured) else None
    return TrialRow(
        pool=trial.pool,
        round=trial.round,
        index=trial.index,
        gpu_count=trial.configuration.gpu_count,
        batch_size=trial.configuration.batch_size,
        extra=_extra(trial),
        state=trial.state.value,
        reason=trial.reason,
        throughput=decimal_string(measured.throughput_tokens_per_second) if measured else None,
        spread=decimal_string(measured.spread_ratio, significant=3) if measured else None,
        attempts=trial.attempts,
        run=trial.run,
        source=("Simulated" if study.engine.name == "simulated" else "RunResult") if measured else None,
    )


def _extra(trial: Trial) -> dict[str, str] | None:
    return {name: str(value) for name, value in trial.configuration.extra} or None
