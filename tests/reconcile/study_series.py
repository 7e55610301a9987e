"""Studies as the API server returns them, and the series that a scrape finds while they exist."""

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from factories.studies import START
from infpop_operator.cluster.metrics.study_collector import StudyCollector

Labels = Mapping[str, str]
CELL = "infpop_study_cell_throughput_tokens_per_second"


def study(name: str = "one", *, version: int = 1, uid: str = "", created: str = "", **status: object) -> dict[str, Any]:
    """Return a study with this status, as API server JSON."""
    metadata = {
        "namespace": "serving",
        "name": name,
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(version),
        "creationTimestamp": created or "2026-01-01T00:00:00Z",
    }
    return {"metadata": metadata, **({"status": status} if status else {})}


def conditions(**held: str) -> list[dict[str, Any]]:
    """Return conditions with these statuses."""
    return [
        {"type": kind, "status": status, "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        for kind, status in held.items()
    ]


def row(index: int, state: str, *, reason: str | None = None, pool: str = "a100", number: int = 1) -> dict[str, Any]:
    """Return a trial."""
    run = {"run": f"run-{index}", "attempts": 1, "gpuCount": 1, "batchSize": 8}
    return {"pool": pool, "round": number, "index": index, "state": state, "reason": reason, **run}


def live_run(state: str, since: str = "2026-07-01T00:00:00Z") -> dict[str, Any]:
    """Return a live run."""
    return {"name": "run-9", "pool": "a100", "gpuCount": 1, "batchSizes": [8], "state": state, "since": since}


class Bench:
    """A collector with its own clock."""

    def __init__(self) -> None:
        self.now = START
        self.collector = StudyCollector()
        self._registry = CollectorRegistry()
        self._registry.register(self.collector)

    def see(self, *bodies: dict[str, Any]) -> None:
        """Scrape while these studies exist."""
        self.collector.update(bodies, self.now)

    def page(self) -> str:
        """Return the text of a scrape."""
        return generate_latest(self._registry).decode()

    def series(self, name: str) -> list[tuple[Labels, float]]:
        """Return the series of this name, read as Prometheus reads them."""
        families = text_string_to_metric_families(self.page())
        samples = [sample for family in families for sample in family.samples]
        return [(sample.labels, sample.value) for sample in samples if sample.name == name]

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of one series, None without it."""
        found = [value for known, value in self.series(name) if labels.items() <= known.items()]
        assert len(found) <= 1
        return found[0] if found else None
