"""Build the rows of a status: trials, live runs, pools, and the recommended configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from infpop_operator.api.clip import clip
from infpop_operator.api.quantities import decimal_string, number_string, scalar_text
from infpop_operator.api.status_context import StatusContext
from infpop_operator.api.status_model import Baseline, Best, LiveRun, PoolStatus, SetAside, Tie, TrialCounts, TrialRow
from infpop_operator.core import model, objective
from infpop_operator.core.engine_args import engine_args, engine_settings
from infpop_operator.core.history import current_round, trials_of
from infpop_operator.core.model import (
    Decision,
    Finished,
    History,
    Missing,
    Observation,
    Round,
    Run,
    Running,
    StartedRun,
    Trial,
    TrialState,
    Waiting,
)
from infpop_operator.core.recommend import best_of_pool, improvement_ratio, measurement, tie_of
from infpop_operator.core.scope import baseline_of, current_trials
from infpop_operator.core.study import Configuration, Pool, Scalar, Study
from infpop_runner.contract import Measured

MAX_TRIAL_ROWS = 500  # a row is about 260 bytes, an etcd object at most 1.5 MiB; older rounds are dropped first
MAX_LIVE_RUNS = 64
MAX_SET_ASIDE = 32
# Reasons of a row with a valid result that cannot be the best.
CONSTRAINT_BROKEN = "ConstraintBroken"
METRIC_MISSING = "MetricMissing"  # the objective or a constraint needs the metric
_ROW_MESSAGE_BYTES = 120
_ROW_VALUE_BYTES = 64  # of an extra argument; the row of the best configuration has the full values
_MESSAGE_BYTES = 256


def best_row(study: Study, pool: Pool, trial: Trial, history: History) -> Best:
    """Return the row that recommends a measured trial, with the arguments to serve with."""
    measured, configuration = measurement(trial), trial.configuration
    gpus, tokens = configuration.gpu_count, measured.throughput_tokens_per_second
    cost = None
    if pool.price_per_gpu_hour is not None:
        cost = decimal_string(objective.cost_per_million_tokens(measured, gpus, pool.price_per_gpu_hour))
    per_joule = objective.tokens_per_joule(study.objective, measured, trial.extra_metrics)
    return Best(
        pool=pool.name,
        round=trial.round,
        gpu_count=gpus,
        batch_size=configuration.batch_size,
        extra=_extra(trial),
        throughput=decimal_string(tokens),
        throughput_per_gpu=decimal_string(tokens / gpus),
        spread=decimal_string(measured.spread_ratio, significant=3),
        repeats=measured.repeats,
        cost_per_million_tokens=cost,
        engine_args=list(_engine_args(study, pool, trial, history)),
        metrics=_metrics(trial),
        tokens_per_joule=None if per_joule is None else number_string(per_joule),
        max_model_len=_max_model_len(trial, history),
        tied_with=_tie(study, pool, trial, history),
        run=trial.run,
    )


def _engine_args(study: Study, pool: Pool, trial: Trial, history: History) -> tuple[str, ...]:
    """Return the engine arguments of a trial's round; empty if an earlier version did not record them."""
    newest = current_round(history, trial.pool)
    if newest is not None and newest.number == trial.round:
        return engine_args(engine_settings(study, pool), trial.configuration)
    own = (entry for entry in history.rounds if (entry.pool, entry.number) == (trial.pool, trial.round))
    known = next((entry.engine for entry in own), None)
    return () if known is None else engine_args(known, trial.configuration)


def _max_model_len(trial: Trial, history: History) -> int | None:
    """Return the context length with which the run of `trial` loaded its engine, None if the run did not report it."""
    ends = (ended.observation for ended in reversed(history.ended) if ended.run.name == trial.run)
    results = (seen.result for seen in ends if isinstance(seen, Finished))
    length = next((result.provenance.engine_args.get("max_model_len") for result in results), None)
    return length if isinstance(length, int) else None


def _tie(study: Study, pool: Pool, best: Trial, history: History) -> Tie | None:
    tied = tie_of(study, pool, current_trials(study, pool, history), best)
    if tied is None:
        return None
    return Tie(
        gpu_count=tied.configuration.gpu_count,
        batch_size=tied.configuration.batch_size,
        extra=shown_extra(tied.configuration) or None,
        throughput=decimal_string(measurement(tied).throughput_tokens_per_second),
    )


