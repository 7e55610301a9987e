"""The conditions of a study, following kstatus: Reconciling and Stalled are abnormal when true, Ready summarises.

Every status has all conditions, except that PrometheusUnreachable exists only where Prometheus is used, and
Published only where the operator has tried to publish. The transition time of a condition changes only when its
`status` changes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from infpop_operator.api.clip import clip
from infpop_operator.api.status_context import ConditionState, PoolProblem, StatusContext
from infpop_operator.api.status_model import Condition
from infpop_operator.core.confirmation_progress import in_words
from infpop_operator.core.decision import ConfirmationProgress, ConfirmationState, Decision, Verdict
from infpop_operator.core.errors import Problem
from infpop_operator.core.history import broken_reason
from infpop_operator.core.model import NO_ROOM, Observation, Phase, Running, StartedRun, Waiting

D = TypeVar("D")
Seen = tuple[StartedRun, Observation | None]
MESSAGE_BYTES = 1024
_REASON_CHARACTERS = 64
_SUSPENDED = ("Suspended", "spec.suspend is true: no run starts until it is false")
_ABOUT_PROGRESS = ("Ready", "Reconciling", "Stalled", "Succeeded")
_AS_READY = "the condition Ready says why"
_PHASES = tuple(Phase)  # in the order in which a run passes through them
_AT_WORK = (Phase.WARMING_UP, Phase.MEASURING, Phase.DONE)


_VALID = ConditionState(holds=True, reason="Valid", message="the study is valid")


def as_reason(text: str) -> str:
    """Return `text` as a valid reason of a condition: only letters and digits, never empty."""
    return re.sub(r"[^A-Za-z0-9]", "", text)[:_REASON_CHARACTERS] or "Unknown"


def write_conditions(
    states: Mapping[str, ConditionState], now: datetime, *, generation: int | None, previous: Sequence[Condition]
) -> list[Condition]:
    """Return the conditions for `states`; a condition whose status did not change keeps its transition time."""
    before = {condition.type: condition for condition in previous}
    return [_condition(kind, state, now, generation, before.get(kind)) for kind, state in states.items()]


def decided_states(
    decision: Decision, context: StatusContext, open_problems: Mapping[str, PoolProblem], result_stale: ConditionState
) -> dict[str, ConditionState]:
    """Return the state of every condition after a decision.

    Args:
        decision: the newest decision.
        context: what is known in addition to the decision.
        open_problems: the problems of the pools that the study waits for.
        result_stale: the state of the condition ResultStale.
    """
    waits_for_pool = bool(open_problems) and (
        decision.verdict is Verdict.SUCCEEDED
        or decision.reason == NO_ROOM
        or (decision.verdict is Verdict.STALLED and not decision.needs_change)
    )
    succeeded = decision.verdict is Verdict.SUCCEEDED and not waits_for_pool
    stalled = decision.verdict is Verdict.STALLED and not waits_for_pool
    only_waits = waits_for_pool and decision.verdict is not Verdict.WAITING and not context.suspended
    overdue = only_waits and open_problems.keys() <= context.overdue_pools
    if context.suspended:
        reason, message = _SUSPENDED
    elif waits_for_pool:
        reason, message = _first_problem(open_problems)
    else:
        reason, message = _progress(decision, context)
    states = {
        "Accepted": _VALID,
        "Ready": _ready(succeeded and not context.suspended, reason, message),
        "Reconciling": ConditionState(
            holds=not (succeeded or stalled or overdue or context.suspended), reason=reason, message=message
        ),
        "Stalled": ConditionState(holds=True, reason=reason, message=message)
        if overdue
        else _end(stalled, decision, reason, message),
        "Succeeded": _end(succeeded, decision, reason, message),
        "ResultStale": result_stale,
        "Suspended": _suspended_state(suspended=context.suspended),
        **prometheus_states(context, searching=decision.verdict in (Verdict.RUNNING, Verdict.WAITING)),
        **_published_state(context),
    }
    return _said_once(states)


def _said_once(states: Mapping[str, ConditionState]) -> dict[str, ConditionState]:
    """Return the conditions with the text of Ready left out of those that repeat it and do not hold.

    `kubectl describe` prints all of them one below the other.
    """
    ready = states["Ready"].message
    return {
        kind: replace(state, message=_AS_READY)
        if kind in _ABOUT_PROGRESS[1:] and not state.holds and state.message == ready
        else state
        for kind, state in states.items()
    }


def _ready(holds: bool, reason: str, message: str) -> ConditionState:  # noqa: FBT001 - the value
    """Return the state of Ready. `kubectl get` shows its reason as the study's state, hence the reason Succeeded."""
    return ConditionState(holds=holds, reason="Succeeded" if holds else reason, message=message)


