"""What is known of a study beside the core's decision; all defaults fit tuning on one machine."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from infpop_operator.core.model import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolProblem:
    """Why a pool of the spec cannot be tuned now: one word in CamelCase, and a sentence for a person."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolNodes:
    """How many nodes belong to a pool, and how many GPUs the largest of them has."""

    nodes: int
    gpus_per_node: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusHealth:
    """Whether Prometheus answers; `outage` is why it does not, None while it does."""

    outage: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusContext:
    """What the one who writes the status knows.

    Args:
        generation: `metadata.generation` of the study that was decided on.
        observations: what was seen of live runs, by run name.
        pool_problems: pools of the spec that cannot be tuned now; also those that `Study.pools` lacks for that reason.
        pool_nodes: the nodes of each pool.
        suspended: the owner wants no runs now.
        prometheus: how the source of metrics stands; None where nobody asks Prometheus.
    """

    generation: int | None = None
    observations: Mapping[str, Observation] = field(default_factory=dict)
    pool_problems: Mapping[str, PoolProblem] = field(default_factory=dict)
    pool_nodes: Mapping[str, PoolNodes] = field(default_factory=dict)
    suspended: bool = False
    prometheus: PrometheusHealth | None = None
