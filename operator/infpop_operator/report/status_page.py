"""The page of a study as values: its picture, its trials, its conditions, and its conclusion."""

from dataclasses import dataclass
from enum import StrEnum

from infpop_operator.report.picture import Failure, Picture


class Outcome(StrEnum):
    """How a study ended, or that it continues (`OPEN`)."""

    OPEN = "Open"
    SUCCEEDED = "Succeeded"
    STALLED = "Stalled"
    INTERRUPTED = "Interrupted"  # its user stopped it on this machine


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionLine:
    """A condition. `seconds` is how long it has had its status; `message` is empty if the page shows it above."""

    type: str
    status: str
    reason: str
    seconds: float
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLine:
    """A trial of a pool's newest round. `outcome` is that of the last attempt that ended; empty if none has.

    If that attempt has no number, `failure` has the cause.
    """

    pool: str
    round: int
    index: int
    what: str
    ended_attempts: int
    outcome: str = ""
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundLine:
    """A round of the history: its number, with its pool if there are several, when it began, and what it found."""

    name: str
    began: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """The result of an ended study: title and style, facts as (name, text), and the command or program to copy.

    `serving` is that command or program, None if there is none; `note` is what the user must know before using it.
    """

    title: str
    style: str
    facts: tuple[tuple[str, str], ...]
    serving: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontLine:
    """A configuration that no other one beats in both metrics, with its numbers."""

    what: str
    value: str
    second_value: str
    is_best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontTable:
    """The Pareto front: what it is in a sentence, the names of both metrics, and a line for each configuration."""

    title: str
    text: str
    headings: tuple[str, str]
    lines: tuple[FrontLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPage:
    """Everything that is shown of a study. `footer` says how old the status is."""

    picture: Picture
    outcome: Outcome
    trials: tuple[TrialLine, ...] = ()
    rounds: tuple[RoundLine, ...] = ()
    front: FrontTable | None = None
    conditions: tuple[ConditionLine, ...] = ()
    conclusion: Conclusion | None = None
    footer: str = ""
