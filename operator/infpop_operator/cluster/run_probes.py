"""What objects do not say: the phase that a runner is in, and why its Pod is not made or does not start.

Asked for by the tick and remembered here; a study is looked at again when it changed. Nothing depends on it: without
it a run is merely said to be loading, and a refused Pod to be starting.
"""

import asyncio
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from infpop_operator.core.model import Running, WatchedRun
from infpop_operator.core.sources import Samples

_PATIENCE = timedelta(seconds=5)  # the Job controller makes a Pod within a second
_MOUNT_PATIENCE = timedelta(seconds=20)  # the first mount fails now and then, and is tried again at once
_UNMOUNTED = ("FailedMount", "FailedAttachVolume")
_AT_ONCE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sign:
    """What is known of a run; `phase` and `throughput` were read from the Pod of this uid and name."""

    failed_create: str | None = None
    failed_mount: str | None = None
    pod_uid: str | None = None
    pod: str | None = None
    phase: Running | None = None
    throughput: Samples = field(default_factory=dict)


class RunProbes:
    """The newest signs of each live run; a `MetricsSource` from the Pods' own endpoints."""

    def __init__(self, client: KubeClient, http: httpx.AsyncClient, cache: Cache) -> None:
        self._client = client
        self._http = http
        self._cache = cache
        self._known: dict[StudyKey, dict[str, _Sign]] = {}
        self._studies: dict[str, StudyKey] = {}  # by run
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def of(self, run: str) -> RunHints:
        """Return what is known of a run beside its objects."""
        sign = self._sign(run)
        return RunHints(failed_create=sign.failed_create, failed_mount=sign.failed_mount, phase=sign.phase)

    @property
    def name(self) -> str:
        """Return the name that trial rows give as the source of their number."""
        return "PodMetrics"

    async def samples(self, watched: WatchedRun) -> Samples:
        """Return what the last look at the run's Pod gave; a Pod that has ended can no longer be asked.

        Nothing where another Pod was looked at: that one replaces an evicted one, and measures for itself.
        """
        sign = self._sign(watched.run)
        return sign.throughput if sign.pod == watched.pod else {}

    def forget_all_but(self, key: StudyKey, live: Container[str]) -> None:
        """Drop what is known of a study's runs, except for those that live."""
        known = self._known.get(key, {})
        for run in [run for run in known if run not in live]:
            del known[run]
            self._studies.pop(run, None)
        if not known:
            self._known.pop(key, None)

    async def look(self, keys: Iterable[StudyKey], now: datetime) -> tuple[StudyKey, ...]:
        """Ask about the live runs of these studies; return those about which something new is known."""
        jobs = [(key, job) for key in keys for job in self._cache.living_jobs(key)]
        changed = await asyncio.gather(*(self._look_at(key, job, now) for key, job in jobs))
        return tuple({key for (key, _), new in zip(jobs, changed, strict=True) if new})

    async def _look_at(self, key: StudyKey, job: JobRecord, now: datetime) -> bool:
        if job.run is None:
            return False
        before = self.of(job.run)
        pods = [pod for pod in self._cache.pods(key, job.uid) if not pod.withdrawn]
        async with self._slots:
            if pods:
                await self._look_at_pod(key, job.run, pods[-1], now)
            elif not job.suspended and now - job.created_at > _PATIENCE:
                await self._look_for_refusal(key, job.run, job)
        return self.of(job.run) != before

    async def _look_for_refusal(self, key: StudyKey, run: str, job: JobRecord) -> None:
        complaint = newest_complaint(await self._events(job.namespace, job.uid) or ())
        if complaint is not None:
            self._remember(key, run, replace(self._sign(run), failed_create=complaint))

    async def _look_at_pod(self, key: StudyKey, run: str, pod: PodRecord, now: datetime) -> None:
        """Ask the Pod itself, or the Events about one that does not start."""
        if pod.phase == "Running" and pod.ip is not None and pod.metrics_port is not None:
            sample = await scrape_pod(self._http, pod, run)
            if sample.phase is not None:
                sign = _Sign(pod_uid=pod.uid, pod=pod.name, phase=sample.phase, throughput=sample.throughput)
                self._remember(key, run, sign)
        elif _is_being_created(pod) and pod.scheduled_at is not None and now - pod.scheduled_at > _MOUNT_PATIENCE:
            events = await self._events(pod.namespace, pod.uid)
            if events is not None:
                self._remember(key, run, _Sign(failed_mount=unmounted_volume(events)))
        elif self._sign(run).pod_uid is None:
            self._remember(key, run, _Sign())

    def _remember(self, key: StudyKey, run: str, sign: _Sign) -> None:
        """Keep what was learnt, unless the run went away while its Pod was asked."""
        if any(job.run == run for job in self._cache.living_jobs(key)):
            self._known.setdefault(key, {})[run] = sign
            self._studies[run] = key

    def _sign(self, run: str) -> _Sign:
        """Return what is known of a run; the numbers of a Pod that was replaced are not those of the next one."""
        key = self._studies.get(run)
        sign = _Sign() if key is None else self._known[key].get(run, _Sign())
        if key is None or sign.pod_uid is None:
            return sign
        newest = self._cache.newest_pod(key, run)
        return sign if newest is not None and newest.uid == sign.pod_uid else _Sign()

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
