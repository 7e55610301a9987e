"""What a view is given to show: one instant of a study."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from infpop_operator.core.model import Decision, Observation, Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A study at `now`: what was decided (history included), and what is seen of each live run, by name.

    `earlier`: how many runs had ended when this process took the study up.
    """

    study: Study
    decision: Decision
    observations: Mapping[str, Observation]
    now: datetime
    earlier: int = 0