def pool_row(study: Study, pool: Pool, decision: Decision, context: StatusContext) -> PoolStatus:
    """Return the row of a pool and its newest round."""
    row = PoolStatus(name=pool.name, gpu=pool.gpu_model, fingerprint=pool.fingerprint)
    newest = current_round(decision.history, pool.name)
    row = row.model_copy(update=_nodes_and_image(pool, context))
    return row if newest is None else row.model_copy(update=_round(study, pool, decision, newest))


def problem_row(name: str, before: PoolStatus | None, context: StatusContext, *, still_ended: bool) -> PoolStatus:
    """Return the row of a pool that cannot be tuned now: its last known state, and why it cannot be tuned."""
    row = before if before is not None else PoolStatus(name=name)
    nodes = context.pool_nodes.get(name)
    return row.model_copy(
        update={
            "nodes": nodes.nodes if nodes is not None else None,
            "gpus_per_node": nodes.gpus_per_node if nodes is not None else row.gpus_per_node,
            "ended": row.ended if still_ended else None,
            **_problem(name, context),
        }
    )


def trial_rows(study: Study, history: History) -> list[TrialRow]:
    """Return the rows of the trials of all rounds; only the newest `MAX_TRIAL_ROWS` rows."""
    rows = [row for entry in history.rounds for row in _rows(study, history, entry)]
    return rows[-MAX_TRIAL_ROWS:]


def _rows(study: Study, history: History, entry: Round) -> list[TrialRow]:
    """Return the rows of a round; a trial that is being retried also says why its last attempt failed."""
    trials = trials_of(history, entry.pool, entry.number)
    before: Mapping[int, Trial] = {}
    if any(trial.state is TrialState.RUNNING and trial.attempts > 1 for trial in trials):
        ended = trials_of(replace(history, active=()), entry.pool, entry.number)
        before = {trial.index: trial for trial in ended}
    return [trial_row(study, trial, before.get(trial.index)) for trial in trials]


def live_rows(history: History, context: StatusContext, now: datetime, previous: Sequence[LiveRun]) -> list[LiveRun]:
    """Return the rows of the live runs; a run whose state did not change keeps its time."""
    before = {row.name: row for row in previous}
    return [
        _live_row(entry, context.observations.get(entry.run.name), now, before.get(entry.run.name))
        for entry in history.active[:MAX_LIVE_RUNS]
    ]


def _nodes_and_image(pool: Pool, context: StatusContext) -> dict[str, object]:
    nodes = context.pool_nodes.get(pool.name)
    return {
        "nodes": nodes.nodes if nodes is not None else None,
        "gpus_per_node": nodes.gpus_per_node if nodes is not None else pool.device_count,
        "image": clip(pool.software, _MESSAGE_BYTES) or None,
        **_problem(pool.name, context),
    }


def _problem(name: str, context: StatusContext) -> dict[str, object]:
    problem = context.pool_problems.get(name)
    if problem is None:
        return {"reason": None, "message": None}
    return {"reason": problem.reason, "message": clip(problem.message, _MESSAGE_BYTES)}


def _round(study: Study, pool: Pool, decision: Decision, newest: Round) -> dict[str, object]:
    trials = trials_of(decision.history, pool.name, newest.number)
    best = best_of_pool(study, pool, decision.history)
    in_use = baseline_of(study, newest)
    baseline = _baseline_trial(in_use, trials)
    ended = [entry for entry in decision.history.ended if entry.run.pool == pool.name]
    return {
        "round": newest.number,
        "identity": newest.identity,
        "best": best_row(study, pool, best, decision.history) if best is not None else None,
        "baseline": _baseline(in_use, baseline),
        "improvement_percent": _improvement(study, pool, best, baseline),
        "trials": _counts(trials),
        "gpu_hours": decimal_string(sum(entry.gpu_seconds for entry in ended) / 3600),
        "ended": decision.reasons_by_pool.get(pool.name),
        "set_aside": [_set_aside(each) for each in decision.set_aside.get(pool.name, ())[:MAX_SET_ASIDE]] or None,
    }


def _set_aside(each: model.SetAside) -> SetAside:
    return SetAside(
        gpu_count=each.gpu_count,
        extra=None if each.extra is None else _shown_arguments(each.extra) or None,
        reason=each.reason,
        message=clip(each.detail, _MESSAGE_BYTES) or None,
        attempts=each.attempts,
        next_attempt=None if each.next_attempt is None else each.next_attempt.replace(microsecond=0),
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
        extra=shown_extra(in_use) or None,
        throughput=decimal_string(measurement(trial).throughput_tokens_per_second) if trial is not None else None,
    )