def _end(holds: bool, decision: Decision, reason: str, message: str) -> ConditionState:  # noqa: FBT001 - the value
    """Return the state of Stalled or Succeeded: if true, with the decision's own reason and message."""
    if holds:
        return ConditionState(holds=True, reason=decision.reason, message=decision.message)
    return ConditionState(holds=False, reason=reason, message=message)


def refused_states(
    problems: Sequence[Problem], kept: ConditionState, context: StatusContext
) -> dict[str, ConditionState]:
    """Return the state of every condition of an invalid study; `kept` is the last state of ResultStale."""
    text = "; ".join(str(problem) for problem in problems)
    refusal = ConditionState(holds=False, reason="InvalidSpec", message=text)
    states = {
        "Accepted": refusal,
        **dict.fromkeys(_ABOUT_PROGRESS, refusal),
        "Stalled": replace(refusal, holds=True),
        "ResultStale": kept,
        "Suspended": _suspended_state(suspended=context.suspended),
        **prometheus_states(context, searching=False),
        **_published_state(context),
    }
    return _said_once(states)


def waiting_states(
    reason: str, message: str, kept: ConditionState, context: StatusContext, *, stalled: bool = False
) -> dict[str, ConditionState]:
    """Return the state of every condition of a valid study that cannot be decided; `stalled`: not without its user."""
    suspended = context.suspended
    if suspended and not stalled:
        reason, message = _SUSPENDED
    why = ConditionState(holds=False, reason=reason, message=message)
    states = {
        "Accepted": _VALID,
        **dict.fromkeys(_ABOUT_PROGRESS, why),
        "Reconciling": replace(why, holds=not suspended and not stalled),
        "Stalled": replace(why, holds=stalled),
        "ResultStale": kept,
        "Suspended": _suspended_state(suspended=suspended),
        **prometheus_states(context, searching=not stalled),
        **_published_state(context),
    }
    return _said_once(states)


def _suspended_state(*, suspended: bool) -> ConditionState:
    """Return the state of Suspended."""
    if suspended:
        return ConditionState(holds=True, reason="Suspended", message="spec.suspend is true")
    return ConditionState(holds=False, reason="NotSuspended", message="spec.suspend is false")


def prometheus_states(context: StatusContext, *, searching: bool) -> dict[str, ConditionState]:
    """Return the state of PrometheusUnreachable by its name, empty where Prometheus is not used.

    A search that has ended no longer queries Prometheus, so its condition is false: the study is not reconciled again
    when an outage ends.
    """
    if context.prometheus is None:
        return {}
    outage = context.prometheus.outage
    if not searching:
        state = ConditionState(holds=False, reason="NotAsked", message="no run needs Prometheus")
    elif outage is None:
        state = ConditionState(holds=False, reason="Reachable", message="Prometheus answers")
    else:
        state = ConditionState(holds=True, reason="PrometheusUnreachable", message=outage)
    return {"PrometheusUnreachable": state}


def _published_state(context: StatusContext) -> dict[str, ConditionState]:
    """Return the state of Published by its name, empty where nothing was published or refused yet."""
    return {} if context.published is None else {"Published": context.published}


def kept_state(kind: str, previous: Sequence[Condition], default: D) -> ConditionState | D:
    """Return the state of one condition in the last status, `default` if that does not have it."""
    found = next((condition for condition in previous if condition.type == kind), None)
    if found is None:
        return default
    holds = None if found.status == "Unknown" else found.status == "True"
    return ConditionState(holds=holds, reason=found.reason, message=found.message)


