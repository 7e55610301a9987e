"""The operator's metrics about itself, under the names of docs/metrics.md.

They have their own registry, so that metrics registered by libraries do not appear. Every label value comes from a set
that is bounded, here or by its nature: no Pod name, no host, no text from outside. The series of studies are in
`study_collector`.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from infpop_operator.adapters.kube.errors import KubeConflictError
from infpop_operator.api.conditions import as_reason
from infpop_operator.core.errors import InfPopError
from infpop_operator.core.model import EndedRun, Finished, Round
from infpop_operator.core.round_facts import reason_of_round

OK = "ok"
RESULTS = (OK, "conflict", "error", "unexpected")  # of a reconcile
NO_ANSWER = "none"  # the code of a request that got no answer
NEW, RESUMED = "new", "resumed"  # how a round starts
OTHER = "Other"  # the label value of every value beyond the bound
MOST_REASONS = 32  # values of one label; InfPop itself has about half as many reasons
# Doubling from 1 ms (a reconcile that changes nothing) to 65 s (two requests that timed out).
_RECONCILE_SECONDS_BUCKETS = tuple(0.001 * 2**step for step in range(17))
# From an immediate scrape to the longest time that a run may wait for one, with the usual scrape intervals between.
_HELD_SECONDS_BUCKETS = (1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0, 300.0, 600.0)


class OperatorMetrics:
    """The metrics of one operator process, created once at its start and passed to the code that counts.

    Args:
        monotonic: returns seconds that never go back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._monotonic = monotonic
        self._last_success_s = monotonic()
        self._bounds: dict[str, BoundedLabel] = {}
        ProcessCollector(registry=self.registry)
        self._reconciles = self._counter(
            "infpop_operator_reconciles", "Finished reconciles of a study by result", "result"
        )
        self._reconcile_seconds = Histogram(
            "infpop_operator_reconcile_seconds",
            "Duration of a reconcile of a study",
            registry=self.registry,
            buckets=_RECONCILE_SECONDS_BUCKETS,
        )
        self._queue_depth = Gauge(
            "infpop_operator_queue_depth",
            "Studies that wait for a reconcile or are being reconciled",
            registry=self.registry,
        )
        Gauge(
            "infpop_operator_last_pass_age_seconds",
            "Time since the last successful reconcile, or since there was no study to reconcile",
            registry=self.registry,
        ).set_function(self._seconds_since_success)
        self._api_requests = self._counter(
            "infpop_operator_api_requests", "Requests to the API server, without watches", "verb", "code"
        )
        self._held_seconds = Histogram(
            "infpop_run_held_seconds",
            "Time that a finished run waited for a scrape",
            registry=self.registry,
            buckets=_HELD_SECONDS_BUCKETS,
        )
        self._held_gpu_seconds = Counter(
            "infpop_held_gpu_seconds", "GPU time that finished runs spent waiting for a scrape", registry=self.registry
        )
        self._queries = self._counter("infpop_prometheus_queries", "Requests to Prometheus", "outcome")
        self._missing = self._counter(
            "infpop_source_missing", "Runs for which a metrics source lacked a number", "source", "reason"
        )
        self._rounds = self._counter("infpop_rounds", "Rounds that began or were resumed", "reason", "start")
        self._publications = self._counter(
            "infpop_publications", "Changes of the configuration that a study publishes", "reason"
        )
        for result in RESULTS:
            self._reconciles.labels(result)  # a rate needs the zero before the first one
        self._queries.labels(OK)

    def count_reconcile(self, seconds: float, error: Exception | None) -> None:
        """Count a reconcile that took `seconds` and failed with `error`; None means that it succeeded."""
        self._reconciles.labels(_result(error)).inc()
        self._reconcile_seconds.observe(seconds)
        if error is None:
            self.note_progress()

    def note_progress(self) -> None:
        """Note that the operator makes progress: a reconcile succeeded, or there is no study to reconcile."""
        self._last_success_s = self._monotonic()

    def count_api_request(self, verb: str, code: int | None) -> None:
        """Count a request to the API server; `code` is None if there was no answer."""
        self._api_requests.labels(verb, NO_ANSWER if code is None else str(code)).inc()

    def count_ended_run(self, entry: EndedRun) -> None:
        """Count how long a run waited for a scrape, and the metrics sources that lacked a number for it."""
        if not isinstance(entry.observation, Finished):
            return
        held_seconds = entry.observation.result.held_seconds
        if held_seconds is not None:
            self._held_seconds.observe(held_seconds)
            self._held_gpu_seconds.inc(held_seconds * entry.run.gpu_count)
        for source, reason in entry.observation.missing_sources.items():
            self._missing.labels(self._bounded("source", source), self._bounded("reason", reason)).inc()

    def count_round(self, before: Round | None, after: Round) -> None:
        """Count what a record of a round says for the first time: that it began or was resumed, what it publishes.

        Args:
            before: what was recorded of the round before, None if nothing was.
            after: the new record.
        """
        start = NEW if before is None else RESUMED if after.resumed > before.resumed else None
        if start is not None:
            self._rounds.labels(reason_of_round(after) or OTHER, start).inc()
        if after.published is not None and (before is None or before.published != after.published):
            self._publications.labels(self._bounded("publication", after.published.reason)).inc()

    def count_prometheus_query(self, outcome: str) -> None:
        """Count a request to Prometheus; `outcome` is `OK` or the reason why there was no answer."""
        self._queries.labels(self._bounded("outcome", outcome)).inc()

    def set_queue_depth(self, depth: int) -> None:
        """Show how many studies wait for a reconcile or are being reconciled."""
        self._queue_depth.set(depth)

    def _bounded(self, label: str, value: str) -> str:
        return self._bounds.setdefault(label, BoundedLabel(MOST_REASONS)).of(value)

    def _seconds_since_success(self) -> float:
        return self._monotonic() - self._last_success_s

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)


class BoundedLabel:
    """Limits a label to `most` different values; every other value becomes "Other"."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, value: str) -> str:
        """Return the label value for `value`, in the form of a condition's reason: letters and digits, never empty."""
        word = as_reason(value)
        if word not in self._known and len(self._known) >= self._most:
            return OTHER
        self._known.add(word)
        return word


def _result(error: Exception | None) -> str:
    """Return the result of a reconcile: a conflict is normal, and an unexpected error is a defect of InfPop."""
    match error:
        case None:
            return OK
        case KubeConflictError():
            return "conflict"
        case InfPopError():
            return "error"
        case _:
            return "unexpected"
