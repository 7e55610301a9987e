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
        needed: whether a number depends on these times: InfPop's scheduler enforces the batch limit, and only they show
            whether it held; or a part of a pass is measured, and only they show what the rest would take.

    Raises:
        EngineBrokenError: the times are needed and vLLM does not report them.
    """
    intervals = tuple((each.scheduled_ts, each.last_token_ts) for each in stats if each is not None)
    known = sum(start < end for start, end in intervals)
    if known == len(stats):
        return intervals
    if needed:
        detail = (
            f"vLLM {version} does not report when its requests were scheduled and got their last token: scheduled_ts "
            f"and last_token_ts are missing for {len(stats) - known} of {len(stats)}. Without them it is unknown "
            "whether the batch limit held, which several batch sizes in one load need, and what a whole pass takes, "
            "which an adaptive measurement needs: set measurement.mode: Full and algorithm.trialsPerRun: 1, or use a "
            "vLLM that InfPop supports"
        )
        raise EngineBrokenError("RunnerError", detail)
    return None
