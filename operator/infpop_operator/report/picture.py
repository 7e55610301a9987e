"""The picture that the live view draws: a study at one instant, on a cluster or on this machine.

Texts are ready to be shown: printable, on one line, and without the study's name in front of its own parts.
"""

from dataclasses import dataclass

from infpop_operator.core.landscape import Landscape


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What the reader must know first: the state of the study or pool, why, and what to do about it.

    `when` gives its age in words ("for 0:12"), `reason` gives the cause in one word. `shown_by_runs` is True if the
    lines of the live runs show the same.
    """

    text: str
    style: str = "bold"
    when: str = ""
    reason: str = ""
    detail: str = ""
    remedy: str = ""
    shown_by_runs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPicture:
    """A live run. `seconds` is how long it has been in its state.

    `detail` and `remedy` are set if it waits: why, and what to do about it.
    """

    what: str
    state: str
    seconds: float
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTrial:
    """A trial without a number, and where the log of its last run is: a path or a command; empty if unknown."""

    what: str
    log: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A cause for which trials have no number, the remedy, and those trials, in their order.

    `detail` and `remedy` are empty if the notices at the top of the page have them. `says_nothing` is True if the runs
    broke, which says nothing about the configuration.
    """

    reason: str
    detail: str
    remedy: str
    trials: tuple[FailedTrial, ...]
    says_nothing: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPicture:
    """One pool's newest round.

    `device` is the word for one of its devices, `title` holds its name and the known facts about its nodes.
    `landscape` is None before the first round; `subject` names its model, engine and hardware, `note` says what it does
    not show. `rounds` says what changed on the pool and why its newest round began. `set_aside` are the
    configurations that are not tried now.
    """

    name: str
    device: str
    title: str
    notice: Notice | None = None
    rounds: tuple[Notice, ...] = ()
    subject: str = ""
    landscape: Landscape | None = None
    set_aside: tuple[Notice, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A study at one instant. `best` is the best configuration so far in one phrase.

    `failures` are the causes for which trials have no number, the newest last.
    """

    title: str
    is_simulated: bool
    trials_done: int
    trials_most: int
    best: str | None
    notices: tuple[Notice, ...] = ()
    runs: tuple[RunPicture, ...] = ()
    pools: tuple[PoolPicture, ...] = ()
    failures: tuple[Failure, ...] = ()
