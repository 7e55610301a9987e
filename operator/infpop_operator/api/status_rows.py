"""Build the rows of a status: trials, pools, and the recommended configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from infpop_operator.api.clip import clip, clip_cause
from infpop_operator.api.quantities import decimal_string, number_string
from infpop_operator.api.status_confirmation import confirmation_row, confirmed_row
from infpop_operator.api.status_context import StatusContext
from infpop_operator.api.status_model import Best, PoolStatus, Published, SetAside, Tie, TrialCounts, TrialRow
from infpop_operator.api.status_rounds import change_row, compared_with_baseline, measured_facts
from infpop_operator.api.status_values import (
    MESSAGE_BYTES,
    ROW_MESSAGE_BYTES,
    shown_arguments,
    shown_extra,
    shown_interval,
    study_of,
    whole_seconds,
)
from infpop_operator.core import objective
from infpop_operator.core.constraints import seconds_per_output_token, violations
from infpop_operator.core.contest import CONSTRAINT_BROKEN, METRIC_MISSING
from infpop_operator.core.counting import counting_trials
from infpop_operator.core.decision import Decision
from infpop_operator.core.decision import SetAside as DecidedSetAside
from infpop_operator.core.engine_args import engine_args, engine_settings
from infpop_operator.core.history import current_round, trials_of
from infpop_operator.core.load_memory import while_loading
from infpop_operator.core.metric_values import missing_metrics
from infpop_operator.core.model import Finished, History, Lost, Missing, Round, Trial, TrialState
from infpop_operator.core.publication import published_in
from infpop_operator.core.recommend import best_of_pool, measurement, tie_of, with_own_number
from infpop_operator.core.round_facts import baseline_outcome
from infpop_operator.core.scalars import scalar_text
from infpop_operator.core.scope import baseline_of, own_trials
from infpop_operator.core.space import cells
from infpop_operator.core.study import Pool, Study
from infpop_runner.contract import Measured, RacedOut

MAX_TRIAL_ROWS = 500  # a row is about 260 bytes, an etcd object at most 1.5 MiB; older rounds are dropped first
MAX_SET_ASIDE = 32
# Reasons of a row with a valid result that cannot be the best.
REOPENED = "Reopened"  # reason of a raced-out trial whose configuration is open again


def best_row(study: Study, pool: Pool, trial: Trial, history: History) -> Best:
    """Return the row that recommends a measured trial, with the arguments to serve with."""
    row = Best(**_measured_row(study, pool, trial, history))
    return row.model_copy(update={"tied_with": _tie(study, pool, trial, history)})


def published_row(study: Study, history: History) -> Published | None:
    """Return the row of what the study publishes now, None while that is nothing.

    A pool that left the study is shown until the search that follows has a result: its price is unknown then.
    """
    found = published_in(history)
    if not study.publishes or found is None:
        return None
    entry, record = found
    trials = trials_of(history, entry.pool, entry.number)
    trial = next((trial for trial in trials if trial.configuration == record.configuration), None)
    if trial is None or not isinstance(trial.result, Measured):
        return None
    pool = next((pool for pool in study.pools if pool.name == entry.pool), None)
    trial = with_own_number(study, pool, history, entry, trial)
    return Published(
        **_measured_row(study, pool, trial, history),
        model=record.model,
        engine=None if entry.engine is None else entry.engine.name,
        image=record.software,
        gpu=None if entry.hardware is None else entry.hardware.gpu_model,
        at=whole_seconds(record.at),
        reason=record.reason,
        message=record.detail,
    )


def _measured_row(study: Study, pool: Pool | None, trial: Trial, history: History) -> dict[str, Any]:
    """Return what the rows of the best and of what is published have in common; `pool` is None if it left the study."""
    measured, configuration = measurement(trial), trial.configuration
    gpus, tokens = configuration.gpu_count, measured.throughput_tokens_per_second
    cost = None
    if pool is not None and pool.price_per_gpu_hour is not None:
        cost = decimal_string(objective.cost_per_million_tokens(measured, gpus, pool.price_per_gpu_hour))
    length = _max_model_len(trial, history)
    per_joule = objective.tokens_per_joule(study.objective, measured, trial.extra_metrics)
    return {
        "pool": trial.pool,
        "round": trial.round,
        "gpu_count": gpus,
        "batch_size": configuration.batch_size,
        "extra": _extra(trial),
        "throughput": decimal_string(tokens),
        "throughput_per_gpu": decimal_string(tokens / gpus),
        "spread": decimal_string(measured.spread_ratio, significant=3),
        "repeats": measured.repeats,
        **_certainty(measured),
        "confirmed": confirmed_row(trial),
        "cost_per_million_tokens": cost,
        "engine_args": list(_engine_args(study, pool, trial, history, length)),
        "metrics": _metrics(trial),
        "tokens_per_joule": None if per_joule is None else number_string(per_joule),
        "seconds_per_output_token": _per_token(study, measured),
        "max_model_len": length,
        "run": _run_of(trial),
        "reused_from": study_of(trial),
    }


def _engine_args(
    study: Study, pool: Pool | None, trial: Trial, history: History, length: int | None
) -> tuple[str, ...]:
    """Return the engine arguments of a trial's round; empty if an earlier version did not record them."""
    own = (entry for entry in history.rounds if (entry.pool, entry.number) == (trial.pool, trial.round))
    known = next((entry.engine for entry in own), None)
    newest = current_round(history, trial.pool)
    if known is None and pool is not None and newest is not None and newest.number == trial.round:
        known = engine_settings(study, pool)
    return () if known is None else engine_args(known, trial.configuration, max_model_len=length)


