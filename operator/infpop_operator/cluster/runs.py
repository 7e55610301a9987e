"""The Jobs of a study's runs: the operator observes, creates, stops and cleans them up here. `core.decide` decides.

A run is over only when its Pods have released their devices, and its result may still arrive until then. Meanwhile it
stays among the active runs (`Terminating`). The operator does not give a run up because of a watch event alone: it
reads the Job and the Pods from the API server before it counts the run as lost, before it deletes the Job, and before
it stops waiting for the run's end. It never waits without a bound for other containers of the Pod to end.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import (
    KubeExistsError,
    KubeForbiddenError,
    KubeRefusedError,
)
from infpop_operator.adapters.kube.node_gpus import product_of
from infpop_operator.adapters.kube.node_pools import PoolQuery, is_stranger, wanted_product
from infpop_operator.adapters.kube.observe import SeenRun, observe_run
from infpop_operator.adapters.kube.record_parsing import parse_job
from infpop_operator.adapters.kube.records import JobRecord, PodRecord
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.context import ReconcileContext, ResolvedContext
from infpop_operator.cluster.jobs import job_of, phase_limits, refusal
from infpop_operator.cluster.metrics_gatherer import MetricsGatherer
from infpop_operator.cluster.run_objects import RunObjects
from infpop_operator.cluster.run_probes import RunProbes
from infpop_operator.cluster.study_memory import Ending
from infpop_operator.core.decision import TERMINATING
from infpop_operator.core.model import (
    DELETED,
    NODE_REFUSED,
    UNEXPECTED_GPU,
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
from infpop_operator.core.refusals import refusing_nodes
from infpop_operator.settings import Settings

Jobs = Mapping[str, JobRecord]  # by run name
_LINGER = timedelta(seconds=30)  # for sidecars to end after the runner: the grace period that a Pod's containers have


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedRuns:
    """The observations of the active runs, by name; `history` adds since when each run holds its devices."""

    history: History
    observations: Mapping[str, Observation]


class Runs:
    """Reconciles the Jobs of studies with their histories."""

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
        self._stop_timeout = timedelta(seconds=settings.stop_seconds)
        self.objects = RunObjects(client=client, cache=cache)

    def jobs_by_run(self, context: ReconcileContext) -> Jobs:
        """Return the existing Jobs of the study, by run name."""
        return {job.run: job for job in self._cache.jobs(context.key, study_uid=context.uid) if job.run is not None}

    async def observe(self, context: ResolvedContext, history: History) -> ObservedRuns:
        """Return the observation of each active run."""
        pairs = [(entry, await self._observe_run(context, entry)) for entry in history.active]
        active = tuple(_with_held_since(entry, seen, context.now) for entry, seen in pairs)
        return ObservedRuns(
            history=replace(history, active=active),
            observations={entry.run.name: seen.observation for entry, seen in pairs},
        )

    async def stop(self, context: ResolvedContext, stopping: Sequence[StartedRun]) -> bool:
        """Delete the Jobs of all runs that are ending, including those that the study is `stopping`.

        The operator reads each newly stopped run first: it may have ended unnoticed, and then its Job is kept. Return
        whether one of those runs has ended or has no Job, so that the study has to be reconciled again immediately.
        """
        new = {
            entry.run.name: Ending(since=entry.stopping_since or context.now)
            for entry in stopping
            if entry.run.name not in context.memory.endings
        }
        await asyncio.gather(*(self.objects.read(context.key, run) for run in new))
        context.memory.endings.update(new)
        stopped = {entry.run.name for entry in stopping}
        for run, job in self.jobs_by_run(context).items():
            if run not in context.memory.endings or job.end is not None:
                continue
            if not self._ends_by_itself(context, run, job, has_time=run not in stopped):
                await self.objects.delete_job(job, context.memory)
        return any(self._job_of(context, run) is None or self._has_exited(context, run) for run in new)

    async def delete_all(self, context: ReconcileContext) -> None:
        """Delete every Job of the study that has not ended, without reading it first: its result is not needed."""
        for job in self.jobs_by_run(context).values():
            if job.end is None:
                await self.objects.delete_job(job, context.memory)

    async def delete_leftovers(self, context: ResolvedContext, history: History, jobs: Jobs) -> None:
        """Delete the Jobs that still run although their run has ended, each after reading it.

        Args:
            context: the input of the pass.
            history: the history as it is recorded now.
            jobs: the Jobs from before the history was loaded: a newer Job may belong to a run that it does not contain.
        """
        for run, job in _jobs_of_ended_runs(jobs, history):
            if self._is_leftover(context, run, job):
                await self.objects.read(context.key, run)  # its end may be recorded by an operator that knows more
                current = self.jobs_by_run(context).get(run)
                if current is not None and self._is_leftover(context, run, current):
                    await self.objects.delete_job(current, context.memory)

    async def expire(self, context: ResolvedContext, history: History, jobs: Jobs) -> None:
        """Set a time to live on ended Jobs, whose results are in the status by now."""
        seconds = context.resolved.document.spec.ttl_seconds_after_finished
        for _, job in _jobs_of_ended_runs(jobs, history):
            if job.end is not None and job.ttl_seconds is None:
                await self._client.set_job_ttl(job.namespace, job.name, seconds)

    async def create(self, context: ResolvedContext, history: History) -> tuple[EndedRun, ...]:
        """Create the missing Jobs of active runs; return the runs whose Jobs the API server refused."""
        refused: list[EndedRun] = []
        refusing = refusing_nodes(history, context.now)
        for entry in history.active:
            placeable = entry.run.pool in context.resolved.matched or entry.run.pool in context.resolved.awaited
            wanted = entry.stopping is None and placeable
            if wanted and self._job_of(context, entry.run.name) is None:
                loss = await self._create_job(context, entry.run, refusing)
                if loss is not None:
                    at = loss.ended_at
                    refused.append(EndedRun(run=entry.run, started_at=at, held_since=at, observation=loss))
        return tuple(refused)

    async def _observe_run(self, context: ResolvedContext, entry: StartedRun) -> SeenRun:
        run, job = entry.run, self._job_of(context, entry.run.name)
        if job is None and entry.stopping is not None:
            await self.objects.read(context.key, run.name)
            job = self._job_of(context, run.name)
        elif job is None and run.pool in context.resolved.matched:
            await self.objects.find(context, run.name)
            job = self._job_of(context, run.name)
        if job is None:
            return SeenRun(observation=self._without_job(entry, context.now), held_since=None)
        seen = self._observe_objects(context, entry, job)
        if isinstance(seen.observation, Lost) or self._is_overdue(context, run.name):
            await self.objects.read(context.key, run.name)
            job = self._job_of(context, run.name) or job
            seen = self._observe_objects(context, entry, job)
            if isinstance(seen.observation, Lost) and seen.pod is None:
                await self.objects.search(context)
                seen = self._observe_objects(context, entry, job)
        observation = seen.observation
        if isinstance(observation, Finished):
            pod = None if seen.pod is None else seen.pod.name
            gathered = await self._gatherer.gather(
                context.memory, observation, pod, context.study.metrics, gpu_count=run.gpu_count
            )
            if gathered is None:
                return replace(seen, observation=Running(phase=Phase.DONE))
            observation = gathered
        # Not before the sources are queried: an end that changes at each pass would repeat the queries each time.
        # A node's clock may be ahead of the cluster's.
        if isinstance(observation, Finished | Lost):
            ended_at = max(observation.ended_at, seen.held_until or observation.ended_at)
            observation = replace(observation, ended_at=min(ended_at, context.now))
        living = self._cache.living_pods(context.key, job.uid)
        return replace(seen, observation=self._while_ending(context, entry, observation, living))

    def _observe_objects(self, context: ResolvedContext, entry: StartedRun, job: JobRecord) -> SeenRun:
        """Return the observation of a run from the cached state of its Job and its Pods."""
        run = entry.run
        limits = phase_limits(context.resolved.document.spec, run, self._settings)
        query = context.resolved.queries.get(run.pool)
        pods = self._cache.pods(context.key, job.uid)
        hints = replace(self._probes.of(context.key, run.name), expects_node=query is not None)
        seen = observe_run(run, job, pods, hints, limits, context.now)
        if query is not None and isinstance(seen.observation, Waiting | Running):
            seen = replace(seen, observation=self._on_its_node(seen, query, context.now))
        if isinstance(seen.observation, Finished | Lost) or run.name in self.jobs_by_run(context):
            return seen
        ended_at = self._unobserved_end(entry, context.now)
        lost = Lost(reason=DELETED, detail="the Job of this run was deleted", ended_at=ended_at)
        return replace(seen, observation=lost)

    def _on_its_node(self, seen: SeenRun, query: PoolQuery, now: datetime) -> Observation:
        """Return the observation of a live run, a loss if the autoscaler added a Node with other GPUs for it.

        The Pod requires no label that only a Node that has joined has, so it may land on such a Node.
        """
        node = None if seen.pod is None or seen.pod.node is None else self._cache.node(seen.pod.node)
        if node is None or not is_stranger(query, node):
            return seen.observation
        detail = f"node {node.name} has {product_of(node)}, but the pool wants {wanted_product(query)}"
        return Lost(reason=UNEXPECTED_GPU, detail=detail, ended_at=now)

    def _without_job(self, entry: StartedRun, now: datetime) -> Waiting | Lost:
        if entry.stopping is None:
            return Waiting(reason="Starting", detail="the operator is about to create its Job")
        return Lost(reason=entry.stopping, ended_at=self._unobserved_end(entry, now), counts=False)

    def _unobserved_end(self, entry: StartedRun, now: datetime) -> datetime:
        """Return the end of a run whose Job is gone: a stopped run does not pay for the operator's absence."""
        if entry.stopping_since is None:
            return now
        return min(now, entry.stopping_since + self._stop_timeout)

    def _while_ending(
        self, context: ResolvedContext, entry: StartedRun, observation: Observation, pods: Sequence[PodRecord]
    ) -> Observation:
        """Return `observation` for a run that is not ending, `Terminating` until its end is complete, then its result.

        A run that the study stops is over when its Job is deleted or when it has ended by itself; its end is complete
        when its Pods have released their devices.
        """
        run, held = entry.run.name, hold_devices(pods)
        if isinstance(observation, Finished | Lost) and held:
            context.memory.endings.setdefault(run, Ending(since=context.now, observed=observation))
        ending = context.memory.endings.get(run)
        if ending is None:
            return observation
        is_over = ending.observed is not None or isinstance(observation, Finished | Lost)
        if (held or not is_over) and not self._is_overdue(context, run):
            return Waiting(reason=TERMINATING, detail=f"{_ending_reason(ending, entry)}: {_still_there(pods)}")
        return _final_observation(ending, entry, observation, [context.now] if held else [])

    def _is_overdue(self, context: ResolvedContext, run: str) -> bool:
        """Return whether the operator no longer waits for the end of a run."""
        ending = context.memory.endings.get(run)
        return ending is not None and context.now - ending.since > self._stop_timeout

    def _job_of(self, context: ReconcileContext, run: str) -> JobRecord | None:
        """Return the Job of a run, even if it was deleted; None if the cache knows of none."""
        job = self.jobs_by_run(context).get(run)
        return job or self._cache.deleted_job(context.key, run, study_uid=context.uid)

    async def _create_job(self, context: ResolvedContext, run: Run, refusing: Sequence[str]) -> Lost | None:
        """Create the Job of `run` unless it exists already; return why it cannot be created, None on success."""
        owner = context.owner
        try:
            created = await self._client.create_job(job_of(context.resolved, run, self._settings, refusing=refusing))
        except KubeExistsError:
            created = await self._client.get_job(owner.namespace, run.name)
        except KubeForbiddenError:
            raise  # the operator lacks a permission, which is not the fault of the run
        except KubeRefusedError as error:
            return refusal(error, self._clock())
        job = parse_job(created)
        self._cache.see_job(job)
        if job.study_uid != owner.uid:
            detail = f"a Job named {run.name} exists and belongs to another owner; delete it"
            return Lost(reason="JobRefused", detail=detail, ended_at=self._clock())
        return None

    def _ends_by_itself(self, context: ReconcileContext, run: str, job: JobRecord, *, has_time: bool) -> bool:
        """Return whether the Job controller is about to end the Job: its Pod has exited, and no Pod holds devices.

        It does not end a Job that a queue has suspended. If the run `has_time`, its sidecars have some to end too.
        """
        if job.suspended or not self._has_exited(context, run):
            return False
        holding = [pod for pod in self._cache.living_pods(context.key, job.uid) if pod.holds_devices]
        ending = context.memory.endings[run]
        lingers = has_time and context.now - ending.since <= _LINGER
        return not holding or (lingers and all(pod.has_exited for pod in holding))

    def _is_leftover(self, context: ReconcileContext, run: str, job: JobRecord) -> bool:
        """Return whether the Job of a run that has ended stays unless the operator deletes it.

        If its Pod has exited, the Job controller is about to end it, unless a sidecar goes on.
        """
        held = hold_devices(self._cache.living_pods(context.key, job.uid))
        return job.end is None and (job.suspended or held or not self._has_exited(context, run))

    def _has_exited(self, context: ReconcileContext, run: str) -> bool:
        """Return whether the newest Pod ended by itself; the Job controller replaces a disrupted (evicted) Pod."""
        newest = self._cache.newest_pod(context.key, run)
        return newest is not None and newest.disrupted is None and newest.has_exited


