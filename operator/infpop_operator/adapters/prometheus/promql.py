"""Build queries to Prometheus from data. Pure.

Label values are escaped: no value can leave its quotes.
"""

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from infpop_operator.core.extra_metrics import PLACEHOLDERS, ExtraMetric
from infpop_operator.core.model import WatchedRun

# The end of a run is known to the second, and the clocks of nodes and of Prometheus differ a little.
SLACK = timedelta(seconds=5)
_THROUGHPUT = "infpop_trial_throughput_tokens_per_second"
_PLACEHOLDER = re.compile(rf"\$({'|'.join(PLACEHOLDERS)})(?![A-Za-z0-9_])")
_PLAIN = frozenset(map(chr, range(0x20, 0x7F))) - frozenset("\"'`\\")
_LAST_OF_FOUR_DIGITS = 0xFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """An instant query.

    `at` is the evaluation time, None for now. `lookback_seconds` is the maximum age of a sample at that time, None for
    the setting of Prometheus.
    """

    promql: str
    at: datetime | None = None
    lookback_seconds: int | None = None


PROBE = Query(promql="vector(1)")  # needs no data, so any working Prometheus answers it


def throughput_query(watched: WatchedRun) -> Query:
    """Return the query for all throughput samples of all trials during the run."""
    labels = {"namespace": watched.namespace, "study": watched.study, "run": watched.run}
    selector = ",".join(f'{name}="{quoted(value)}"' for name, value in labels.items())
    at = watched.ended_at + SLACK
    seconds = math.ceil((at - watched.started_at).total_seconds())
    return Query(promql=f"{_THROUGHPUT}{{{selector}}}[{max(1, seconds)}s]", at=at)


def metric_query(metric: ExtraMetric, watched: WatchedRun, window: tuple[datetime, datetime]) -> Query | None:
    """Return the query for an extra metric of a trial; None if it needs a Pod and there is none."""
    begin, end = window
    seconds = max(1, math.floor((end - begin).total_seconds()))  # never longer than the trial
    values = {"namespace": quoted(watched.namespace), "window": f"{seconds}s"}
    if watched.pod is not None:
        values["pod"] = quoted(watched.pod)
    if not set(_PLACEHOLDER.findall(metric.query)) <= values.keys():
        return None
    promql = _PLACEHOLDER.sub(lambda found: values[found[1]], metric.query)
    return Query(promql=promql, at=end, lookback_seconds=seconds)


def quoted(value: str) -> str:
    """Return `value` escaped for a PromQL string, in single or double quotes."""
    return "".join(map(_escaped, value))


def _escaped(character: str) -> str:
    if character in _PLAIN:
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= _LAST_OF_FOUR_DIGITS else f"\\U{code:08x}"
