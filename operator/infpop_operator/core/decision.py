"""What a study decides: what its driver does next, and what the user is told about it, as immutable values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from infpop_operator.core.model import History, Run, StartedRun
from infpop_operator.core.study import Configuration, Scalar

TERMINATING = "Terminating"  # the study waits for the end of runs that it is stopping


class Verdict(StrEnum):
    """The overall state of a study."""

    RUNNING = "Running"  # runs are live or about to start
    WAITING = "Waiting"  # nothing to do before `wake_at`
    SUCCEEDED = "Succeeded"  # the search ended normally and has a best configuration
    STALLED = "Stalled"  # it ended or cannot continue, and has no best configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """Cells of a pool that are not tried now: those of one GPU count, and of one engine load if `extra` is given.

    With `min_batch_size` only those with at least this batch size. `reason` and `detail` say what happened in
    `attempts` runs. `next_attempt` is None if there is none in this round.
    """

    gpu_count: int
    extra: tuple[tuple[str, Scalar], ...] | None = None
    min_batch_size: int | None = None
    reason: str
    detail: str
    attempts: int
    next_attempt: datetime | None = None

    def covers(self, cell: Configuration) -> bool:
        """Return whether `cell` is one of the cells that are not tried."""
        is_large = self.min_batch_size is None or cell.batch_size >= self.min_batch_size
        return cell.gpu_count == self.gpu_count and self.extra in (None, cell.extra) and is_large


class ConfirmationState(StrEnum):
    """How far a round is with measuring its best again."""

    CONFIRMING = "Confirming"
    CONFIRMED = "Confirmed"
    NOT_CONFIRMED = "NotConfirmed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmationProgress:
    """How far a round is with measuring its best again: `loads` of at most `planned` engine loads have a result.

    `reason` and `detail` say why a best is not confirmed; `unchecked` says in words what clearly beat the number of a
    confirmed best in the search, and was not measured again.
    """

    state: ConfirmationState
    loads: int
    planned: int
    reason: str = ""
    detail: str = ""
    unchecked: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the driver does next. Executing it twice has the same effect as executing it once.

    `history` already contains the observations (runs that ended), new rounds and the runs to stop, but not the runs in
    `start`: a run enters the history when its start is recorded. `reason` and `message` explain `verdict` to the user.
    `wake_at` is when to decide again even if nothing was observed.
    """

    history: History
    start: tuple[Run, ...] = ()
    verdict: Verdict
    reason: str
    message: str
    wake_at: datetime | None = None
    reasons_by_pool: Mapping[str, str] = field(default_factory=dict)  # why a pool's round ended
    needs_change: bool = False  # the study is stalled until its user changes something, whatever its pools find
    set_aside: Mapping[str, tuple[SetAside, ...]] = field(default_factory=dict)  # by pool, what it does not try now
    retunes_at: Mapping[str, datetime] = field(default_factory=dict)  # by pool, when a changed pool gets a new round
    held_changes: Mapping[str, str] = field(default_factory=dict)  # by pool, why it gets no new round, or only later
    # By pool, how far its newest round is with measuring its best again; absent where it does not, or not yet.
    confirmations: Mapping[str, ConfirmationProgress] = field(default_factory=dict)

    @property
    def stop(self) -> tuple[StartedRun, ...]:
        """Return the runs to stop; a run is included until it is observed to have ended."""
        return tuple(started for started in self.history.active if started.stopping is not None)
