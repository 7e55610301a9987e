"""Build the status of a study: its state, the reasons, and its results.

The functions are pure: the same decision gives the same bytes, and a status that was written and read back stays
unchanged, so that the operator's own write does not cause another write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from infpop_operator.api.conditions import (
    decided_states,
    kept_state,
    refused_states,
    waiting_states,
    write_conditions,
)
from infpop_operator.api.quantities import decimal_string
from infpop_operator.api.staleness import stale_state
from infpop_operator.api.status_context import ConditionState, PoolProblem, StatusContext
from infpop_operator.api.status_model import Best, PoolStatus, StudyStatus
from infpop_operator.api.status_pareto import pareto_rows
from infpop_operator.api.status_rounds import round_rows
from infpop_operator.api.status_rows import best_row, pool_row, problem_row, published_row, trial_rows
from infpop_operator.api.status_runs import live_rows
from infpop_operator.api.status_size import fit
from infpop_operator.api.status_values import whole_seconds
from infpop_operator.core.counting import current_trials
from infpop_operator.core.decision import Decision, Verdict
from infpop_operator.core.errors import Problem
from infpop_operator.core.history import known_model_facts
from infpop_operator.core.model import ENDED_ON_REQUEST, History, Trial, TrialState
from infpop_operator.core.recommend import best_in_use
from infpop_operator.core.scope import own_trials
from infpop_operator.core.space import cells, merge_facts
from infpop_operator.core.study import Study

_LOCAL = StatusContext()


def to_status(
    study: Study,
    decision: Decision,
    now: datetime,
    *,
    previous: StudyStatus | None = None,
    context: StatusContext = _LOCAL,
) -> StudyStatus:
    """Return the status of a study after a decision.

    Args:
        study: the study.
        decision: the newest decision; the status describes its history.
        now: transition time of everything that changes.
        previous: the last status; only the times of what did not change are taken from it.
        context: what is known in addition to the decision.
    """
    previous, now = previous or StudyStatus(), whole_seconds(now)
    history = decision.history
    pools = _pools(study, decision, context)
    best = _best(study, decision)
    rounds, (pareto, dropped) = round_rows(study, decision), pareto_rows(study, history)
    states = decided_states(decision, context, _open_problems(pools, context), stale_state(best, pools, rounds))
    is_simulated = study.engine.name == "simulated"
    if best is not None and states["Ready"].holds:  # the first thing that its reader wants to know
        found = f"{_in_words(best, is_simulated=is_simulated)}; the search ended: {states['Ready'].message}"
        states["Ready"] = replace(states["Ready"], message=found)
    return fit(
        StudyStatus(
            observed_generation=context.generation,
            simulated=is_simulated,
            conditions=write_conditions(states, now, generation=context.generation, previous=previous.conditions),
            progress=_progress(study, history, context),
            attention_heads=merge_facts(study.model_facts, known_model_facts(history)).attention_heads,
            best=best,
            published=published_row(study, history),
            pareto=pareto or None,
            pareto_dropped=dropped or None,
            pools=pools,
            runs=live_rows(history, context, now, previous.runs),
            trials=trial_rows(study, history),
            rounds=rounds,
            gpu_hours=decimal_string(sum(entry.gpu_seconds for entry in history.ended) / 3600),
        )
    )


def refused_status(
    problems: Sequence[Problem],
    now: datetime,
    *,
    previous: StudyStatus | None = None,
    context: StatusContext = _LOCAL,
) -> StudyStatus:
    """Return the status of an invalid study; earlier results are kept."""
    previous = previous or StudyStatus()
    return _undecided(refused_states(problems, _kept_staleness(previous), context), now, context.generation, previous)


def waiting_status(
    reason: str,
    message: str,
    now: datetime,
    *,
    previous: StudyStatus | None = None,
    context: StatusContext = _LOCAL,
    stalled: bool = False,
) -> StudyStatus:
    """Return the status of a valid study that cannot be decided; earlier results are kept.

    `stalled`: it cannot continue before its user acts; otherwise the study waits.
    """
    previous = previous or StudyStatus()
    before = {row.name: row for row in previous.pools}
    same = context.generation == previous.observed_generation
    rows = {name: problem_row(name, before.get(name), context, still_ended=same) for name in context.pool_problems}
    pools = [rows.pop(row.name, row) for row in previous.pools]
    previous = previous.model_copy(update={"pools": [*pools, *rows.values()]})
    states = waiting_states(reason, message, _kept_staleness(previous), context, stalled=stalled)
    return _undecided(states, now, context.generation, previous)


def with_published(
    status: StudyStatus, published: ConditionState, now: datetime, *, previous: StudyStatus | None
) -> StudyStatus:
    """Return the status with another state of the condition Published."""
    known = () if previous is None else previous.conditions
    others = [condition for condition in status.conditions if condition.type != "Published"]
    states, generation = {"Published": published}, status.observed_generation
    new = write_conditions(states, whole_seconds(now), generation=generation, previous=known)
    return status.model_copy(update={"conditions": [*others, *new]})


def _undecided(
    states: Mapping[str, ConditionState], now: datetime, generation: int | None, previous: StudyStatus
) -> StudyStatus:
    conditions = write_conditions(states, whole_seconds(now), generation=generation, previous=previous.conditions)
    return fit(previous.model_copy(update={"observed_generation": generation, "conditions": conditions, "runs": []}))


def _kept_staleness(previous: StudyStatus) -> ConditionState:
    default = stale_state(previous.best, previous.pools, previous.rounds)
    return kept_state("ResultStale", previous.conditions, default)


def _pools(study: Study, decision: Decision, context: StatusContext) -> list[PoolStatus]:
    tuned = [pool_row(study, pool, decision, context) for pool in study.pools]
    known = {pool.name for pool in study.pools}
    return tuned + [
        problem_row(name, None, context, still_ended=False) for name in context.pool_problems if name not in known
    ]


def _open_problems(pools: Sequence[PoolStatus], context: StatusContext) -> dict[str, PoolProblem]:
    """Return the problems of the pools whose search has not ended: the study waits for these pools."""
    ended = {row.name for row in pools if row.ended is not None}
    return {name: problem for name, problem in context.pool_problems.items() if name not in ended}


def _best(study: Study, decision: Decision) -> Best | None:
    """Return the best of the newest rounds, or of an earlier round while its pool has no newer best."""
    goes_on = decision.verdict in (Verdict.RUNNING, Verdict.WAITING)
    found = best_in_use(study, decision.history, search_goes_on=goes_on)
    return None if found is None else best_row(study, *found, decision.history)


def _in_words(best: Best, *, is_simulated: bool) -> str:
    """Return the best with its number and where that is from, in the words of the spec."""
    extra = "".join(f", {name} {value}" for name, value in (best.extra or {}).items())
    source = "" if best.reused_from is None else f", measured by study {best.reused_from}"
    number = f"{best.throughput} tokens/s{' (simulated)' if is_simulated else ''}{source}"
    return f"best: gpuCount {best.gpu_count}, batchSize {best.batch_size}{extra} on pool {best.pool}: {number}"


def _progress(study: Study, history: History, context: StatusContext) -> str:
    """Return `finished trials/maximum trials`, over all pools of the spec; reused trials add to both."""
    trials = {pool.name: current_trials(study, pool, history) for pool in study.pools}
    done = sum(_is_finished(trial) for known in trials.values() for trial in known)
    pools = {*trials, *context.pool_problems}
    reused = {name: len(known) - len(own_trials(known)) for name, known in trials.items()}
    whole, limit = len(cells(study.space)), study.budget.max_trials
    return f"{done}/{sum(min(limit + reused.get(name, 0), whole) for name in pools)}"


def _is_finished(trial: Trial) -> bool:
    """Return whether a trial has ended by itself: one that was stopped is still to be measured."""
    was_stopped = trial.state is TrialState.BROKEN and trial.reason in ENDED_ON_REQUEST
    return trial.state is not TrialState.RUNNING and not was_stopped
