"""What a view is given to show: one instant of a study."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from infpop_operator.core.model import Decision, Observation, Study
from infpop_runner.contract import RunResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A study at `now`: what was decided (history included), and what is seen of each live run, by name.

    `earlier`: how many runs had ended when this process took the study up. `partial`: what live runs have found out so
    far, by name; it is shown before it is history.
    """

    study: Study
    decision: Decision
    observations: Mapping[str, Observation]
    now: datetime
    earlier: int = 0
    partial: Mapping[str, RunResult] = field(default_factory=dict)
