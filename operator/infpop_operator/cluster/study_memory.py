"""The operator's memory of one study between two passes. All of it can be lost at any time.

All state that the operator needs after a restart is in the cluster. The memory saves requests (`settled`, `probes`),
keeps a pass from waiting (`requests`), or holds what the operator observes again after a restart (`endings`). It is
dropped in one place, when the study is gone.
"""

import asyncio
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from infpop_operator.adapters.kube.node_pools import MatchedPool
from infpop_operator.adapters.kube.observe import RunHints
from infpop_operator.adapters.kube.records import JobRecord
from infpop_operator.api.status_context import PoolProblem
from infpop_operator.cluster.events import StudyEvent
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.core.model import Finished, History, Lost
from infpop_operator.core.sources import Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledState:
    """Everything that a pass depends on once the study's search has ended.

    `rounds` is the history without its runs: enough to resolve the study, and small, because runs make a history large.
    """

    rounds: History
    version: str
    matched: Mapping[str, MatchedPool]
    problems: Mapping[str, PoolProblem]
    open_jobs: tuple[JobRecord, ...]  # not ended, or without a time to live


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A run that is ending while its Pods may still hold devices: since when, and how it was observed to end.

    `observed` is None if the study stops the run.
    """

    since: datetime
    observed: Finished | Lost | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The result of probing a run; the phase and the throughput come from the Pod with this uid and name.

    `events_read_at` is when the operator last read the Events of a Pod without a Node, None for other Pods.
    """

    hints: RunHints = field(default_factory=RunHints)
    pod_uid: str | None = None
    pod: str | None = None
    events_read_at: datetime | None = None
    throughput: Samples = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsRequest:
    """The end of a run, and the task that adds the values from the metrics sources to it."""

    of: Finished
    task: asyncio.Task[Finished]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedView:
    """Which studies of the namespace a study has looked into for results, by uid, and what it wanted then.

    A study whose search has ended is there with its state: it needs no second look until that changes. An unfinished
    one is there with None.
    """

    wanted: object = None
    studies: Mapping[str, SettledState | None] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class StudyMemory:
    """The operator's memory of the study `key`.

    Args:
        key: namespace and name of the study.
        uid: the uid of the study, None before its first pass.
        is_unfinished: whether the study continues by itself, so that time alone may change something for it.
        settled: what the last pass depended on, if the search has ended and the pass changed nothing; otherwise None.
        recheck_published: whether the next pass checks the ConfigMaps of what the study publishes.
        generation_seen_at: when the operator first saw the current generation of the spec, None if that was before its
            start.
        status_written_at: when the operator last wrote the status.
        endings: runs that are ending, by name.
        probes: the last probe of each live run, by name.
        requests: the pending or unrecorded requests to metrics sources, by run name.
        owed: the Events that are due and not written yet; None before the first pass that read the journal.
        restored: how often the operator restored each altered Job, by uid.
        reported: what Events of the operator have said once: what of which object, by uid.
        searched_at: when the operator last listed all Pods of the namespace to find those that no watch reports.
        searched: the runs without a Job whose Pods the operator has searched for.
        shared: what this study has looked into for results to take over.
    """

    key: StudyKey
    uid: str | None = None
    is_unfinished: bool = False
    settled: SettledState | None = None
    recheck_published: bool = False
    generation_seen_at: datetime | None = None
    status_written_at: datetime | None = None
    endings: dict[str, Ending] = field(default_factory=dict)
    probes: dict[str, Probe] = field(default_factory=dict)
    requests: dict[str, MetricsRequest] = field(default_factory=dict)
    owed: tuple[StudyEvent, ...] | None = None
    restored: dict[str, int] = field(default_factory=dict)
    reported: set[tuple[str, str]] = field(default_factory=set)
    searched_at: datetime | None = None
    searched: set[str] = field(default_factory=set)
    shared: SharedView = field(default_factory=SharedView)

    def drop_ended_runs(self, live: Container[str]) -> None:
        """Drop the memory of every run that is not in `live`: the end of those runs is recorded."""
        for run in [run for run in self.requests if run not in live]:
            self.requests.pop(run).task.cancel()
        self.searched = {run for run in self.searched if run in live}
        self.endings = {run: ending for run, ending in self.endings.items() if run in live}
        self.probes = {run: probe for run, probe in self.probes.items() if run in live}


class StudyMemories:
    """The operator's memory of all its studies."""

    def __init__(self) -> None:
        self._known: dict[StudyKey, StudyMemory] = {}

    def __iter__(self) -> Iterator[StudyMemory]:
        """Iterate over all memories; the caller may drop memories while it iterates."""
        return iter(tuple(self._known.values()))

    def of(self, key: StudyKey) -> StudyMemory:
        """Return the memory of a study; it is empty if the study is new."""
        return self._known.setdefault(key, StudyMemory(key=key))

    def get(self, key: StudyKey) -> StudyMemory | None:
        """Return what is remembered of a study, None for one that was not reconciled yet or is gone."""
        return self._known.get(key)

    def drop(self, key: StudyKey) -> StudyMemory | None:
        """Drop the memory of a study that is gone, and return it; None if there was no memory."""
        memory = self._known.pop(key, None)
        if memory is not None:
            memory.drop_ended_runs(())
        return memory
