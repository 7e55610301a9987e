"""What the live view draws: one instant of a study, wherever it is tuned.

A local run tells it from its history (`progress.picture_of`), a cluster from the study's status; both are shown by the
same view. Texts are ready to be shown: printable, on one line, without the study's name for its own parts.
"""

from dataclasses import dataclass

from infpop_operator.core.landscape import Landscape


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that the reader has to know before anything else: what is the case, why, and what to do about it.

    `when` says since when in words ("for 0:12"), `reason` why in one word.
    """

    text: str
    style: str = "bold"
    when: str = ""
    reason: str = ""
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPicture:
    """A run that lives. `seconds`: how long it has lived, or how long it has been in its state where that is known.

    `detail` and `remedy` are there where it waits: why, and what to do.
    """

    name: str
    what: str
    state: str
    seconds: float
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPicture:
    """One pool's newest round.

    `device` is what one of its devices is called, `title` tells it from other pools; empty where there is nothing to
    tell. `landscape` is None before its first round; `note` says what it does not show.
    """

    name: str
    device: str
    title: str = ""
    notice: Notice | None = None
    landscape: Landscape | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A study at one instant. `best` is the best configuration so far in one phrase, `message` where it stands."""

    title: str
    is_simulated: bool
    trials_done: int
    trials_most: int
    best: str | None
    notices: tuple[Notice, ...] = ()
    runs: tuple[RunPicture, ...] = ()
    pools: tuple[PoolPicture, ...] = ()
    message: str = ""
