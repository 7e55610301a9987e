"""Read vLLM's statistics of a pass: counters, and when each request ran.

Pure, and independent of vLLM, so that tests need no vLLM. The validity of a number depends on these statistics, and
neither is a public promise of vLLM. So a missing one is an error, never zero: a check that can no longer fail would be
worse than none.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from infpop_runner.engines.errors import EngineBrokenError
from infpop_runner.measure import Interval

PREEMPTIONS = "vllm:num_preemptions"
CACHE_HITS = "vllm:prefix_cache_hits"


def read_counter(metrics: Iterable[Any], name: str, *, version: str) -> int:
    """Return the sum of the counter `name` over all engines.

    vLLM creates its counters at zero when it loads (as of 0.32), so they exist before the first request.

    Args:
        metrics: the return value of `LLM.get_metrics`.
        name: name of the counter.
        version: the version of vLLM.

    Raises:
        EngineBrokenError: no counter has that name.
    """
    values = [int(metric.value) for metric in metrics if metric.name == name]
    if not values:
        detail = f"vLLM {version} has no metric {name}: without it the number cannot be validated"
        raise EngineBrokenError("RunnerError", detail)
    return sum(values)


def read_intervals(stats: Sequence[Any], *, version: str, needed: bool) -> tuple[Interval, ...] | None:
    """Return when each request was in the batch, on the engine's clock; None if vLLM does not report it for all.

    Args:
        stats: statistics of each request, None for a request without them.
        version: the version of vLLM.
        needed: whether InfPop's scheduler enforces the batch limit, so that only these times show whether it held.

    Raises:
        EngineBrokenError: the times are needed and vLLM does not report them.
    """
    intervals = None if None in stats else tuple((each.scheduled_ts, each.last_token_ts) for each in stats)
    if intervals is not None and all(start < end for start, end in intervals):
        return intervals
    if needed:
        detail = (
            f"vLLM {version} does not report when its requests were scheduled and got their last token: without these "
            "times it is unknown whether the batch limit held, which several batch sizes in one load need"
        )
        raise EngineBrokenError("RunnerError", detail)
    return None
