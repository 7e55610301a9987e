"""What vLLM tells of a pass beside its output: counters, and when each request ran.

Pure, and apart from vLLM, so that it is tested without it. Both are what a number is judged by; neither is a public
promise of vLLM's. What is missing is therefore an error and never zero: a rule that could no longer fail would be
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

    vLLM makes its counters when it loads, at zero (so 0.32): they are there before the first request.

    Args:
        metrics: what `LLM.get_metrics` gives.
        name: of the counter.
        version: vLLM's.

    Raises:
        EngineBrokenError: there is none of that name.
    """
    values = [int(metric.value) for metric in metrics if metric.name == name]
    if not values:
        detail = f"vLLM {version} has no metric {name}: without it nobody knows whether the number can be trusted"
        raise EngineBrokenError("RunnerError", detail)
    return sum(values)


def read_intervals(stats: Sequence[Any], *, version: str, needed: bool) -> tuple[Interval, ...] | None:
    """Return when each request was in the batch, on the engine's clock; None where vLLM does not say it of each.

    Args:
        stats: of each request, None for one without.
        version: vLLM's.
        needed: the batch limit is kept by our own scheduler, and nothing but these times says whether it held.

    Raises:
        EngineBrokenError: they are needed and vLLM does not say.
    """
    intervals = None if None in stats else tuple((each.scheduled_ts, each.last_token_ts) for each in stats)
    if intervals is not None and all(start < end for start, end in intervals):
        return intervals
    if needed:
        detail = (
            f"vLLM {version} does not say when its requests were scheduled and got their last token: without these "
            "times nobody knows whether the batch limit held that several batch sizes in one load need"
        )
        raise EngineBrokenError("RunnerError", detail)
    return None