def _condition(
    kind: str, state: ConditionState, now: datetime, generation: int | None, before: Condition | None
) -> Condition:
    status = "Unknown" if state.holds is None else "True" if state.holds else "False"
    unchanged = before is not None and before.status == status
    return Condition(
        type=kind,
        status=status,
        observed_generation=generation,
        reason=as_reason(state.reason),
        message=clip(state.message, MESSAGE_BYTES),
        last_transition_time=before.last_transition_time if before is not None and unchanged else now,
    )


def _first_problem(problems: Mapping[str, PoolProblem]) -> tuple[str, str]:
    text = "; ".join(f"pool {name}: {problem.message}" for name, problem in problems.items())
    return next(iter(problems.values())).reason, text


def _progress(decision: Decision, context: StatusContext) -> tuple[str, str]:
    """Return the reason and message of the study's state, taken from the most advanced live run if there is one."""
    if decision.verdict is not Verdict.RUNNING:
        return decision.reason, _with_detail(decision)
    live = [(entry, context.observations.get(entry.run.name)) for entry in decision.history.active]
    running = [(entry, seen) for entry, seen in live if isinstance(seen, Running)]
    waiting = [(entry, seen) for entry, seen in live if isinstance(seen, Waiting)]
    if running and not any(seen.phase in _AT_WORK for _, seen in running):
        entry, phase = max(((entry, seen.phase) for entry, seen in running), key=lambda each: _PHASES.index(each[1]))
        what = f"run {entry.run.name} on pool {entry.run.pool} {_PHASE_WORDS[phase]}"
        return phase.value, "; ".join(part for part in (what, in_words(_confirming(decision))) if part)
    if waiting and not running:
        return waiting[0][1].reason, _waiting_message(*waiting[0])
    if live and not running:  # this pass has decided on all of them
        entry = live[0][0]
        return Phase.STARTING.value, f"run {entry.run.name} on pool {entry.run.pool} {_PHASE_WORDS[Phase.STARTING]}"
    return decision.reason, "; ".join(part for part in (decision.message, _what_runs(live, running)) if part)


def _what_runs(live: Sequence[Seen], running: Sequence[tuple[StartedRun, Running]]) -> str:
    """Return what the only live run does; empty if there are several: `status.runs` has all of them."""
    if len(live) != 1 or not running:
        return ""
    entry, seen = running[0]
    run = entry.run
    sizes = {trial.index: trial.configuration.batch_size for trial in run.trials}
    at_work = [sizes[seen.trial_index]] if seen.trial_index in sizes else list(sizes.values())
    sizes_text = ", ".join(str(size) for size in at_work)
    where = f"gpuCount {run.gpu_count}, batchSize {sizes_text}"
    return f"run {run.name} on pool {run.pool} {_PHASE_WORDS[seen.phase]}: {where}"


def _confirming(decision: Decision) -> Mapping[str, ConfirmationProgress]:
    """Return the rounds that measure their best again now."""
    is_live = ConfirmationState.CONFIRMING
    return {pool: each for pool, each in decision.confirmations.items() if each.state is is_live}


def _with_detail(decision: Decision) -> str:
    """Return the message of a decision, with the details of the broken run if the study waits to retry one."""
    last = next((entry for entry in reversed(decision.history.ended) if entry.reused_from is None), None)
    if decision.verdict is not Verdict.WAITING or last is None or last.run.name not in decision.message:
        return decision.message
    return ": ".join(part for part in (decision.message, (broken_reason(last) or ("", ""))[1]) if part)


_PHASE_WORDS = {
    Phase.STARTING: "is starting",
    Phase.LOADING: "loads the model",
    Phase.WARMING_UP: "warms up",
    Phase.MEASURING: "measures",
    Phase.DONE: "has measured",
}


def _waiting_message(entry: StartedRun, seen: Waiting) -> str:
    detail = seen.detail or seen.reason
    return f"run {entry.run.name} on pool {entry.run.pool}: {detail}"