def _max_model_len(trial: Trial, history: History) -> int | None:
    """Return the context length with which the run of `trial` loaded its engine, None if it is unknown.

    All runs of a round have the same, so another run of the round tells it if a short message left it out.
    """
    ends = [ended for ended in reversed(history.ended) if isinstance(ended.observation, Finished)]
    own = (ended for ended in ends if ended.run.name == trial.run)
    others = (ended for ended in ends if (ended.run.pool, ended.run.round) == (trial.pool, trial.round))
    lengths = (_loaded_length(ended.observation) for ended in (*own, *others))
    return next((length for length in lengths if length is not None), None)


def _loaded_length(seen: Finished | Lost) -> int | None:
    length = seen.result.provenance.engine_args.get("max_model_len") if isinstance(seen, Finished) else None
    return length if isinstance(length, int) and not isinstance(length, bool) else None


def _tie(study: Study, pool: Pool, best: Trial, history: History) -> Tie | None:
    tied = tie_of(study, pool, history, best)
    if tied is None:
        return None
    return Tie(
        gpu_count=tied.configuration.gpu_count,
        batch_size=tied.configuration.batch_size,
        extra=shown_extra(tied.configuration) or None,
        throughput=decimal_string(measurement(tied).throughput_tokens_per_second),
        reused_from=study_of(tied),
    )


def _run_of(trial: Trial) -> str:
    """Return the newest run of a trial, or the run of another study that measured it."""
    return trial.run if trial.reused_from is None else trial.reused_from.run


def pool_row(study: Study, pool: Pool, decision: Decision, context: StatusContext) -> PoolStatus:
    """Return the row of a pool and its newest round."""
    row = PoolStatus(name=pool.name, gpu=pool.gpu_model, fingerprint=pool.fingerprint)
    newest = current_round(decision.history, pool.name)
    row = row.model_copy(update=_nodes_and_image(pool, context))
    if newest is None:
        return row
    return row.model_copy(update=measured_facts(newest) | _round(study, pool, decision, newest))


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
    trials = _with_reopened(study, history, entry, trials_of(history, entry.pool, entry.number))
    before: Mapping[int, Trial] = {}
    if any(trial.state is TrialState.RUNNING and trial.attempts > 1 for trial in trials):
        ended = trials_of(replace(history, active=()), entry.pool, entry.number)
        before = {trial.index: trial for trial in ended}
    return [trial_row(study, trial, before.get(trial.index)) for trial in trials]


