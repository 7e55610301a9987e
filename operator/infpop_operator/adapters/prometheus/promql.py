"""Questions to Prometheus, built from data. Pure.

Whatever a label's value is, it stays inside its quotes.
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
class Question:
    """An instant query.

    `at` is the time that it is about, None for now; `lookback_seconds` how old a sample may be that stands for that
    time, None for what Prometheus is set to.
    """

    query: str
    at: datetime | None = None
    lookback_seconds: int | None = None


PROBE = Question(query="vector(1)")  # needs no data: whoever can answer anything answers it


def throughput_question(watched: WatchedRun) -> Question:
    """Return the question for every sample of every trial's throughput while the run lived."""
    labels = {"namespace": watched.namespace, "study": watched.study, "run": watched.run}
    selector = ",".join(f'{name}="{quoted(value)}"' for name, value in labels.items())
    at = watched.ended_at + SLACK
    seconds = math.ceil((at - watched.started_at).total_seconds())
    return Question(query=f"{_THROUGHPUT}{{{selector}}}[{max(1, seconds)}s]", at=at)


def metric_question(metric: ExtraMetric, watched: WatchedRun, window: tuple[datetime, datetime]) -> Question | None:
    """Return the question for a further metric of a trial; None where it needs a pod and there is none."""
    begin, end = window
    seconds = max(1, math.floor((end - begin).total_seconds()))  # rather less of the trial than more than the trial
    values = {"namespace": quoted(watched.namespace), "window": f"{seconds}s"}
    if watched.pod is not None:
        values["pod"] = quoted(watched.pod)
    if not set(_PLACEHOLDER.findall(metric.query)) <= values.keys():
        return None
    query = _PLACEHOLDER.sub(lambda found: values[found[1]], metric.query)
    return Question(query=query, at=end, lookback_seconds=seconds)


def quoted(value: str) -> str:
    """Return `value` as it is written inside a string of PromQL, in single or in double quotes."""
    return "".join(map(_escaped, value))


def _escaped(character: str) -> str:
    if character in _PLAIN:
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= _LAST_OF_FOUR_DIGITS else f"\\U{code:08x}"
