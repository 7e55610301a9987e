"""Prometheus, or any server with its HTTP API, as a metrics source for trials.

`promql`, `answers` and `validation` are pure; `client` sends one request, `retrying` retries until there is an answer.
"""

from infpop_operator.adapters.prometheus.retrying import Pace
from infpop_operator.adapters.prometheus.source import PrometheusMetrics

__all__ = ["Pace", "PrometheusMetrics"]
