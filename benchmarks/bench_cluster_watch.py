"""Observe the operator while it works: its process once a second, and its requests in the audit log."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from cluster.operator_process import OperatorProcess
from controlplane import audit

MIB = 2**20


class Sampler:
    """Samples the current process of `operator` once a second inside a `with` block."""

    def __init__(self, operator: OperatorProcess) -> None:
        self._operator = operator
        self._rss: list[int] = []
        self._cpu: dict[int, float] = {}
        self._began = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="sampler", daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._over.set()
        self._thread.join()

    def report(self) -> dict[str, Any]:
        """Return the sampled metrics."""
        wall = time.monotonic() - self._began
        return {
            "rss_mib": {"peak": round(max(self._rss) / MIB, 1), "end": round(self._rss[-1] / MIB, 1)},
            "operator_cpu_seconds": round(sum(self._cpu.values()), 1),
            "operator_cpu_share_of_a_core": round(sum(self._cpu.values()) / wall, 3),
        }

    def _sample(self) -> None:
        start: dict[int, float] = {}
        while not self._over.wait(1.0):
            try:
                process = psutil.Process(self._operator.pid)
                used = process.cpu_times()
                self._rss.append(process.memory_info().rss)
            except psutil.Error:  # it was killed, and the next one has not started yet
                continue
            first = start.setdefault(process.pid, used.user + used.system if not start else 0.0)
            self._cpu[process.pid] = used.user + used.system - first


class AuditTail:
    """Continues reading an audit log where it stopped; keeps only what `wanted` selects, because the log is long."""

    def __init__(self, path: Path, *wanted: str) -> None:
        self._path = path
        self._wanted = tuple(f'"{each}"' for each in wanted)
        self._offset = 0
        self._seen: dict[str, audit.AuditEntry] = {}

    def entries(self) -> list[audit.AuditEntry]:
        """Return one entry for each request so far, in the order in which they were answered."""
        with self._path.open("rb") as stream:
            stream.seek(self._offset)
            for line in stream:
                if not line.endswith(b"\n"):  # half written
                    break
                self._offset += len(line)
                self._take(line.decode())
        return list(self._seen.values())

    def _take(self, line: str) -> None:
        if any(each in line for each in self._wanted):
            document = json.loads(line)
            if document["auditID"] not in self._seen:
                self._seen[document["auditID"]] = audit._parse(document)


def wait_until(condition: Callable[[], bool], *, seconds: float, pause: float = 0.2) -> None:
    """Wait for a condition that is expensive to check.

    Raises:
        TimeoutError: the deadline passed.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(pause)
