"""What a run's objects do not say: the phase that its runner is in, and why its Pod is not created or does not start.

The tick asks for it, and it is kept in the study's memory; the study is reconciled again when it changed. Nothing
depends on it: without it a run is merely said to be loading, and a refused Pod to be starting.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import httpx

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import KubeError
from infpop_operator.adapters.kube.observe import CREATING, RunHints
from infpop_operator.adapters.kube.pod_metrics import scrape_pod
from infpop_operator.adapters.kube.records import JobRecord, PodRecord
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.study_memory import Probe, StudyMemories
from infpop_operator.core.model import WatchedRun
from infpop_operator.core.sources import Samples

_PATIENCE = timedelta(seconds=5)  # the Job controller makes a Pod within a second
_MOUNT_PATIENCE = timedelta(seconds=20)  # the first mount fails now and then, and is tried again at once
_UNMOUNTED = ("FailedMount", "FailedAttachVolume")
_AT_ONCE = 32


class RunProbes:
    """Asks about live runs; a `MetricsSource` from the Pods' own endpoints."""

    def __init__(self, client: KubeClient, http: httpx.AsyncClient, cache: Cache, memories: StudyMemories) -> None:
        self._client = client
        self._http = http
        self._cache = cache
        self._memories = memories
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def of(self, key: StudyKey, run: str) -> RunHints:
        """Return what is known of a run beside its objects."""
        return self._probe(key, run).hints

    @property
    def name(self) -> str:
        """Return the name that trial rows give as the source of their number."""
        return "PodMetrics"

    async def samples(self, watched: WatchedRun) -> Samples:
        """Return what the last probe of the run's Pod gave; a Pod that has ended can no longer be asked.

        Nothing where another Pod was probed: it replaced an evicted one, and measures for itself.
        """
        probe = self._probe(StudyKey(watched.namespace, watched.study), watched.run)
        return probe.throughput if probe.pod == watched.pod else {}

    async def probe(self, keys: Iterable[StudyKey], now: datetime) -> tuple[StudyKey, ...]:
        """Ask about the live runs of these studies; return those about which something new is known."""
        jobs = [(key, job) for key in keys for job in self._cache.living_jobs(key)]
        changed = await asyncio.gather(*(self._probe_job(key, job, now) for key, job in jobs))
        return tuple({key for (key, _), new in zip(jobs, changed, strict=True) if new})

    async def _probe_job(self, key: StudyKey, job: JobRecord, now: datetime) -> bool:
        if job.run is None:
            return False
        before = self.of(key, job.run)
        pods = [pod for pod in self._cache.pods(key, job.uid) if not pod.withdrawn]
        async with self._slots:
            if pods:
                await self._probe_pod(key, job.run, pods[-1], now)
            elif not job.suspended and now - job.created_at > _PATIENCE:
                await self._find_refusal(key, job.run, job)
        return self.of(key, job.run) != before

    async def _find_refusal(self, key: StudyKey, run: str, job: JobRecord) -> None:
        complaint = newest_complaint(await self._events(job.namespace, job.uid) or ())
        if complaint is not None:
            probe = self._probe(key, run)
            self._remember(key, run, replace(probe, hints=replace(probe.hints, failed_create=complaint)))

    async def _probe_pod(self, key: StudyKey, run: str, pod: PodRecord, now: datetime) -> None:
        """Ask the Pod itself, or the Events about one that does not start."""
        if pod.phase == "Running" and pod.ip is not None and pod.metrics_port is not None:
            sample = await scrape_pod(self._http, pod, run)
            if sample.phase is not None:
                hints = RunHints(phase=sample.phase)
                probe = Probe(hints=hints, pod_uid=pod.uid, pod=pod.name, throughput=sample.throughput)
                self._remember(key, run, probe)
        elif _is_being_created(pod) and pod.scheduled_at is not None and now - pod.scheduled_at > _MOUNT_PATIENCE:
            events = await self._events(pod.namespace, pod.uid)
            if events is not None:
                self._remember(key, run, Probe(hints=RunHints(failed_mount=unmounted_volume(events))))
        elif self._probe(key, run).pod_uid is None:
            self._remember(key, run, Probe())

    def _remember(self, key: StudyKey, run: str, probe: Probe) -> None:
        """Keep what was learnt, unless the run went away while its Pod was asked."""
        if any(job.run == run for job in self._cache.living_jobs(key)):
            self._memories.of(key).probes[run] = probe

    def _probe(self, key: StudyKey, run: str) -> Probe:
        """Return what is known of a run; the numbers of a Pod that was replaced are not those of the next one."""
        probe = self._memories.of(key).probes.get(run, Probe())
        if probe.pod_uid is None:
            return probe
        newest = self._cache.newest_pod(key, run)
        return probe if newest is not None and newest.uid == probe.pod_uid else Probe()

    async def _events(self, namespace: str, uid: str) -> Sequence[Mapping[str, Any]] | None:
        try:
            return await self._client.list_events_about(namespace, uid)
        except KubeError:  # asked again at the next tick
            return None


def newest_complaint(events: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the newest message with which the Job controller said that it could make no Pod."""
    return _message(_newest([event for event in events if event.get("reason") == "FailedCreate"]))


def unmounted_volume(events: Sequence[Mapping[str, Any]]) -> str | None:
    """Return why a volume of a Pod cannot be mounted, None where something else has happened to it since."""
    newest = _newest(events)
    return _message(newest) if newest is not None and newest.get("reason") in _UNMOUNTED else None


def _is_being_created(pod: PodRecord) -> bool:
    container = pod.container
    return container is None or (container.started_at is None and container.waiting_reason in CREATING)


def _newest(events: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    return max(events, key=_time, default=None)


def _time(event: Mapping[str, Any]) -> str:
    """Return when an Event came last; times that are written alike are in the order of their texts."""
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")


def _message(event: Mapping[str, Any] | None) -> str | None:
    return None if event is None else str(event.get("message", ""))
