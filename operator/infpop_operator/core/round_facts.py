"""Say what a round is about: why it was opened, what its pool has changed since, and what its baseline is worth here.

Everything is derived from the history. A number belongs to the hardware of its round: the baseline of a round counts
with what it reached in that round, never with what it reached before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from infpop_operator.core.decision import SetAside
from infpop_operator.core.history import known_model_facts, trials_of
from infpop_operator.core.model import (
    POOL_CHANGED,
    REQUESTED,
    SPEC_CHANGED,
    History,
    PoolChange,
    Round,
    Trial,
    TrialState,
)
from infpop_operator.core.prior import INHERITED
from infpop_operator.core.recommend import with_own_number
from infpop_operator.core.scope import baseline_of
from infpop_operator.core.space import why_ruled_out
from infpop_operator.core.study import Configuration, Pool, Study
from infpop_runner.contract import Measured

ChangeReason = Literal["HardwareChanged", "SpecChanged"]
RoundReason = Literal["FirstRound", "HardwareChanged", "SpecChanged", "Requested"]
_REASONS: Mapping[str, RoundReason] = {  # by the trigger of a round
    POOL_CHANGED: "HardwareChanged",
    SPEC_CHANGED: "SpecChanged",
    REQUESTED: "Requested",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineOutcome:
    """The baseline of a round: the trial that measured it there, or the reason why it has no number.

    `reason` and `detail` are empty while it may still get one. `is_impossible`: it cannot work on this hardware.
    """

    configuration: Configuration
    measured: Trial | None = None
    reason: str = ""
    detail: str = ""
    is_impossible: bool = False


def reason_of_round(entry: Round) -> RoundReason | None:
    """Return why a round was opened or last resumed; None if an earlier version opened it without saying so."""
    if entry.trigger is not None:
        return _REASONS.get(entry.trigger)
    return "FirstRound" if entry.number == 1 else None


def reason_of_change(entry: Round, change: PoolChange) -> ChangeReason:
    """Return whether the hardware is no longer that of the round `entry`, or only what the study asks for."""
    known = entry.hardware
    return "SpecChanged" if known is not None and known.fingerprint == change.hardware else "HardwareChanged"


def baseline_outcome(
    study: Study, pool: Pool, history: History, entry: Round, *, set_aside: Sequence[SetAside] = ()
) -> BaselineOutcome | None:
    """Return what became of the baseline of a round, None if the round has no baseline.

    Args:
        study: the study as the user specifies it now.
        pool: the pool of the round.
        history: with the runs of the round.
        entry: the round.
        set_aside: what the pool does not try now; empty for a round that is not the newest.
    """
    wanted = baseline_of(study, entry)
    if wanted is None:
        return None
    trials = trials_of(history, entry.pool, entry.number)
    own = [trial for trial in trials if trial.configuration == wanted]
    measured = next((trial for trial in own if isinstance(trial.result, Measured)), None)
    if measured is not None:
        number = with_own_number(study, pool, history, entry, measured)
        return BaselineOutcome(configuration=wanted, measured=number)
    tried = next((trial for trial in own if trial.state is not TrialState.RUNNING and trial.reason is not None), None)
    if tried is None or tried.state is not TrialState.INFEASIBLE:
        there = replace(pool, device_count=None if entry.hardware is None else entry.hardware.device_count)
        known = why_ruled_out(study, there, trials, known_model_facts(history), wanted)
        if known is not None:
            return BaselineOutcome(configuration=wanted, reason=known.reason, detail=known.detail, is_impossible=True)
    if tried is not None and tried.reason is not None:
        is_impossible = tried.state is TrialState.INFEASIBLE
        return BaselineOutcome(
            configuration=wanted, reason=tried.reason, detail=tried.detail, is_impossible=is_impossible
        )
    for each in set_aside:
        if each.covers(wanted):
            is_impossible = each.reason == INHERITED
            return BaselineOutcome(
                configuration=wanted, reason=each.reason, detail=each.detail, is_impossible=is_impossible
            )
    return BaselineOutcome(configuration=wanted)
