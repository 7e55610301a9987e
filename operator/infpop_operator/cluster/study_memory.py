"""What the operator keeps in memory of one study between two passes. All of it can be lost at any time.

Everything that is needed to go on is in the cluster. What is here saves requests (`settled`, `probes`), keeps a pass
from waiting (`requests`), or is observed again after a restart (`endings`). It is dropped in one place, when the study
is gone.
"""

import asyncio
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from infpop_operator.adapters.kube.node_pools import MatchedPool
from infpop_operator.adapters.kube.observe import RunHints
from infpop_operator.adapters.kube.records import JobRecord
from infpop_operator.api.status_context import PoolProblem
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.core.model import Finished, Lost
from infpop_operator.core.sources import Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledState:
    """All that a pass over a study depends on once its search has ended."""

    version: str
    matched: Mapping[str, MatchedPool]
    problems: Mapping[str, PoolProblem]
    open_jobs: tuple[JobRecord, ...]  # not ended, or without a time to live


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A run whose Job is deleted while its Pods may hold devices: since when, and how it was observed to end.

    `observed` is None where the study ends the run.
    """

    since: datetime
    observed: Finished | Lost | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a run's objects do not say; the phase and the throughput were read from the Pod of this uid and name."""

    hints: RunHints = field(default_factory=RunHints)
    pod_uid: str | None = None
    pod: str | None = None
    throughput: Samples = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsRequest:
    """The end of a run, and the task that adds what the metrics sources know of it."""

    of: Finished
    task: asyncio.Task[Finished]


@dataclass(slots=True, kw_only=True)
class StudyMemory:
    """What is remembered of the study `key`.

    Args:
        key: the study.
        uid: which study of that name, None before its first pass.
        is_unfinished: the study goes on by itself, so time alone may change something for it.
        settled: what the last pass depended on, where the search has ended and the pass changed nothing.
        recheck_published: the next pass checks what the settled study has published.
        status_written_at: when the operator wrote the status last.
        endings: runs whose Jobs the operator deletes, by run.
        probes: what was asked about live runs, by run.
        requests: runs about which metrics sources are asked, by run.
    """

    key: StudyKey
    uid: str | None = None
    is_unfinished: bool = False
    settled: SettledState | None = None
    recheck_published: bool = False
    status_written_at: datetime | None = None
    endings: dict[str, Ending] = field(default_factory=dict)
    probes: dict[str, Probe] = field(default_factory=dict)
    requests: dict[str, MetricsRequest] = field(default_factory=dict)

    def drop_ended_runs(self, live: Container[str]) -> None:
        """Drop what is known of all runs but the live ones: their end is recorded."""
        for run in [run for run in self.requests if run not in live]:
            self.requests.pop(run).task.cancel()
        self.endings = {run: ending for run, ending in self.endings.items() if run in live}
        self.probes = {run: probe for run, probe in self.probes.items() if run in live}


class StudyMemories:
    """The memory of every study that the operator works on."""

    def __init__(self) -> None:
        self._known: dict[StudyKey, StudyMemory] = {}

    def __iter__(self) -> Iterator[StudyMemory]:
        """Iterate over all memories; they may be dropped meanwhile."""
        return iter(tuple(self._known.values()))

    def of(self, key: StudyKey) -> StudyMemory:
        """Return what is remembered of a study: nothing yet, where it is new."""
        return self._known.setdefault(key, StudyMemory(key=key))

    def drop(self, key: StudyKey) -> StudyMemory | None:
        """Drop what is remembered of a study that is gone, and return it."""
        memory = self._known.pop(key, None)
        if memory is not None:
            memory.drop_ended_runs(())
        return memory
