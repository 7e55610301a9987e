"""Match a GPU pool against Nodes in tests of node pools."""

from infpop_operator.adapters.kube.node_pools import MatchedPool, PoolQuery, UnmatchedPool, match_pool
from infpop_operator.adapters.kube.records import NodeRecord


def query(pattern: str | None = "A100", **selector: str) -> PoolQuery:
    """Return the pool query of a study with a GPU pool."""
    return PoolQuery(name="gpu", device="cuda", gpu_product=pattern, node_selector=selector)


def matched(asked: PoolQuery, *nodes: NodeRecord) -> MatchedPool:
    """Return the pool, which must match."""
    pool = match_pool(asked, nodes)
    assert isinstance(pool, MatchedPool), pool
    return pool


def refused(asked: PoolQuery, *nodes: NodeRecord) -> UnmatchedPool:
    """Return why the pool does not match."""
    pool = match_pool(asked, nodes)
    assert isinstance(pool, UnmatchedPool), pool
    return pool