def _improvement(study: Study, pool: Pool, best: Trial | None, baseline: Trial | None) -> str | None:
    if best is None or baseline is None:
        return None
    ratio = improvement_ratio(study, pool, new=best, old=baseline)
    return None if ratio is None else f"{ratio * 100:.1f}"


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


def trial_row(study: Study, trial: Trial, before: Trial | None = None) -> TrialRow:
    """Return the row of a trial; `before` is the trial before its current run."""
    measured = trial.result if isinstance(trial.result, Measured) else None
    reason, detail = _explanation(study, trial, measured)
    return TrialRow(
        pool=trial.pool,
        round=trial.round,
        index=trial.index,
        gpu_count=trial.configuration.gpu_count,
        batch_size=trial.configuration.batch_size,
        extra=shown_extra(trial.configuration) or None,
        state=trial.state.value,
        reason=reason,
        message=clip(detail, _message_bytes(trial)) or None,
        throughput=decimal_string(measured.throughput_tokens_per_second) if measured else None,
        spread=decimal_string(measured.spread_ratio, significant=3) if measured else None,
        attempts=trial.attempts,
        last_failure=_failure(before) if before is not None and trial.state is TrialState.RUNNING else None,
        run=trial.run,
        source=("Simulated" if study.engine.name == "simulated" else trial.source or "RunResult") if measured else None,
        metrics=_metrics(trial),
    )


def _failure(ended: Trial) -> str | None:
    """Return why the last attempt of a trial failed, None if it succeeded."""
    return clip(": ".join(part for part in (ended.reason, ended.detail) if part), _MESSAGE_BYTES) or None


def _message_bytes(trial: Trial) -> int:
    """Return the size limit of a row's message; a broken trial gets more, because the user needs the details."""
    return _MESSAGE_BYTES if trial.state is TrialState.BROKEN else _ROW_MESSAGE_BYTES


def shown_extra(configuration: Configuration) -> dict[str, str]:
    """Return the extra arguments of a configuration as its row shows them."""
    return _shown_arguments(configuration.extra)


def _shown_arguments(extra: tuple[tuple[str, Scalar], ...]) -> dict[str, str]:
    return {name: clip(scalar_text(value), _ROW_VALUE_BYTES) for name, value in extra}


def _explanation(study: Study, trial: Trial, measured: Measured | None) -> tuple[str | None, str]:
    if measured is None:
        return trial.reason, trial.detail
    wanted, gpus = study.objective, trial.configuration.gpu_count
    broken = objective.violations(wanted.constraints, measured, gpus, trial.extra_metrics)
    missing = objective.missing_metrics(wanted, trial.extra_metrics)
    lacking = (
        f"{name} missing: {found.reason}" for name, found in trial.extra_metrics.items() if isinstance(found, Missing)
    )
    sentences = dict.fromkeys((*broken, *missing, *lacking))  # required metrics first: the message is shortened
    reason = CONSTRAINT_BROKEN if broken else METRIC_MISSING if missing else None
    return reason, "; ".join(sentences)


def _metrics(trial: Trial) -> dict[str, str] | None:
    """Return the extra metrics that have a value, None without any."""
    known = {
        name: number_string(found) for name, found in trial.extra_metrics.items() if not isinstance(found, Missing)
    }
    return known or None


def _extra(trial: Trial) -> dict[str, str] | None:
    return {name: scalar_text(value) for name, value in trial.configuration.extra} or None


def _live_row(entry: StartedRun, seen: Observation | None, now: datetime, before: LiveRun | None) -> LiveRun:
    state, detail = _state(seen)
    return LiveRun(
        name=entry.run.name,
        pool=entry.run.pool,
        gpu_count=entry.run.gpu_count,
        batch_sizes=[trial.configuration.batch_size for trial in entry.run.trials],
        batch_size=_batch_at_work(entry.run, seen),
        state=state,
        message=clip(detail, _MESSAGE_BYTES) or None,
        since=before.since if before is not None and before.state == state else now,
    )


def _batch_at_work(run: Run, seen: Observation | None) -> int | None:
    if not isinstance(seen, Running) or len(run.trials) == 1:
        return None
    return next((trial.configuration.batch_size for trial in run.trials if trial.index == seen.trial_index), None)


def _state(seen: Observation | None) -> tuple[str, str]:
    match seen:
        case Waiting(reason=reason, detail=detail):
            return reason, detail
        case Running(phase=phase):
            return phase.value, ""
        case _:
            return "Starting", ""