def hold_devices(pods: Sequence[PodRecord]) -> bool:
    """Return whether any of `pods`, which must still exist, is on a Node and has not ended there."""
    return any(pod.holds_devices for pod in pods)


def _still_there(pods: Sequence[PodRecord]) -> str:
    """Return what an ending run waits for."""
    holding = [pod for pod in pods if pod.holds_devices]
    others = sorted({name for pod in holding for name in pod.others})
    if others and all(pod.has_exited for pod in holding):
        return f"its Pod goes on in container {', '.join(others)}"
    return "its Pod is terminating"


def _with_held_since(entry: StartedRun, seen: SeenRun, now: datetime) -> StartedRun:
    """Return the run with the time since when it holds its devices, at most `now`: a Node's clock may be ahead.

    A run whose Node refused its Pod never held any, although the scheduler had chosen the Node.
    """
    if isinstance(seen.observation, Lost) and seen.observation.reason == NODE_REFUSED:
        return replace(entry, held_since=None)
    if seen.held_since is None:
        return entry
    return replace(entry, held_since=min(seen.held_since, now))


def _ending_reason(ending: Ending, entry: StartedRun) -> str:
    if entry.stopping is not None:
        return entry.stopping
    return ending.observed.reason if isinstance(ending.observed, Lost) else "Ended"


def _final_observation(
    ending: Ending, entry: StartedRun, observation: Observation, held: Sequence[datetime]
) -> Finished | Lost:
    """Return the result that the run left, or if there is none, the first reason why it ended.

    Without a result, the run's end is the latest time at which it was observed to end or to hold devices (`held`).
    """
    ends = [end for end in (observation, ending.observed) if isinstance(end, Finished | Lost)]
    for end in ends:
        if isinstance(end, Finished) and end.result.trials:
            return end
    ended_at = max([ending.since, *(end.ended_at for end in ends), *held])
    if ending.observed is not None:
        return replace(ending.observed, ended_at=ended_at)
    return Lost(reason=entry.stopping or DELETED, ended_at=ended_at, counts=False)


def _jobs_of_ended_runs(jobs: Jobs, history: History) -> list[tuple[str, JobRecord]]:
    """Return the Jobs whose run has ended, each with its run name, without those that are being deleted."""
    active = {entry.run.name for entry in history.active}
    return [(run, job) for run, job in jobs.items() if run not in active and not job.deleting]
