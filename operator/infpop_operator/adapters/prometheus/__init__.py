"""Prometheus, and whatever speaks its HTTP API, as a source of the numbers of trials.

`promql`, `answers` and `judging` are pure; `client` asks once, `asking` asks until there is an answer.
"""

from infpop_operator.adapters.prometheus.retrying import Pace
from infpop_operator.adapters.prometheus.source import PrometheusMetrics

__all__ = ["Pace", "PrometheusMetrics"]