def _with_reopened(study: Study, history: History, entry: Round, trials: tuple[Trial, ...]) -> tuple[Trial, ...]:
    """Return the trials, with a reason for those of a newest round that were raced out and are no longer beaten."""
    if current_round(history, entry.pool) != entry:
        return trials
    wanted = {*cells(study.space), baseline_of(study, entry)}
    pool = next((each for each in study.pools if each.name == entry.pool), None)
    counting = {trial.index for trial in counting_trials(study, pool, history, entry)}
    return tuple(
        replace(trial, reason=REOPENED, detail="what was better than it counts no longer, so it may be measured again")
        if trial.state is TrialState.RACED_OUT and trial.configuration in wanted and trial.index not in counting
        else trial
        for trial in trials
    )


def _nodes_and_image(pool: Pool, context: StatusContext) -> dict[str, object]:
    nodes = context.pool_nodes.get(pool.name)
    return {
        "nodes": nodes.nodes if nodes is not None else None,
        "gpus_per_node": nodes.gpus_per_node if nodes is not None else pool.device_count,
        "image": clip(pool.software, MESSAGE_BYTES) or None,
        **_problem(pool.name, context),
    }


def _problem(name: str, context: StatusContext) -> dict[str, object]:
    problem = context.pool_problems.get(name)
    if problem is None:
        return {"reason": None, "message": None}
    return {"reason": problem.reason, "message": clip(problem.message, MESSAGE_BYTES)}


def _round(study: Study, pool: Pool, decision: Decision, newest: Round) -> dict[str, object]:
    history, set_aside = decision.history, decision.set_aside.get(pool.name, ())
    best = best_of_pool(study, pool, history)
    baseline = baseline_outcome(study, pool, history, newest, set_aside=set_aside)
    ended = [entry for entry in history.ended if entry.run.pool == pool.name]
    return {
        "round": newest.number,
        "identity": newest.identity,
        "best": best_row(study, pool, best, history) if best is not None else None,
        **compared_with_baseline(study, pool, best, baseline),
        "change": change_row(pool, decision, newest),
        "trials": _counts(trials_of(history, pool.name, newest.number)),
        "gpu_hours": decimal_string(sum(entry.gpu_seconds for entry in ended) / 3600),
        "ended": decision.reasons_by_pool.get(pool.name),
        "confirmation": confirmation_row(decision.confirmations.get(pool.name), best),
        "set_aside": [_set_aside(each) for each in set_aside[:MAX_SET_ASIDE]] or None,
    }


def _set_aside(each: DecidedSetAside) -> SetAside:
    return SetAside(
        gpu_count=each.gpu_count,
        extra=None if each.extra is None else shown_arguments(each.extra) or None,
        min_batch_size=each.min_batch_size,
        reason=each.reason,
        message=clip(each.detail, MESSAGE_BYTES) or None,
        attempts=each.attempts,
        next_attempt=None if each.next_attempt is None else whole_seconds(each.next_attempt),
    )


