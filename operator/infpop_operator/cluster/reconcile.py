"""Look at one study and bring the cluster one step closer to what its owner wants.

Level-based: whatever happened, the step starts from what is. The order makes a crash harmless at any point: ends and
starts are remembered in one request before any Job is created; a remembered run without a Job gets one; a Job that
exists already is the one that was wanted; a finished Job gets a time to live only after the status tells its result.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import KubeEndingError, KubeExistsError, KubeRefusedError
from infpop_operator.adapters.kube.job_manifest import Owner
from infpop_operator.adapters.kube.journal_store import JournalStore
from infpop_operator.adapters.kube.node_pools import RememberedMatches
from infpop_operator.adapters.kube.observe import SeenRun, observe_run
from infpop_operator.adapters.kube.records import JobRecord, PodRecord, parse_job
from infpop_operator.api.status import Standing, refused_status, to_status, waiting_status
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.events import Recorder, broken_runs, transitions
from infpop_operator.cluster.jobs import job_of, phase_limits, refusal
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.prepare import Prepared, prepare_study
from infpop_operator.cluster.publish import publish
from infpop_operator.cluster.settled import Sight, sight_of
from infpop_operator.cluster.signs import Signs
from infpop_operator.cluster.step import (
    Step,
    ends_of_stopped,
    leftovers,
    plan_step,
    with_devices_held,
)
from infpop_operator.core.decide import decide
from infpop_operator.core.errors import StudyError
from infpop_operator.core.model import (
    DELETED,
    Decision,
    EndedRun,
    Finished,
    History,
    Lost,
    Observation,
    Run,
    StartedRun,
    Verdict,
    Waiting,
)
from infpop_operator.core.ports import MetricsSource
from infpop_operator.core.sources import gather
from infpop_operator.settings import Settings

_log = logging.getLogger(__name__)

Body = Mapping[str, Any]
Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at one study: the object as it was read, and the time."""

    key: StudyKey
    body: Body
    previous: StudyStatus | None
    now: datetime

    @property
    def generation(self) -> int:
        """Return the generation of the spec that is looked at."""
        return int(self.body["metadata"]["generation"])


