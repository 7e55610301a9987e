"""Find the nodes that keep refusing a study's runs, so that the next runs are placed elsewhere.

A node whose device plugin or GPU is broken looks free to the scheduler, which may choose it again and again. What is
found here is derived from the history, so it is the same after a restart.
"""

from collections import Counter
from datetime import datetime, timedelta

from infpop_operator.core.model import NODE_REFUSED, History, Lost

_REPEATS = 2  # a single refusal may be a race between scheduler and kubelet
_MEMORY = timedelta(hours=1)  # then the node gets another chance: it may have been repaired
_MOST_NODES = 8


def refusing_nodes(history: History, now: datetime) -> tuple[str, ...]:
    """Return the nodes that refused several runs within the last hour, the newest refusal first, at most eight."""
    lost = (ended.observation for ended in reversed(history.ended) if isinstance(ended.observation, Lost))
    refusals = Counter(
        loss.node
        for loss in lost
        if loss.reason == NODE_REFUSED and loss.node is not None and now - loss.ended_at < _MEMORY
    )
    return tuple(node for node, times in refusals.items() if times >= _REPEATS)[:_MOST_NODES]
