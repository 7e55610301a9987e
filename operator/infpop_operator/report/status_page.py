"""The page of a study as values: its picture, what broke, its conditions, and its conclusion."""

from dataclasses import dataclass
from enum import StrEnum

from infpop_operator.report.picture import Picture


class Outcome(StrEnum):
    """Whether a study goes on by itself."""

    OPEN = "Open"
    SUCCEEDED = "Succeeded"
    STALLED = "Stalled"
    INTERRUPTED = "Interrupted"  # its user stopped it on this machine


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionLine:
    """A condition. `seconds`: how long it has had its status; `message` is left empty where the page says it above."""

    type: str
    status: str
    reason: str
    seconds: float
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLine:
    """A trial of a pool's newest round. `outcome` is that of its last attempt that ended, empty before one ended."""

    pool: str
    round: int
    index: int
    what: str
    ended_attempts: int
    outcome: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A trial whose runs all broke: why, what to do, and where the log of the last one is."""

    what: str
    detail: str
    remedy: str
    log: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """The title with its style, facts as name and text, and, where there is one, the command or program to copy.

    `note` is what the user has to know before using it.
    """

    title: str
    style: str
    facts: tuple[tuple[str, str], ...]
    serving: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPage:
    """A study as it is to be shown. `footer` says how old that is."""

    picture: Picture
    outcome: Outcome
    trials: tuple[TrialLine, ...] = ()
    failures: tuple[Failure, ...] = ()
    conditions: tuple[ConditionLine, ...] = ()
    conclusion: Conclusion | None = None
    footer: str = ""
