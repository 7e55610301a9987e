"""What the operator counts about itself, under the names of docs/metrics.md.

A registry of its own, so that nothing a library registers is shown. Every label value comes from a set that is bounded
here or by its nature: no pod name, no host, no text of others. What is known of studies is in `study_collector`.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from infpop_operator.adapters.kube.errors import KubeConflictError
from infpop_operator.api.conditions import as_reason
from infpop_operator.core.errors import InfPopError
from infpop_operator.core.model import EndedRun, Finished

OK = "ok"
RESULTS = (OK, "conflict", "error", "unexpected")  # of a look at a study
NO_ANSWER = "none"  # the code of a request that was never answered
OTHER = "Other"  # the label value of everything beyond a bound
MOST_REASONS = 32  # that one label may have; InfPop itself knows about half as many
# Doubling from 1 ms: a look that changes nothing, to 65 s: two requests that ran into their time-outs.
_LOOK_SECONDS_BUCKETS = tuple(0.001 * 2**step for step in range(17))
# From a scrape that came at once to the longest that a run may be held; between are the usual scrape intervals.
_HELD_SECONDS_BUCKETS = (1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0, 300.0, 600.0)


class OperatorMetrics:
    """Counters of one operator, made where it starts and passed down to where things happen.

    Args:
        monotonic: seconds that never go back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._monotonic = monotonic
        self._last_pass_s = monotonic()
        self._bounds: dict[str, BoundedLabel] = {}
        ProcessCollector(registry=self.registry)
        self._reconciles = self._counter("infpop_operator_reconciles", "Looks at a study that ended", "result")
        self._look_seconds = Histogram(
            "infpop_operator_reconcile_seconds",
            "Time that a look at a study took",
            registry=self.registry,
            buckets=_LOOK_SECONDS_BUCKETS,
        )
        self._queue_depth = Gauge(
            "infpop_operator_queue_depth", "Studies that are due or looked at now", registry=self.registry
        )
        Gauge(
            "infpop_operator_last_pass_age_seconds",
            "Time since a look at a study ended well, or since there was none to look at",
            registry=self.registry,
        ).set_function(self._seconds_since_pass)
        self._api_requests = self._counter(
            "infpop_operator_api_requests", "Requests to the API server, watches left out", "verb", "code"
        )
        self._held_seconds = Histogram(
            "infpop_run_held_seconds",
            "Time that a finished run was held for a scrape",
            registry=self.registry,
            buckets=_HELD_SECONDS_BUCKETS,
        )
        self._held_gpu_seconds = Counter(
            "infpop_held_gpu_seconds", "GPU time that runs were held for a scrape", registry=self.registry
        )
        self._queries = self._counter("infpop_prometheus_queries", "Requests to Prometheus", "outcome")
        self._missing = self._counter(
            "infpop_source_missing", "Runs that a metrics source lacked a number of", "source", "reason"
        )
        for result in RESULTS:
            self._reconciles.labels(result)  # a rate needs the zero before the first one
        self._queries.labels(OK)

    def looked(self, seconds: float, error: Exception | None) -> None:
        """Count a look at a study that took `seconds` and ended with `error`, None where it ended well."""
        self._reconciles.labels(_result(error)).inc()
        self._look_seconds.observe(seconds)
        if error is None:
            self.passed()

    def passed(self) -> None:
        """Remember that the operator does its work: a look ended well, or there is nothing to look at."""
        self._last_pass_s = self._monotonic()

    def asked_api(self, verb: str, code: int | None) -> None:
        """Count a request to the API server; `code` is None where there was no answer."""
        self._api_requests.labels(verb, NO_ANSWER if code is None else str(code)).inc()

    def run_ended(self, entry: EndedRun) -> None:
        """Count what a run was held for a scrape, and the metrics sources that had no number of it."""
        if not isinstance(entry.observation, Finished):
            return
        held_seconds = entry.observation.result.held_seconds
        if held_seconds is not None:
            self._held_seconds.observe(held_seconds)
            self._held_gpu_seconds.inc(held_seconds * entry.run.gpu_count)
        for source, reason in entry.observation.missing_sources.items():
            self._missing.labels(self._bounded("source", source), self._bounded("reason", reason)).inc()

    def asked_prometheus(self, outcome: str) -> None:
        """Count a request to Prometheus; `outcome` is `OK` or why there was no answer."""
        self._queries.labels(self._bounded("outcome", outcome)).inc()

    def queue_is(self, depth: int) -> None:
        """Show how many studies are due or looked at now."""
        self._queue_depth.set(depth)

    def _bounded(self, label: str, value: str) -> str:
        return self._bounds.setdefault(label, BoundedLabel(MOST_REASONS)).of(value)

    def _seconds_since_pass(self) -> float:
        return self._monotonic() - self._last_pass_s

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)


class BoundedLabel:
    """Lets a label have at most `most` values of its own; whatever comes after them is "Other"."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, value: str) -> str:
        """Return the label value for `value`: one word."""
        word = as_reason(value)
        if word not in self._known and len(self._known) >= self._most:
            return OTHER
        self._known.add(word)
        return word


def _result(error: Exception | None) -> str:
    """Return how a look ended: a conflict is nobody's fault, and an unexpected error is a defect."""
    match error:
        case None:
            return OK
        case KubeConflictError():
            return "conflict"
        case InfPopError():
            return "error"
        case _:
            return "unexpected"
