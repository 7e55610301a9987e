"""The inputs of every part of a study's page: the study, where it is tuned, and the time."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from infpop_operator.api.status_model import Baseline, Best, ParetoRow, RoundBest, StudyStatus, Tie, TrialRow
from infpop_operator.api.study_object import StudyObject
from infpop_operator.core.study import Study
from infpop_operator.report.advice import remedy_for
from infpop_operator.report.place import Place
from infpop_operator.report.words import configuration_phrase, on_one_line


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownStudy:
    """A study as shown at `now`. `study` is its parsed spec, None if this version cannot read the spec."""

    object: StudyObject
    place: Place
    now: datetime
    study: Study | None

    @property
    def status(self) -> StudyStatus:
        """The study's status."""
        return self.object.status

    @property
    def has_several_pools(self) -> bool:
        """Whether a configuration needs the name of its pool."""
        return len(self.status.pools) > 1

    def newest_rows(self) -> Iterator[TrialRow]:
        """Return the trials of each pool's newest round."""
        newest = {(pool.name, pool.round) for pool in self.status.pools}
        return (row for row in self.status.trials if (row.pool, row.round) in newest)

    def since(self, instant: datetime) -> float:
        """Return the seconds since `instant`."""
        return max(0.0, (self.now - instant).total_seconds())

    def device(self, pool: str) -> str:
        """Return the word for one device of a pool: "CPU rank" or "GPU". Replayed numbers are always about GPUs."""
        nodes = self.object.document.spec.node_pools if self.object.document is not None else []
        on_cpu = any(node.name == pool and node.gpu_resource == "cpu" for node in nodes)
        return "CPU rank" if on_cpu and not self.status.simulated else "GPU"

    def configuration(self, pool: str, row: Best | TrialRow | Baseline | ParetoRow | Tie | RoundBest) -> str:
        """Return a configuration in one phrase."""
        return on_one_line(configuration_phrase(row.gpu_count, self.device(pool), row.batch_size, row.extra or {}))

    def remedy(self, reason: str, *, run: str = "", seconds: float = 0.0, detail: str = "") -> str:
        """Return the remedy for `reason` in this place; empty if the user has nothing to do, or `detail` says what."""
        return remedy_for(reason, run=run, seconds=seconds, detail=detail, on_cluster=self.place.is_cluster)