class Reconciler:
    """Looks at studies, one at a time each; everything that it keeps in memory can be lost at any time."""

    def __init__(
        self,
        *,
        client: KubeClient,
        cache: Cache,
        signs: Signs,
        recorder: Recorder,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._client = client
        self._cache = cache
        self._signs = signs
        self._sources: tuple[MetricsSource, ...] = (signs,)
        self._settings = settings
        self._clock = clock
        self._store = JournalStore(client)
        self._recorder = recorder
        self._match = RememberedMatches()
        self._stopping: dict[str, tuple[str, datetime]] = {}  # run -> why, and since when its Job is told to go
        self._unfinished: set[StudyKey] = set()
        self._told_at: dict[StudyKey, datetime] = {}
        self._settled: dict[StudyKey, Sight] = {}
        self._unchecked: set[StudyKey] = set()

    def unfinished(self) -> tuple[StudyKey, ...]:
        """Return the studies that go on by themselves, so that time alone may change something for them."""
        return tuple(self._unfinished)

    def look_after_published(self) -> None:
        """Have what ended studies published looked after at their next look: no watch tells that it is gone."""
        self._unchecked = set(self._settled)

    async def reconcile(self, key: StudyKey) -> float | None:
        """Look at one study; return when to look again although nothing happened (seconds), None for not at all.

        Raises:
            InfPopError: the API server did not do its part; looking again is safe at any time.
        """
        body = self._cache.study(key)
        if body is None or body["metadata"].get("deletionTimestamp"):
            self._forget(key)
            return None
        look = Look(key=key, body=body, previous=_previous(body), now=self._clock())
        try:
            prepared = prepare_study(body, self._cache.nodes(), look.previous, self._settings, match=self._match)
        except StudyError as error:
            self._unfinished.discard(key)
            status = refused_status(error.problems, look.now, generation=look.generation, previous=look.previous)
            await self._tell(look, status)
            return None
        try:
            if prepared.study.pools:
                sight = sight_of(body, prepared, self._cache.jobs(key, study_uid=prepared.owner.uid))
                if self._settled.get(key) != sight:
                    return await self._step(look, prepared, sight)
                await self._look_after_published(look, prepared)
                return None
            self._unfinished.add(key)
            await self._tell(look, _waiting(look, prepared))
        except KubeEndingError:
            self._unfinished.discard(key)
            _log.info("study %s: its namespace is being deleted", key)
        return None

    async def _step(self, look: Look, prepared: Prepared, sight: Sight) -> float | None:
        key, now = look.key, look.now
        owner, study = prepared.owner, prepared.study
        existing = self._cache.jobs(key, study_uid=owner.uid)
        jobs = {job.run: job for job in existing if job.run is not None}
        remembered = await self._remembered(owner, jobs, now)
        before, observations = await self._observe(key, prepared, remembered, jobs, now)
        decision = await asyncio.to_thread(decide, study, before, observations, now)
        step = plan_step(before, decision, jobs, self._given_up(now))
        await self._stop(step, decision, now)
        ended = tuple(self._with_reason(entry) for entry in step.ended)
        starts = tuple(StartedRun(run=run, started_at=now) for run in step.start)
        history = await self._store.record(owner, (*step.rounds, *ended, *starts), now)
        refused = await self._create_jobs(key, prepared, history, jobs)
        history = await self._store.record(owner, refused, now)
        decision = replace(decision, history=with_devices_held(history, {e.run.name: e for e in before.active}))
        self._note_activity(key, prepared, decision)
        status = _status(look, prepared, decision, observations)
        await self._tell(look, status)
        await self._recorder.tell(look.body, broken_runs((*ended, *refused)))
        if decision.verdict is Verdict.SUCCEEDED:
            await self._publish(look, prepared, status)
        await self._clean_up(prepared, history, existing)
        self._cache.forget_ended(key, {entry.run.name for entry in history.active})
        for entry in (*ended, *refused):
            self._stopping.pop(entry.run.name, None)
            self._signs.forget(entry.run.name)
        self._settle(look, status, sight)
        return 0.0 if refused else _seconds_until(decision.wake_at, now)

    async def _remembered(self, owner: Owner, jobs: Mapping[str, JobRecord], now: datetime) -> History:
        """Return the history. Where it does not know a Job, somebody else went on with the study: it is read anew.

        A start is remembered before its Job is made, so what is read after a Job was seen knows that Job.
        """
        history = await self._store.load(owner, now)
        known = {entry.run.name for entry in history.active} | {entry.run.name for entry in history.ended}
        if jobs.keys() <= known:
            return history
        self._store.forget(owner.uid)
        return await self._store.load(owner, now)

    async def _observe(
        self, key: StudyKey, prepared: Prepared, history: History, jobs: Mapping[str, JobRecord], now: datetime
    ) -> tuple[History, dict[str, Observation]]:
        """Return what is seen of the live runs, and the history with the time since when they hold their devices."""
        observations: dict[str, Observation] = {}
        held: dict[str, StartedRun] = {}
        for entry in history.active:
            seen = await self._observe_run(key, prepared, entry.run, jobs, now)
            observations[entry.run.name] = seen.observation
            held[entry.run.name] = replace(entry, started_at=min(now, seen.held_since or now))
        reasons = {run: reason for run, (reason, _) in self._stopping.items()}
        return with_devices_held(history, held), ends_of_stopped(observations, reasons)

    async def _observe_run(
        self, key: StudyKey, prepared: Prepared, run: Run, jobs: Mapping[str, JobRecord], now: datetime
    ) -> SeenRun:
        existing = jobs.get(run.name)
        job = existing or self._cache.deleted_job(key, run.name, study_uid=prepared.owner.uid)
        if job is None:  # remembered, and its Job not yet created
            waiting = Waiting(reason="Starting", detail="its Job is about to be created")
            return SeenRun(observation=waiting, held_since=None)
        limits = phase_limits(prepared.document.spec, run)
        seen = observe_run(run, job, self._cache.pods(key, job.uid), self._signs.of(run.name), limits, now)
        if existing is None and not isinstance(seen.observation, Finished | Lost):
            gone = Lost(reason=DELETED, detail="somebody deleted the Job of this run", ended_at=now)
            return replace(seen, observation=gone)
        if isinstance(seen.observation, Finished):
            return replace(seen, observation=await self._gather(key, seen.observation))
        return seen

    async def _gather(self, key: StudyKey, finished: Finished) -> Finished:
        """Compare the run's own numbers with those of every metrics source."""
        run = finished.result.run
        found = [
            (source.name, await source.samples(namespace=key.namespace, study=key.name, run=run))
            for source in self._sources
        ]
        return gather(finished, found)

    async def _stop(self, step: Step, decision: Decision, now: datetime) -> None:
        """Tell the Jobs of runs that nobody wants any more to go; each is told once."""
        reasons = {stop.run: stop.reason for stop in decision.stop}
        for job in step.stopping:
            self._stopping.setdefault(job.name, (reasons[job.name], now))
            if not job.deleting:
                await self._client.delete_job(job.namespace, job.name, uid=job.uid)

    def _given_up(self, now: datetime) -> frozenset[str]:
        limit = timedelta(seconds=self._settings.stop_seconds)
        return frozenset(run for run, (_, since) in self._stopping.items() if now - since > limit)

    def _with_reason(self, entry: EndedRun) -> EndedRun:
        """Remember of a run that we ended why, also where its end was seen only later."""
        if entry.stopped is not None or entry.run.name not in self._stopping:
            return entry
        return replace(entry, stopped=self._stopping[entry.run.name][0])

    async def _create_jobs(
        self, key: StudyKey, prepared: Prepared, history: History, jobs: Mapping[str, JobRecord]
    ) -> tuple[EndedRun, ...]:
        """Create the Jobs that live runs lack; return the runs that the API server refused."""
        refused: list[EndedRun] = []
        for entry in history.active:
            name = entry.run.name
            known = name in jobs or self._cache.deleted_job(key, name, study_uid=prepared.owner.uid) is not None
            if known or entry.run.pool not in {pool.name for pool in prepared.study.pools}:
                continue
            loss = await self._create_job(prepared, entry.run)
            if loss is not None:
                refused.append(EndedRun(run=entry.run, started_at=loss.ended_at, observation=loss))
        return tuple(refused)

    async def _create_job(self, prepared: Prepared, run: Run) -> Lost | None:
        """Create the Job of `run`, or find that it exists; return why it cannot be."""
        owner = prepared.owner
        try:
            created = await self._client.create_job(job_of(prepared, run, self._settings))
        except KubeExistsError:
            created = await self._client.get_job(owner.namespace, run.name)
        except KubeRefusedError as error:
            return refusal(error, self._clock())
        job = parse_job(created)
        self._cache.see_job(job)
        if job.study_uid != owner.uid:
            detail = f"a Job named {run.name} exists and belongs to somebody else; delete it"
            return Lost(reason="JobRefused", detail=detail, ended_at=self._clock())
        return None

    async def _tell(self, look: Look, status: StudyStatus) -> None:
        """Write the status where it differs from what is there, and tell transitions as Events."""
        if status == look.previous or self._can_wait(look, status):
            return
        written = await self._client.replace_study_status(look.body, dump_status(status))
        self._told_at[look.key] = look.now
        self._cache.see_study(written)
        await self._recorder.tell(look.body, transitions(look.previous, status))

    def _can_wait(self, look: Look, status: StudyStatus) -> bool:
        """Say whether only details changed so soon after the last write that the next tick can tell them."""
        told_at = self._told_at.get(look.key)
        pause = timedelta(seconds=self._settings.status_pause_seconds)
        if told_at is None or look.previous is None or look.now - told_at >= pause:
            return False
        return _without_details(status) == _without_details(look.previous)

    async def _publish(self, look: Look, prepared: Prepared, status: StudyStatus) -> None:
        if status.best is not None:
            told = await publish(self._client, prepared, status.best)
            await self._recorder.tell(look.body, () if told is None else (told,))

    async def _look_after_published(self, look: Look, prepared: Prepared) -> None:
        if look.key in self._unchecked and look.previous is not None:
            if any(known.type == "Succeeded" and known.status == "True" for known in look.previous.conditions):
                await self._publish(look, prepared, look.previous)
            self._unchecked.discard(look.key)

    async def _clean_up(self, prepared: Prepared, history: History, jobs: Sequence[JobRecord]) -> None:
        """End what nobody waits for, and let the cluster remove Jobs whose results are safe in the status.

        Only of the Jobs that were seen before the history was read: a newer one may be of a run that is not in it.
        """
        key = StudyKey(prepared.owner.namespace, prepared.owner.name)
        exited = frozenset(job.uid for job in jobs if has_exited(self._cache.pods(key, job.uid)))
        living, ended = leftovers(jobs, history, exited)
        for job in living:
            await self._client.delete_job(job.namespace, job.name, uid=job.uid)
        for job in ended:
            seconds = prepared.document.spec.ttl_seconds_after_finished
            await self._client.set_job_ttl(job.namespace, job.name, seconds)

    def _note_activity(self, key: StudyKey, prepared: Prepared, decision: Decision) -> None:
        goes_on = decision.verdict in (Verdict.WORKING, Verdict.WAITING) or prepared.problems
        (self._unfinished.add if goes_on else self._unfinished.discard)(key)

    def _settle(self, look: Look, status: StudyStatus, sight: Sight) -> None:
        """Leave a study alone whose search has ended and whose look changed nothing; its journal leaves memory."""
        if look.key in self._unfinished or status != look.previous or sight.open_jobs:
            self._settled.pop(look.key, None)
            return
        self._settled[look.key] = sight
        self._store.forget(look.body["metadata"]["uid"])

    def _forget(self, key: StudyKey) -> None:
        self._settled.pop(key, None)
        self._unfinished.discard(key)
        self._told_at.pop(key, None)
        self._cache.forget_study(key)
        self._store.forget_study(key.namespace, key.name)


def has_exited(pods: Sequence[PodRecord]) -> bool:
    """Say whether the newest pod has come to its own end; one that was taken away is replaced by the Job."""
    if not pods or pods[-1].disrupted is not None:
        return False
    container = pods[-1].container
    return container is not None and container.exit_code is not None


def _previous(body: Body) -> StudyStatus | None:
    """Return the status as it was read; what another version wrote and we cannot read is as good as none."""
    try:
        return StudyStatus.model_validate(body["status"]) if "status" in body else None
    except ValidationError:
        return None


def _waiting(look: Look, prepared: Prepared) -> StudyStatus:
    """Return the status of a study of which no pool can be tuned, now or ever before."""
    reason, message = _nothing_to_tune(prepared)
    standing = Standing(
        generation=look.generation, pool_problems=prepared.problems, suspended=prepared.document.spec.suspend
    )
    return waiting_status(
        reason, message, look.now, generation=look.generation, previous=look.previous, standing=standing
    )


def _status(look: Look, prepared: Prepared, decision: Decision, observations: Mapping[str, Observation]) -> StudyStatus:
    live = {entry.run.name for entry in decision.history.active}
    standing = Standing(
        generation=look.generation,
        observations={run: seen for run, seen in observations.items() if run in live},
        pool_problems=prepared.problems,
        pool_nodes=prepared.pool_nodes,
        suspended=prepared.study.suspended,
    )
    return to_status(prepared.study, decision, look.now, previous=look.previous, standing=standing)


def _without_details(status: StudyStatus) -> StudyStatus:
    """Return the status without what moves often and decides nothing: phases, and the words of conditions."""
    conditions = [condition.model_copy(update={"reason": "", "message": ""}) for condition in status.conditions]
    return status.model_copy(update={"runs": [], "conditions": conditions})


def dump_status(status: StudyStatus) -> Body:
    """Return the status as the API server gets it."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _nothing_to_tune(prepared: Prepared) -> tuple[str, str]:
    """Return why no pool of the study can be tuned now: the first pool's reason, and what is to be said of each."""
    reason = next(iter(prepared.problems.values())).reason
    message = "; ".join(f"pool {name}: {problem.message}" for name, problem in prepared.problems.items())
    return reason, message


def _seconds_until(instant: datetime | None, now: datetime) -> float | None:
    return None if instant is None else max(0.0, (instant - now).total_seconds())
