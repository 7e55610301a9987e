"""What the runner shows to Prometheus while it works: names, labels and the endpoint.

Labels are bounded by the study: no pod name, no host. A series that has no value yet is absent, never zero.
"""

from infpop_runner.metrics.endpoint import EVERY_ADDRESS, serve
from infpop_runner.metrics.run_metrics import RunMetrics, RunState, TrialState
from infpop_runner.metrics.scrape_watch import ScrapeWatch

__all__ = ["EVERY_ADDRESS", "RunMetrics", "RunState", "ScrapeWatch", "TrialState", "serve"]
