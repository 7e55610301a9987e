"""The runs of a study as Jobs: seen, created, ended, and cleaned away. What is wanted is decided elsewhere."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import (
    KubeExistsError,
    KubeForbiddenError,
    KubeNotFoundError,
    KubeRefusedError,
)
from infpop_operator.adapters.kube.job_manifest import Owner
from infpop_operator.adapters.kube.observe import SeenRun, observe_run
from infpop_operator.adapters.kube.records import JobRecord, parse_job
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.ending import Endings, has_ended, hold_devices, stopped_now
from infpop_operator.cluster.jobs import job_of, phase_limits, refusal
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.metrics_gatherer import MetricsGatherer
from infpop_operator.cluster.resolve import ResolvedStudy
from infpop_operator.cluster.run_probes import RunProbes
from infpop_operator.cluster.step import leftovers, with_devices_held
from infpop_operator.core.model import (
    DELETED,
    Decision,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What was seen of the live runs of a study.

    `history` has the time since when they hold their devices. `asked` are runs about which the sources of metrics are
    being asked, `over` the uids of the Pods that had ended.
    """

    history: History
    observations: Mapping[str, Observation]
    asked: frozenset[str]
    over: frozenset[str]


class Runs:
    """Looks after Jobs; everything that it keeps in memory can be lost at any time."""

    def __init__(
        self,
        *,
        client: KubeClient,
        cache: Cache,
        signs: RunProbes,
        gatherer: MetricsGatherer,
        settings: Settings,
        clock: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._cache = cache
        self._signs = signs
        self._gatherer = gatherer
        self._settings = settings
        self._clock = clock
        self._endings = Endings(patience=timedelta(seconds=settings.stop_seconds))

    def existing(self, key: StudyKey, owner: Owner) -> Jobs:
        """Return the Jobs of the study that exist now."""
        return {job.run: job for job in self._cache.jobs(key, study_uid=owner.uid) if job.run is not None}

    async def observe(
        self, key: StudyKey, prepared: ResolvedStudy, history: History, jobs: Jobs, now: datetime
    ) -> Sighting:
        """Look at the live runs."""
        observations: dict[str, Observation] = {}
        held: dict[str, StartedRun] = {}
        asked: set[str] = set()
        over: set[str] = set()
        for entry in history.active:
            # Before it is looked at: what ends meanwhile is looked at once more, and never missed.
            over |= self._over(key, prepared, entry.run.name, jobs)
            seen = await self._observe_run(key, prepared, entry.run, jobs, now)
            if self._gatherer.is_asking(key, entry.run.name):
                asked.add(entry.run.name)
            observations[entry.run.name] = seen.observation
            held[entry.run.name] = replace(entry, started_at=min(now, seen.held_since or now))
        return Sighting(
            history=with_devices_held(history, held),
            observations=observations,
            asked=frozenset(asked),
            over=frozenset(over),
        )

    async def hear_out(
        self, key: StudyKey, prepared: ResolvedStudy, decision: Decision, seen: Sighting, jobs: Jobs
    ) -> bool:
        """Read the runs that are to be stopped; say whether one has ended that had not, or has a Job that it had not.

        Then its result is not known here, and it has to be decided again.
        """
        stops = {stop.run for stop in decision.stop}
        if not stops:
            return False
        await asyncio.gather(*(self._read(key, run) for run in stops if run not in self._endings.names()))
        by_now = self.existing(key, prepared.owner)
        over = frozenset().union(*(self._over(key, prepared, run, by_now) for run in stops))
        return not over <= seen.over or not stops & by_now.keys() <= jobs.keys()

    async def end(
        self, key: StudyKey, prepared: ResolvedStudy, decision: Decision, seen: Sighting, now: datetime
    ) -> frozenset[str]:
        """Have the Jobs of all runs that are ending deleted; return those of `decision.stop` that are not over yet.

        They hold devices, or somebody is being asked about them.
        """
        jobs = self.existing(key, prepared.owner)
        stops = {stop.run: stop.reason for stop in decision.stop}
        held = frozenset(run for run in stops if self._holds_devices(key, prepared, run, jobs))
        for run, ending in stopped_now({run: stops[run] for run in held}, now).items():
            self._endings.begin(run, ending)
        for run, job in jobs.items():
            if run in self._endings.names():
                await self._delete(job)
        return held | (seen.asked & stops.keys())

    async def end_all(self, key: StudyKey, study_uid: str) -> None:
        """Have every Job of a study deleted that has not ended."""
        for job in self._cache.jobs(key, study_uid=study_uid):
            if job.end is None:
                await self._delete(job)

    async def end_leftovers(self, key: StudyKey, history: History, jobs: Jobs) -> None:
        """Have the Jobs deleted that live although their run has ended.

        Args:
            key: the study.
            history: as it is remembered now.
            jobs: those that were seen before the history was read: a newer one may be of a run that is not in it.
        """
        exited = frozenset(job.uid for run, job in jobs.items() if self._has_exited(key, run))
        for job in leftovers(tuple(jobs.values()), history, exited).living:
            await self._delete(job)

    async def expire(self, prepared: ResolvedStudy, history: History, jobs: Jobs) -> None:
        """Let the cluster remove ended Jobs, whose results are in the status by now."""
        for job in leftovers(tuple(jobs.values()), history, frozenset()).ended:
            seconds = prepared.document.spec.ttl_seconds_after_finished
            await self._client.set_job_ttl(job.namespace, job.name, seconds)

    async def create(
        self, key: StudyKey, prepared: ResolvedStudy, history: History, jobs: Jobs
    ) -> tuple[EndedRun, ...]:
        """Create the Jobs that live runs lack; return the runs that the API server refused."""
        refused: list[EndedRun] = []
        pools = {pool.name for pool in prepared.study.pools}
        for entry in history.active:
            name = entry.run.name
            known = name in jobs or self._cache.deleted_job(key, name, study_uid=prepared.owner.uid) is not None
            if known or entry.run.pool not in pools:
                continue
            loss = await self._create_job(prepared, entry.run)
            if loss is not None:
                refused.append(EndedRun(run=entry.run, started_at=loss.ended_at, observation=loss))
        return tuple(refused)

    def with_reasons(self, ended: Sequence[EndedRun]) -> tuple[EndedRun, ...]:
        """Return ends of runs with the reasons for which the study ended them."""
        return tuple(self._endings.with_reason(entry) for entry in ended)

    def forget_ended(self, key: StudyKey, history: History, ended: Sequence[EndedRun]) -> None:
        """Drop what is known of runs whose end is remembered."""
        live = {entry.run.name for entry in history.active}
        self._cache.forget_ended(key, live)
        self._signs.forget_all_but(key, live)
        self._gatherer.forget_all_but(key, live)
        for entry in ended:
            self._endings.forget(entry.run.name)

    def forget_study(self, key: StudyKey) -> None:
        """Drop what is known of a study that is gone."""
        self._cache.forget_study(key)
        self._signs.forget_all_but(key, ())
        self._gatherer.forget_all_but(key, ())

    async def _observe_run(
        self, key: StudyKey, prepared: ResolvedStudy, run: Run, jobs: Jobs, now: datetime
    ) -> SeenRun:
        job = self._job_of(key, prepared, run.name, jobs)
        if job is None:  # remembered, and its Job not yet created
            waiting = Waiting(reason="Starting", detail="its Job is about to be created")
            return SeenRun(observation=waiting, held_since=None)
        seen = self._look_at(key, prepared, run, job, now)
        if isinstance(seen.observation, Lost) or self._endings.is_overdue(run.name, now):
            await self._read(key, run.name)
            job = self._job_of(key, prepared, run.name, self.existing(key, prepared.owner)) or job
            seen = self._look_at(key, prepared, run, job, now)
        observation = seen.observation
        if isinstance(observation, Finished):
            pod = None if seen.pod is None else seen.pod.name
            gathered = await self._gatherer.gather(key, observation, pod, prepared.study.metrics)
            if gathered is None:
                return replace(seen, observation=Running(phase=Phase.DONE))
            observation = gathered
        # Only now: with an end that moves on at each look the sources would be asked anew each time.
        if isinstance(observation, Finished | Lost) and seen.held_until is not None:
            observation = replace(observation, ended_at=max(observation.ended_at, seen.held_until))
        living = self._cache.living_pods(key, job.uid)
        return replace(seen, observation=self._endings.observe(run.name, observation, living, now))

    def _job_of(self, key: StudyKey, prepared: ResolvedStudy, run: str, jobs: Jobs) -> JobRecord | None:
        """Return the Job of a run, also one that is gone; None if it never had one that is known."""
        return jobs.get(run) or self._cache.deleted_job(key, run, study_uid=prepared.owner.uid)

    def _look_at(self, key: StudyKey, prepared: ResolvedStudy, run: Run, job: JobRecord, now: datetime) -> SeenRun:
        """Return how a run is, by what is known of its Job and its Pods."""
        limits = phase_limits(prepared.document.spec, run, self._settings)
        seen = observe_run(run, job, self._cache.pods(key, job.uid), self._signs.of(run.name), limits, now)
        if isinstance(seen.observation, Finished | Lost) or run.name in self.existing(key, prepared.owner):
            return seen
        lost = Lost(reason=DELETED, detail="somebody deleted the Job of this run", ended_at=now)
        return replace(seen, observation=lost)

    async def _read(self, key: StudyKey, run: str) -> None:
        """Take in a run's Job and its Pods as they are now: a run is not given up on the word of watches alone.

        They are not in step: after an outage that of Jobs can be a minute ahead of that of Pods, and the Pod that has
        the result was never heard of; or the other way round.
        """
        with suppress(KubeNotFoundError):  # gone, or not made yet
            self._cache.see_job(parse_job(await self._client.get_job(key.namespace, run)))
        pods, listed_at = await self._client.list_pods_of_run(key.namespace, run)
        self._cache.replace_pods_of_run(key, run, pods, listed_at)

    async def _create_job(self, prepared: ResolvedStudy, run: Run) -> Lost | None:
        """Create the Job of `run`, or find that it exists; return why it cannot be."""
        owner = prepared.owner
        try:
            created = await self._client.create_job(job_of(prepared, run, self._settings))
        except KubeExistsError:
            created = await self._client.get_job(owner.namespace, run.name)
        except KubeForbiddenError:
            raise  # we are at fault, not the run
        except KubeRefusedError as error:
            return refusal(error, self._clock())
        job = parse_job(created)
        self._cache.see_job(job)
        if job.study_uid != owner.uid:
            detail = f"a Job named {run.name} exists and belongs to somebody else; delete it"
            return Lost(reason="JobRefused", detail=detail, ended_at=self._clock())
        return None

    async def _delete(self, job: JobRecord) -> None:
        if not job.deleting:
            await self._client.delete_job(job.namespace, job.name, uid=job.uid)

    def _holds_devices(self, key: StudyKey, prepared: ResolvedStudy, run: str, jobs: Jobs) -> bool:
        job = self._job_of(key, prepared, run, jobs)
        return job is not None and hold_devices(self._cache.living_pods(key, job.uid))

    def _over(self, key: StudyKey, prepared: ResolvedStudy, run: str, jobs: Jobs) -> frozenset[str]:
        """Return the uids of a run's Pods that have ended."""
        job = self._job_of(key, prepared, run, jobs)
        pods = () if job is None else self._cache.pods(key, job.uid)
        return frozenset(pod.uid for pod in pods if has_ended(pod))

    def _has_exited(self, key: StudyKey, run: str) -> bool:
        """Say whether the newest pod has come to its own end; one that was taken away is replaced by the Job."""
        newest = self._cache.newest_pod(key, run)
        return newest is not None and newest.disrupted is None and has_ended(newest)
