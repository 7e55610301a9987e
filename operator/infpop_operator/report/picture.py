"""What the live view draws: one instant of a study, wherever it is tuned.

Texts are ready to be shown: printable, on one line, without the study's name for its own parts.
"""

from dataclasses import dataclass

from infpop_operator.core.landscape import Landscape


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that the reader has to know before anything else: what is the case, why, and what to do about it.

    `when` says since when in words ("for 0:12"), `reason` why in one word. `told_by_runs`: the live runs say the same.
    """

    text: str
    style: str = "bold"
    when: str = ""
    reason: str = ""
    detail: str = ""
    remedy: str = ""
    told_by_runs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPicture:
    """A run that lives. `seconds`: how long it has been in its state.

    `detail` and `remedy` are there where it waits: why, and what to do.
    """

    what: str
    state: str
    seconds: float
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPicture:
    """One pool's newest round.

    `device` is what one of its devices is called, `title` its name and what is known of its nodes. `landscape` is None
    before its first round; `note` says what it does not show.
    """

    name: str
    device: str
    title: str
    notice: Notice | None = None
    landscape: Landscape | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A study at one instant. `best` is the best configuration so far in one phrase."""

    title: str
    is_simulated: bool
    trials_done: int
    trials_most: int
    best: str | None
    notices: tuple[Notice, ...] = ()
    runs: tuple[RunPicture, ...] = ()
    pools: tuple[PoolPicture, ...] = ()
