"""The context of a status: what is known of a study in addition to the decision. The defaults fit local tuning."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from infpop_operator.core.model import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionState:
    """Whether a condition is true (None: unknown), and why."""

    holds: bool | None
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolProblem:
    """Why a pool of the spec cannot be tuned now: a CamelCase reason and a message for the user.

    `is_unknown_product`: there are GPU nodes, but none ever had the product that the pool names, perhaps a misspelling.
    """

    reason: str
    message: str
    is_unknown_product: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolNodes:
    """The number of nodes of a pool, and the number of GPUs of its largest node."""

    nodes: int
    gpus_per_node: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusHealth:
    """Whether Prometheus answers; `outage` says why it does not, None while it does."""

    outage: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusContext:
    """What the status writer knows in addition to the decision.

    Args:
        generation: `metadata.generation` of the study that the decision is for.
        observations: the newest observations of live runs, by run name.
        pool_problems: pools of the spec that cannot be tuned now, including those that `Study.pools` omits for that
            reason.
        overdue_pools: those of them whose problem lasts so long that a person has to act.
        pool_nodes: the nodes of each pool.
        suspended: the user suspended the study.
        prometheus: the health of Prometheus; None where it is not used.
        published: whether the ConfigMap that the study names has its best; None before the operator tried to publish.
    """

    generation: int | None = None
    observations: Mapping[str, Observation] = field(default_factory=dict)
    pool_problems: Mapping[str, PoolProblem] = field(default_factory=dict)
    overdue_pools: frozenset[str] = frozenset()
    pool_nodes: Mapping[str, PoolNodes] = field(default_factory=dict)
    suspended: bool = False
    prometheus: PrometheusHealth | None = None
    published: ConditionState | None = None
