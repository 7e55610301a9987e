"""A real Prometheus on this machine: a process with its own data in a folder given by the caller."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from controlplane.processes import Process, free_ports
from controlplane.waiting import wait_for
from prometheus.binaries import Binaries, find_binaries

Document = dict[str, Any]
SECONDS = 60.0  # patience for two busy cores; it is only used up when something fails


class PrometheusServer:
    """Scrapes and answers inside a `with` block, where it may be stopped and started again.

    Args:
        directory: an absolute path, empty or missing; it keeps configuration, log and data, which are never removed.
        scrape_configs: as in Prometheus' own configuration; `prometheus.discovery` creates them.
        interval_seconds: the interval of scrapes whose configuration sets none.
        reload_seconds: how long targets that were discovered wait until they are scraped; by default 5 s elsewhere,
            and discovery itself may take as long again where many pods come and go.
        rule_files: rule files that are evaluated once in each interval.
        binaries: the programs; by default they are found or built.
        host: the address of this machine at which it listens.
    """

    def __init__(
        self,
        directory: Path,
        scrape_configs: Sequence[Mapping[str, Any]],
        *,
        interval_seconds: float = 1.0,
        reload_seconds: float = 0.1,
        rule_files: Sequence[Path] = (),
        binaries: Binaries | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        (port,) = free_ports(1)
        directory.mkdir(parents=True, exist_ok=True)
        interval = duration(interval_seconds)
        configuration = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": [str(path.resolve()) for path in rule_files],
            "scrape_configs": list(scrape_configs),
        }
        file = directory / "prometheus.yaml"
        file.write_text(yaml.safe_dump(configuration, sort_keys=False))
        self.url = f"http://{host}:{port}"
        program = (binaries or find_binaries()).prometheus
        arguments = (
            str(program),
            f"--config.file={file}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={host}:{port}",
            f"--scrape.discovery-reload-interval={duration(reload_seconds)}",
            "--log.level=warn",
        )
        self._process = Process("prometheus", arguments, folder=directory)
        self._client = httpx.Client(base_url=self.url, trust_env=False, timeout=SECONDS)

    def __enter__(self) -> Self:
        """Start it, and return when it answers."""
        try:
            self.start()
        except BaseException:
            self._process.end(grace_seconds=0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._process.end(grace_seconds=0)
        self._client.close()

    def start(self) -> None:
        """Start it at the same address with its existing data, and return when it answers."""
        self._process.start()
        wait_for(self._is_ready, seconds=SECONDS, what=f"{self.url}/-/ready")

    def stop(self) -> None:
        """Kill it: an outage. Nothing listens at its address then."""
        self._process.end(grace_seconds=0)

    def log(self) -> str:
        """Return the end of its log: warnings and errors."""
        return self._process.tail()

    def query(self, promql: str, *, at: float | None = None) -> list[Document]:
        """Return the elements of an instant query, each with `metric` and `value` or `values`.

        Args:
            promql: the query.
            at: seconds since 1970; None: now.

        Raises:
            AssertionError: Prometheus refused the query; the message has its answer.
        """
        parameters = {"query": promql, **({} if at is None else {"time": repr(at)})}
        found: list[Document] = self._get("/api/v1/query", parameters)["result"]
        return found

    def query_range(self, promql: str, *, start: float, end: float, step_seconds: float) -> list[Document]:
        """Return the elements of a range query, each with `metric` and `values`; times are seconds since 1970.

        Raises:
            AssertionError: Prometheus refused the query; the message has its answer.
        """
        parameters = {"query": promql, "start": repr(start), "end": repr(end), "step": repr(step_seconds)}
        found: list[Document] = self._get("/api/v1/query_range", parameters)["result"]
        return found

    def wait_for(self, promql: str, *, seconds: float = SECONDS) -> list[Document]:
        """Return the first answer to an instant query that is not empty.

        Raises:
            TimeoutError: every answer was empty; the message has the targets.
        """
        try:
            return wait_for(lambda: self.query(promql), seconds=seconds, what=promql)
        except TimeoutError as error:
            seen = [(each["scrapeUrl"], each["health"], each["lastError"]) for each in self.targets()]
            raise TimeoutError(f"{error}; targets: {seen}; log: {self.log()}") from error

    def targets(self) -> list[Document]:
        """Return the current targets, as Prometheus reports them."""
        found: list[Document] = self._get("/api/v1/targets", {"state": "active"})["activeTargets"]
        return found

    def _get(self, path: str, parameters: Mapping[str, str]) -> Document:
        answer = self._client.get(path, params=parameters)
        assert answer.is_success, f"{answer.request.url}: {answer.text}"
        data: Document = answer.json()["data"]
        return data

    def _is_ready(self) -> bool:
        self._process.check()
        try:
            return self._client.get("/-/ready").is_success
        except httpx.TransportError:
            return False


def duration(seconds: float) -> str:
    """Return seconds as a Prometheus duration, to the millisecond."""
    return f"{round(seconds * 1000)}ms"
