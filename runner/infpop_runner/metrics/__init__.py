"""The metrics that the runner exposes to Prometheus: names, labels and the endpoint.

The study bounds the labels: no Pod name, no host name. A series that has no value yet is absent, never zero.
"""

from infpop_runner.metrics.endpoint import EVERY_ADDRESS, serve
from infpop_runner.metrics.run_metrics import RunMetrics
from infpop_runner.metrics.scrape_watch import ScrapeWatch

__all__ = ["EVERY_ADDRESS", "RunMetrics", "ScrapeWatch", "serve"]
