"""When a study needs no look: its search has ended, and nothing that a look depends on is different.

Studies that ended stay for months, and every node that comes or goes wakes all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infpop_operator.adapters.kube.node_pools import MatchedPool
from infpop_operator.adapters.kube.records import JobRecord
from infpop_operator.api.status import PoolProblem
from infpop_operator.cluster.resolve import ResolvedStudy
from infpop_operator.core.model import History


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """All that a look at a study can depend on once its search has ended."""

    version: str
    matched: Mapping[str, MatchedPool]
    problems: Mapping[str, PoolProblem]
    open_jobs: tuple[JobRecord, ...]  # not ended, or not yet told when to go


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A study whose search has ended: what was seen of it last, and its rounds, to resolve it without its journal."""

    sight: Sight
    rounds: History  # without runs, which are what makes a history large


def sight_of(body: Mapping[str, Any], prepared: ResolvedStudy, jobs: Sequence[JobRecord]) -> Sight:
    """Return what a look would see of a study whose search has ended."""
    return Sight(
        version=body["metadata"]["resourceVersion"],
        matched=prepared.matched,
        problems=prepared.problems,
        open_jobs=tuple(job for job in jobs if job.end is None or job.ttl_seconds is None),
    )