def _counts(trials: Sequence[Trial]) -> TrialCounts:
    states = [trial.state for trial in trials]
    return TrialCounts(
        total=len(states),
        measured=states.count(TrialState.MEASURED),
        raced_out=states.count(TrialState.RACED_OUT) or None,
        infeasible=states.count(TrialState.INFEASIBLE),
        invalid=states.count(TrialState.INVALID),
        broken=states.count(TrialState.BROKEN),
        running=states.count(TrialState.RUNNING),
        reused=len(trials) - len(own_trials(trials)) or None,
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
        message=clip_cause(detail, _message_bytes(trial)) or None,
        throughput=decimal_string(measured.throughput_tokens_per_second) if measured else None,
        spread=decimal_string(measured.spread_ratio, significant=3) if measured else None,
        seconds_per_output_token=_per_token(study, measured) if measured and _asks_for_time(study) else None,
        **_raced(trial) if measured is None else _certainty(measured) if measured.mode == "adaptive" else {},
        while_loading=while_loading(trial) or None,
        attempts=trial.attempts,
        reused_from=study_of(trial),
        last_failure=_failure(before) if before is not None and trial.state is TrialState.RUNNING else None,
        run=_run_of(trial),
        source=("Simulated" if study.engine.name == "simulated" else trial.source or "RunResult") if measured else None,
        metrics=_metrics(trial),
    )


def _asks_for_time(study: Study) -> bool:
    """Return whether the time per output token decides anything in this study: a status has hundreds of rows."""
    bounded = {bound.metric for bound in study.objective.constraints}
    return "secondsPerOutputToken" in {study.objective.second_metric, *bounded}


def _per_token(study: Study, measured: Measured) -> str | None:
    number = seconds_per_output_token(study, measured)
    return None if number is None else number_string(number)


def _certainty(measured: Measured) -> dict[str, str | None]:
    """Return how long a throughput was measured, and how sure it is."""
    return {
        "interval": shown_interval(measured),
        "measured_seconds": decimal_string(measured.measured_seconds, significant=3),
        "mode": "Adaptive" if measured.mode == "adaptive" else None,
    }


def _raced(trial: Trial) -> dict[str, str | None]:
    """Return what is known of a raced-out trial, nothing of any other."""
    if not isinstance(trial.result, RacedOut):
        return {}
    return {
        "throughput_at_most": decimal_string(trial.result.at_most_tokens_per_second),
        "measured_seconds": decimal_string(trial.result.measured_seconds, significant=3),
    }


def _failure(ended: Trial) -> str | None:
    """Return why the last attempt of a trial failed, None if it succeeded."""
    return clip_cause(": ".join(part for part in (ended.reason, ended.detail) if part), MESSAGE_BYTES) or None


def _message_bytes(trial: Trial) -> int:
    """Return the size limit of a row's message; a broken trial gets more, because the user needs the details."""
    return MESSAGE_BYTES if trial.state is TrialState.BROKEN else ROW_MESSAGE_BYTES


def _explanation(study: Study, trial: Trial, measured: Measured | None) -> tuple[str | None, str]:
    if measured is None:
        return trial.reason, trial.detail
    wanted, gpus = study.objective, trial.configuration.gpu_count
    broken = violations(study, measured, gpus, trial.extra_metrics)
    missing = missing_metrics(wanted, trial.extra_metrics)
    times = _no_times(study, measured) if not broken else ()
    lacking = (
        f"{name} missing: {found.reason}" for name, found in trial.extra_metrics.items() if isinstance(found, Missing)
    )
    sentences = dict.fromkeys((*broken, *missing, *times, *lacking))  # required metrics first: the message is shortened
    reason = CONSTRAINT_BROKEN if broken else METRIC_MISSING if missing else None
    return reason, "; ".join(sentences)


def _no_times(study: Study, measured: Measured) -> tuple[str, ...]:
    """Return why a trial is not on the Pareto front although it may be the best, if its engine reported no times."""
    wanted = study.objective.second_metric == "secondsPerOutputToken" and measured.batch_seconds_p50 is None
    return (f"secondsPerOutputToken missing: {measured.missing['batch_seconds_p50']}",) if wanted else ()


def _metrics(trial: Trial) -> dict[str, str] | None:
    """Return the extra metrics that have a value, None without any."""
    known = {
        name: number_string(found) for name, found in trial.extra_metrics.items() if not isinstance(found, Missing)
    }
    return known or None


def _extra(trial: Trial) -> dict[str, str] | None:
    return {name: scalar_text(value) for name, value in trial.configuration.extra} or None
