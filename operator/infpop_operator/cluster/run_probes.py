"""Probes of live runs: the phase that a runner is in, and why a Pod is not created or does not start.

A run's Job and Pods do not say this. The operator probes the runs at each tick, keeps the answers in the study's memory
and reconciles the study again when they changed. No decision depends on a probe: without one, the status only reports a
run as loading, and a refused Pod as starting.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import httpx

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import KubeError, KubeNotFoundError
from infpop_operator.adapters.kube.observe import RunHints
from infpop_operator.adapters.kube.pod_metrics import scrape_pod
from infpop_operator.adapters.kube.records import CREATING, JobRecord, PodRecord
from infpop_operator.adapters.kube.scale_up import event_time, read_answer
from infpop_operator.adapters.kube.workloads import NO_KUEUE, NO_QUEUE, NO_WORKLOAD, why_queued
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.study_memory import Probe, StudyMemories
from infpop_operator.core.model import WatchedRun
from infpop_operator.core.sources import Samples

_PATIENCE = timedelta(seconds=5)  # the Job controller creates a Pod within a second
_MOUNT_PATIENCE = timedelta(seconds=20)  # the first mount sometimes fails, and the kubelet retries it immediately
_MOUNT_FAILURES = ("FailedMount", "FailedAttachVolume")
_EVENTS_INTERVAL = timedelta(seconds=30)
_MAX_CONCURRENT = 32


class RunProbes:
    """Probes live runs, and is the `MetricsSource` that reads the Pods' own metrics endpoints."""

    def __init__(self, client: KubeClient, http: httpx.AsyncClient, cache: Cache, memories: StudyMemories) -> None:
        self._client = client
        self._http = http
        self._cache = cache
        self._memories = memories
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)

    def of(self, key: StudyKey, run: str) -> RunHints:
        """Return what the last probe found out about a run in addition to its Job and Pods."""
        return self._probe(key, run).hints

    @property
    def name(self) -> str:
        """Return the name under which trial rows list this source."""
        return "PodMetrics"

    async def samples(self, watched: WatchedRun) -> Samples:
        """Return the throughput samples from the last probe of the run's Pod; a Pod that ended cannot be scraped.

        The result is empty if the probe was of another Pod: that Pod replaced an evicted one, and its samples are its
        own.
        """
        probe = self._probe(StudyKey(watched.namespace, watched.study), watched.run)
        return probe.throughput if probe.pod == watched.pod else {}

    async def probe(self, keys: Iterable[StudyKey], now: datetime) -> tuple[StudyKey, ...]:
        """Probe the live runs of these studies; return the studies for which a probe found something new."""
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
            elif job.suspended:
                await self._find_queue_reason(key, job.run, job)
            elif now - job.created_at > _PATIENCE:
                await self._find_refusal(key, job.run, job)
        return self.of(key, job.run) != before

    async def _find_queue_reason(self, key: StudyKey, run: str, job: JobRecord) -> None:
        """Read why the Job is suspended; the status says only that it is if Workloads may not be read."""
        try:
            words = why_queued(await self._client.list_workloads(job.namespace, job.uid))
        except KubeNotFoundError:
            words = NO_KUEUE
        except KubeError:
            return
        if job.queue is None and words in {NO_KUEUE, NO_WORKLOAD}:
            words = NO_QUEUE
        probe = self._probe(key, run)
        self._remember(key, run, replace(probe, hints=replace(probe.hints, queued=words)))

    async def _find_refusal(self, key: StudyKey, run: str, job: JobRecord) -> None:
        """Read from the Job's Events why the Job controller cannot create a Pod."""
        message = newest_create_failure(await self._events(job.namespace, job.uid) or ())
        if message is not None:
            probe = self._probe(key, run)
            self._remember(key, run, replace(probe, hints=replace(probe.hints, failed_create=message)))

    async def _probe_pod(self, key: StudyKey, run: str, pod: PodRecord, now: datetime) -> None:
        """Scrape the Pod if it runs; read its Events if it does not start."""
        if pod.phase == "Running" and pod.ip is not None and pod.metrics_port is not None:
            sample = await scrape_pod(self._http, pod, run)
            if sample.phase is not None:
                hints = RunHints(phase=sample.phase)
                probe = Probe(hints=hints, pod_uid=pod.uid, pod=pod.name, throughput=sample.throughput)
                self._remember(key, run, probe)
        elif pod.unschedulable is not None:
            await self._find_autoscaler(key, run, pod, now)
        elif _is_being_created(pod) and pod.scheduled_at is not None and now - pod.scheduled_at > _MOUNT_PATIENCE:
            events = await self._events(pod.namespace, pod.uid)
            if events is not None:
                self._remember(key, run, Probe(hints=RunHints(failed_mount=unmounted_volume(events))))
        elif self._probe(key, run).pod_uid is None:
            self._remember(key, run, Probe())

    async def _find_autoscaler(self, key: StudyKey, run: str, pod: PodRecord, now: datetime) -> None:
        """Read from the Pod's Events what an autoscaler does about it, twice a minute: Pods may wait for days."""
        before = self._probe(key, run)
        if before.events_read_at is not None and now - before.events_read_at < _EVENTS_INTERVAL:
            return
        events = await self._events(pod.namespace, pod.uid)
        if events is not None:
            hints = RunHints(autoscaler=read_answer(events))
            self._remember(key, run, Probe(hints=hints, pod_uid=pod.uid, pod=pod.name, events_read_at=now))

    def _remember(self, key: StudyKey, run: str, probe: Probe) -> None:
        """Keep the probe, unless the run's Job ended or was deleted during the probe."""
        if any(job.run == run for job in self._cache.living_jobs(key)):
            self._memories.of(key).probes[run] = probe

    def _probe(self, key: StudyKey, run: str) -> Probe:
        """Return the last probe of a run, or an empty one if the probed Pod is no longer the run's newest Pod."""
        memory = self._memories.get(key)
        probe = Probe() if memory is None else memory.probes.get(run, Probe())
        if probe.pod_uid is None:
            return probe
        newest = self._cache.newest_pod(key, run)
        return probe if newest is not None and newest.uid == probe.pod_uid else Probe()

    async def _events(self, namespace: str, uid: str) -> Sequence[Mapping[str, Any]] | None:
        try:
            return await self._client.list_events_about(namespace, uid)
        except KubeError:  # the next tick retries
            return None


def newest_create_failure(events: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the message of the newest Event in which the Job controller reports that it could not create a Pod."""
    return _message(_newest([event for event in events if event.get("reason") == "FailedCreate"]))


def unmounted_volume(events: Sequence[Mapping[str, Any]]) -> str | None:
    """Return why a volume of a Pod cannot be mounted; None if the Pod's newest Event is about something else."""
    newest = _newest(events)
    return _message(newest) if newest is not None and newest.get("reason") in _MOUNT_FAILURES else None


def _is_being_created(pod: PodRecord) -> bool:
    container = pod.container
    return container is None or (container.started_at is None and container.waiting_reason in CREATING)


def _newest(events: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    return max(events, key=event_time, default=None)


def _message(event: Mapping[str, Any] | None) -> str | None:
    return None if event is None else str(event.get("message", ""))
