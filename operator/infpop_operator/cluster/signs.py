"""What objects do not say: the phase that a runner is in, and why the Job controller could make no Pod.

Asked for by the tick and remembered here; a study is looked at again when it changed. Nothing depends on it: without
it a run is merely said to be loading, and a refused Pod to be starting.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import KubeError
from infpop_operator.adapters.kube.observe import RunHints
from infpop_operator.adapters.kube.pod_metrics import PodSample, scrape_pod
from infpop_operator.adapters.kube.records import JobRecord, PodRecord
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.core.sources import Samples

_PATIENCE = timedelta(seconds=5)  # the Job controller makes a Pod within a second
_AT_ONCE = 32


class Signs:
    """The newest signs of each live run; a `MetricsSource` from the Pods' own endpoints."""

    def __init__(self, client: KubeClient, http: httpx.AsyncClient, cache: Cache) -> None:
        self._client = client
        self._http = http
        self._cache = cache
        self._samples: dict[str, PodSample] = {}
        self._complaints: dict[str, str] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def of(self, run: str) -> RunHints:
        """Return what is known of a run beside its objects."""
        sample = self._samples.get(run)
        return RunHints(failed_create=self._complaints.get(run), phase=None if sample is None else sample.phase)

    @property
    def name(self) -> str:
        """Return the name that trial rows give as the source of their number."""
        return "PodMetrics"

    async def samples(self, *, namespace: str, study: str, run: str) -> Samples:  # noqa: ARG002 - names of runs are unique
        """Return what the last look at the run's Pod gave; a Pod that has ended can no longer be asked."""
        sample = self._samples.get(run)
        return {} if sample is None else sample.throughput

    def forget(self, run: str) -> None:
        """Drop what is known of a run that ended."""
        self._samples.pop(run, None)
        self._complaints.pop(run, None)

    async def look(self, keys: Iterable[StudyKey], now: datetime) -> tuple[StudyKey, ...]:
        """Ask about the live runs of these studies; return those about which something new is known."""
        jobs = [(key, job) for key in keys for job in self._cache.living_jobs(key)]
        changed = await asyncio.gather(*(self._look_at(key, job, now) for key, job in jobs))
        return tuple({key for (key, _), new in zip(jobs, changed, strict=True) if new})

    async def _look_at(self, key: StudyKey, job: JobRecord, now: datetime) -> bool:
        before = self.of(job.name)
        pods = [pod for pod in self._cache.pods(key, job.uid) if not pod.deleting]
        async with self._slots:
            if pods:
                await self._scrape(job.name, pods[-1])
            elif not job.suspended and now - job.created_at > _PATIENCE:
                await self._read_events(job)
        return self.of(job.name) != before

    async def _scrape(self, run: str, pod: PodRecord) -> None:
        self._complaints.pop(run, None)
        if pod.phase == "Running" and pod.ip is not None and pod.metrics_port is not None:
            sample = await scrape_pod(self._http, pod, run)
            if sample.phase is not None:
                self._samples[run] = sample

    async def _read_events(self, job: JobRecord) -> None:
        try:
            events = await self._client.list_events_about(job.namespace, job.uid)
        except KubeError:  # asked again at the next tick
            return
        complaint = newest_complaint(events)
        if complaint is not None:
            self._complaints[job.name] = complaint


def newest_complaint(events: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the newest message with which the Job controller said that it could make no Pod."""
    failed = [event for event in events if event.get("reason") == "FailedCreate"]
    newest = max(
        failed, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""), default=None
    )
    return None if newest is None else str(newest.get("message", ""))
