"""The runs of a study as Jobs: observed, created, ended and cleaned up. What is wanted is decided in `core.decide`.

A run is over only when its Pods have let go of their devices, and its result may still come until then. Meanwhile it
stays among the active runs (`Terminating`). A run is not given up because a watch says so: its Job and its Pods are
read from the API server before it is taken for lost, before its Job is deleted, and before its end is no longer waited
for.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import (
    KubeExistsError,
    KubeForbiddenError,
    KubeNotFoundError,
    KubeRefusedError,
)
from infpop_operator.adapters.kube.observe import SeenRun, observe_run
from infpop_operator.adapters.kube.records import JobRecord, PodRecord, parse_job
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.context import ReconcileContext, ResolvedContext
from infpop_operator.cluster.jobs import job_of, phase_limits, refusal
from infpop_operator.cluster.metrics_gatherer import MetricsGatherer
from infpop_operator.cluster.run_probes import RunProbes
from infpop_operator.cluster.study_memory import Ending
from infpop_operator.core.decide import TERMINATING
from infpop_operator.core.model import (
    DELETED,
    EndedRun,
    Finished,
    History,
    Lost,
    Observation,
    Phase,
    Run,
    Running,
    StartedRun,
    Waiting,
)
from infpop_operator.settings import Settings

Jobs = Mapping[str, JobRecord]  # by run
_OVER = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedRuns:
    """What was observed of the active runs; `history` says since when each holds its devices."""

    history: History
    observations: Mapping[str, Observation]


class Runs:
    """Keeps the Jobs of studies as their histories want them."""

    def __init__(
        self,
        *,
        client: KubeClient,
        cache: Cache,
        probes: RunProbes,
        gatherer: MetricsGatherer,
        settings: Settings,
        clock: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._cache = cache
        self._probes = probes
        self._gatherer = gatherer
        self._settings = settings
        self._clock = clock
        self._patience = timedelta(seconds=settings.stop_seconds)

    def jobs_by_run(self, context: ReconcileContext) -> Jobs:
        """Return the Jobs of the study that exist now."""
        return {job.run: job for job in self._cache.jobs(context.key, study_uid=context.uid) if job.run is not None}

    async def observe(self, context: ResolvedContext, history: History) -> ObservedRuns:
        """Return how the active runs are."""
        seen = [await self._observe_run(context, entry) for entry in history.active]
        active = [_held(entry, each.held_since, context.now) for entry, each in zip(history.active, seen, strict=True)]
        return ObservedRuns(
            history=replace(history, active=tuple(active)),
            observations={entry.run.name: each.observation for entry, each in zip(history.active, seen, strict=True)},
        )

    async def stop(self, context: ResolvedContext, stopping: Sequence[StartedRun]) -> bool:
        """Delete the Jobs of all runs that are ending, those that the study is `stopping` among them.

        Each run is read before: it may have ended without the operator's knowledge, and its Job is left alone then.
        Return whether a run has ended, or has no Job, so that the study has to be reconciled again at once.
        """
        new = [entry.run.name for entry in stopping if entry.run.name not in context.memory.endings]
        await asyncio.gather(*(self._read(context, run) for run in new))
        context.memory.endings.update(dict.fromkeys(new, Ending(since=context.now)))
        for run, job in self.jobs_by_run(context).items():
            if run in context.memory.endings and job.end is None and not self._ends_by_itself(context, run, job):
                await self._delete(job)
        return any(self._job_of(context, run) is None or self._has_exited(context, run) for run in new)

    async def delete_all(self, context: ReconcileContext) -> None:
        """Delete every Job of the study that has not ended, without reading it: nothing is decided on its result."""
        for job in self.jobs_by_run(context).values():
            if job.end is None:
                await self._delete(job)

    async def delete_leftovers(self, context: ResolvedContext, history: History, jobs: Jobs) -> None:
        """Delete the Jobs that live although their run has ended.

        Args:
            context: of the pass.
            history: as it is recorded now.
            jobs: those that were seen before the history was loaded: a newer one may be of a run that is not in it.
        """
        for run, job in _idle(jobs, history):
            # A Job whose Pod has exited is about to be ended by the Job controller.
            if job.end is None and not self._has_exited(context, run):
                await self._delete(job)

    async def expire(self, context: ResolvedContext, history: History, jobs: Jobs) -> None:
        """Give ended Jobs, whose results are in the status by now, a time to live."""
        seconds = context.resolved.document.spec.ttl_seconds_after_finished
        for _, job in _idle(jobs, history):
            if job.end is not None and job.ttl_seconds is None:
                await self._client.set_job_ttl(job.namespace, job.name, seconds)

    async def create(self, context: ResolvedContext, active: Iterable[StartedRun]) -> tuple[EndedRun, ...]:
        """Create the Jobs that wanted runs lack; return the runs whose Jobs the API server refused."""
        refused: list[EndedRun] = []
        pools = {pool.name for pool in context.study.pools}
        for entry in active:
            wanted = entry.stopping is None and entry.run.pool in pools
            if wanted and self._job_of(context, entry.run.name) is None:
                loss = await self._create_job(context, entry.run)
                if loss is not None:
                    at = loss.ended_at
                    refused.append(EndedRun(run=entry.run, started_at=at, held_since=at, observation=loss))
        return tuple(refused)

    async def _observe_run(self, context: ResolvedContext, entry: StartedRun) -> SeenRun:
        run, job = entry.run, self._job_of(context, entry.run.name)
        if job is None and entry.stopping is not None:
            await self._read(context, run.name)
            job = self._job_of(context, run.name)
        if job is None:
            return SeenRun(observation=_without_job(entry, context.now), held_since=None)
        seen = self._observe_objects(context, run, job)
        if isinstance(seen.observation, Lost) or self._is_overdue(context, run.name):
            await self._read(context, run.name)
            job = self._job_of(context, run.name) or job
            seen = self._observe_objects(context, run, job)
        observation = seen.observation
        if isinstance(observation, Finished):
            pod = None if seen.pod is None else seen.pod.name
            gathered = await self._gatherer.gather(context.memory, observation, pod, context.study.metrics)
            if gathered is None:
                return replace(seen, observation=Running(phase=Phase.DONE))
            observation = gathered
        # Only now: with an end that moves on at each pass the sources would be asked again each time.
        if isinstance(observation, Finished | Lost) and seen.held_until is not None:
            observation = replace(observation, ended_at=max(observation.ended_at, seen.held_until))
        living = self._cache.living_pods(context.key, job.uid)
        return replace(seen, observation=self._while_ending(context, entry, observation, living))

    def _observe_objects(self, context: ResolvedContext, run: Run, job: JobRecord) -> SeenRun:
        """Return how a run is, by what is known of its Job and its Pods."""
        limits = phase_limits(context.resolved.document.spec, run, self._settings)
        pods, hints = self._cache.pods(context.key, job.uid), self._probes.of(context.key, run.name)
        seen = observe_run(run, job, pods, hints, limits, context.now)
        if isinstance(seen.observation, Finished | Lost) or run.name in self.jobs_by_run(context):
            return seen
        lost = Lost(reason=DELETED, detail="the Job of this run was deleted", ended_at=context.now)
        return replace(seen, observation=lost)

    def _while_ending(
        self, context: ResolvedContext, entry: StartedRun, observation: Observation, pods: Sequence[PodRecord]
    ) -> Observation:
        """Return how a run is, given how it looks: one that is over while its Pods hold devices is terminating.

        A run that the study stops is over when its Job is gone or it has ended by itself.
        """
        run, held = entry.run.name, hold_devices(pods)
        if isinstance(observation, Finished | Lost) and held:
            context.memory.endings.setdefault(run, Ending(since=context.now, observed=observation))
        ending = context.memory.endings.get(run)
        if ending is None:
            return observation
        is_over = ending.observed is not None or isinstance(observation, Finished | Lost)
        if (held or not is_over) and not self._is_overdue(context, run):
            return Waiting(reason=TERMINATING, detail=f"{_why(ending, entry)}: its pod is ending")
        return _how_it_ended(ending, entry, observation, [context.now] if held else [])

    def _is_overdue(self, context: ResolvedContext, run: str) -> bool:
        """Say whether the end of a run is no longer waited for."""
        ending = context.memory.endings.get(run)
        return ending is not None and context.now - ending.since > self._patience

    def _job_of(self, context: ReconcileContext, run: str) -> JobRecord | None:
        """Return the Job of a run, also one that is gone; None if it never had one that is known."""
        job = self.jobs_by_run(context).get(run)
        return job or self._cache.deleted_job(context.key, run, study_uid=context.uid)

    async def _read(self, context: ReconcileContext, run: str) -> None:
        """Read a run's Job and its Pods from the API server.

        Watches are not in step: after an outage that of Jobs can be a minute ahead of that of Pods, or behind it, and
        the Pod that has the result is not known.
        """
        try:
            self._cache.see_job(parse_job(await self._client.get_job(context.key.namespace, run)))
        except KubeNotFoundError:  # gone, or not created yet
            known = self.jobs_by_run(context).get(run)
            if known is not None:
                self._cache.see_job(known, deleted=True)
        pods, listed_at = await self._client.list_pods_of_run(context.key.namespace, run)
        self._cache.replace_pods_of_run(context.key, run, pods, listed_at)

    async def _create_job(self, context: ResolvedContext, run: Run) -> Lost | None:
        """Create the Job of `run`, or find that it exists; return why it cannot be created."""
        owner = context.owner
        try:
            created = await self._client.create_job(job_of(context.resolved, run, self._settings))
        except KubeExistsError:
            created = await self._client.get_job(owner.namespace, run.name)
        except KubeForbiddenError:
            raise  # the operator lacks a right: no fault of the run
        except KubeRefusedError as error:
            return refusal(error, self._clock())
        job = parse_job(created)
        self._cache.see_job(job)
        if job.study_uid != owner.uid:
            detail = f"a Job named {run.name} exists and belongs to another owner; delete it"
            return Lost(reason="JobRefused", detail=detail, ended_at=self._clock())
        return None

    async def _delete(self, job: JobRecord) -> None:
        if not job.deleting and not await self._client.delete_job(job.namespace, job.name, uid=job.uid):
            self._cache.see_job(job, deleted=True)

    def _ends_by_itself(self, context: ReconcileContext, run: str, job: JobRecord) -> bool:
        """Say whether the Job controller is about to end the Job: its Pod has exited, and none holds devices."""
        return self._has_exited(context, run) and not hold_devices(self._cache.living_pods(context.key, job.uid))

    def _has_exited(self, context: ReconcileContext, run: str) -> bool:
        """Say whether the newest Pod came to its own end; the Job controller replaces one that was taken away."""
        newest = self._cache.newest_pod(context.key, run)
        return newest is not None and newest.disrupted is None and has_ended(newest)


def hold_devices(pods: Sequence[PodRecord]) -> bool:
    """Say whether a Pod is on a node and has not ended there; Pods that are gone are not among `pods`."""
    return any(pod.node is not None and not has_ended(pod) for pod in pods)


def has_ended(pod: PodRecord) -> bool:
    """Say whether the Pod's container has come to its end."""
    exited = pod.container is not None and pod.container.exit_code is not None
    return exited or pod.phase in _OVER


def _held(entry: StartedRun, observed: datetime | None, now: datetime) -> StartedRun:
    """Return the run with the time since when it holds its devices; a node's clock may be ahead of ours."""
    if observed is None:
        return entry
    return replace(entry, held_since=min(observed, now))


def _without_job(entry: StartedRun, now: datetime) -> Waiting | Lost:
    if entry.stopping is None:
        return Waiting(reason="Starting", detail="its Job is about to be created")
    return Lost(reason=entry.stopping, ended_at=now, counts=False)


def _why(ending: Ending, entry: StartedRun) -> str:
    if entry.stopping is not None:
        return entry.stopping
    return ending.observed.reason if isinstance(ending.observed, Lost) else "Ended"


def _how_it_ended(
    ending: Ending, entry: StartedRun, observation: Observation, held: Sequence[datetime]
) -> Finished | Lost:
    """Return the result that the run left, or else the first reason for which it ended.

    Its end is when it was last observed to end, or to have `held` devices.
    """
    ends = [end for end in (observation, ending.observed) if isinstance(end, Finished | Lost)]
    for end in ends:
        if isinstance(end, Finished) and end.result.trials:
            return end
    ended_at = max([ending.since, *(end.ended_at for end in ends), *held])
    if ending.observed is not None:
        return replace(ending.observed, ended_at=ended_at)
    return Lost(reason=entry.stopping or DELETED, ended_at=ended_at, counts=False)


def _idle(jobs: Jobs, history: History) -> list[tuple[str, JobRecord]]:
    """Return the Jobs whose run has ended, by run."""
    active = {entry.run.name for entry in history.active}
    return [(run, job) for run, job in jobs.items() if run not in active and not job.deleting]
