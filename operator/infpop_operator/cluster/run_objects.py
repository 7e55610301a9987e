"""What is true of a study's Jobs and Pods, whatever another client did to them.

The watches are filtered by a label, so what they lack may exist all the same: it is read by name. What another client
altered of a Job is written back, and the study says what it was. A Pod whose Job was deleted without it is deleted, and
counts in the budget until it has released its devices.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import (
    KubeConflictError,
    KubeForbiddenError,
    KubeNotFoundError,
    KubeRefusedError,
)
from infpop_operator.adapters.kube.job_manifest import owner_reference
from infpop_operator.adapters.kube.record_parsing import parse_job
from infpop_operator.adapters.kube.records import JobRecord, PodRecord
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.context import ReconcileContext
from infpop_operator.cluster.events import StudyEvent, count_gpus
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.resolve import owner_of
from infpop_operator.cluster.study_memory import StudyMemory
from infpop_operator.core.model import HeldGPUs

_log = logging.getLogger(__name__)

_PATIENCE = timedelta(seconds=5)  # between what the Job controller counts and what the watch of Pods reports
_SEARCH_PAUSE = timedelta(seconds=10)  # a search lists all Pods of a namespace
_RESTORED_AT_MOST = 3  # times for one Job: a policy or a controller may alter it again each time
_NO_UID = "unknown"


class RunObjects:
    """Reads, restores and counts the Jobs and Pods of studies."""

    def __init__(self, *, client: KubeClient, cache: Cache) -> None:
        self._client = client
        self._cache = cache

    async def refresh(self, context: ReconcileContext) -> tuple[StudyEvent, ...]:
        """Read what the watches lost or do not report, and restore what was altered; return what to tell the user.

        Raises:
            KubeError: a request failed, so nothing is known that a decision could be based on.
        """
        jobs = await self._read_unwatched(context.key)
        if self._is_pod_missing(context, jobs):
            await self.search(context)
        return (*await self._restore(context), *self._altered_pods(context))

    async def read(self, key: StudyKey, run: str) -> None:
        """Read a run's Job and its Pods from the API server into the cache.

        The watches are not synchronised: after an outage, the watch of Jobs can be a minute ahead of the watch of Pods
        or behind it, and then the cache lacks the Pod that has the result.
        """
        await self._read_job(key, run)
        pods, listed_at = await self._client.list_pods_of_run(key.namespace, run)
        self._cache.replace_pods_of_run(key, run, pods, listed_at)
        await asyncio.gather(*(self._read_pod(key, name) for name in self._cache.unwatched(key)[1]))

    async def find(self, context: ReconcileContext, run: str) -> None:
        """Read the Job of a recorded run of which the cache has none; if it has Pods without one, it was deleted.

        The Pods are searched for once, because no Pod appears without a Job. A quota may refuse the Job for days.
        """
        await self._read_job(context.key, run)
        if any(job.run == run for job in self._cache.jobs(context.key, study_uid=context.uid)):
            return
        if run not in context.memory.searched:
            await self.search(context)
            context.memory.searched.add(run)
        pods = [pod for pod in self._existing_pods(context) if pod.run == run]
        if pods:
            self._cache.see_job(_stand_in(context, run, pods[0]))
            self._cache.read_job(context.key, run, None, self._cache.doubts(context.key))

    async def search(self, context: ReconcileContext) -> None:
        """List all Pods of the namespace, whatever their labels, and keep those of the study.

        The listing by label of `read` lacks the Pod of a run whose label was removed before the Pod was ever seen.
        """
        context.memory.searched_at = context.now
        pods, _ = await self._client.list_pods_in(context.key.namespace)
        for pod in pods:
            if pod.study == context.key.name:
                self._cache.see_pod(pod)

    async def delete_orphans(self, context: ReconcileContext) -> tuple[StudyEvent, ...]:
        """Delete the Pods whose Job is gone, after reading that it is; return what to tell the user."""
        for run in {pod.run for pod in self._orphans(context) if pod.run is not None}:
            await self._read_job(context.key, run)
        return tuple([event for pod in self._orphans(context) for event in await self._delete_pod(context, pod)])

    def held(self, context: ReconcileContext) -> tuple[HeldGPUs, ...]:
        """Return the GPUs that the Pods of each run hold, or may get because no Job has them any more."""
        orphans = {pod.uid for pod in self._orphans(context)}
        by_run: defaultdict[str | None, list[PodRecord]] = defaultdict(list)
        for pod in self._existing_pods(context):
            if pod.holds_devices or pod.uid in orphans:
                by_run[pod.run].append(pod)
        return tuple(
            HeldGPUs(run=run, pool=pods[0].pool, gpu_count=sum(pod.gpu_count for pod in pods), holder=_holder(pods))
            for run, pods in by_run.items()
        )

    async def free_strays(self, key: StudyKey) -> None:
        """Drop what no longer exists of a study that is gone; delete its Jobs that nothing owns, so nothing else would.

        Raises:
            KubeError: a request failed.
        """
        await self._read_unwatched(key)
        self._cache.drop_study(key)
        jobs = [job for job in self._cache.stray_jobs(key) if any(each.label is None for each in job.altered)]
        if not jobs:
            return
        study = await self._client.find_study(key.namespace, key.name)
        uid = None if study is None else study["metadata"]["uid"]
        for job in jobs:
            if job.study_uid != uid and not job.deleting:
                await self.delete_job(job, None)

    async def delete_job(self, job: JobRecord, memory: StudyMemory | None) -> None:
        """Delete a Job unless its deletion was requested already.

        A policy may protect it. The study goes on then, and owes the user an Event about it: the GPUs of its Pods count
        in the budget until they have ended.

        Raises:
            KubeForbiddenError: the operator lacks the right, so that it cannot do its work at all.
        """
        if job.deleting or job.study is None:
            return
        key = StudyKey(job.namespace, job.study)
        doubts = self._cache.doubts(key)
        try:
            exists = await self._client.delete_job(job.namespace, job.name, uid=job.uid)
        except KubeForbiddenError:
            raise
        except KubeRefusedError as error:
            _note_refusal(job, memory, error)
            return
        if not exists:
            self._cache.read_job(key, job.name, None, doubts)

    def _existing_pods(self, context: ReconcileContext) -> tuple[PodRecord, ...]:
        return self._cache.existing_pods(context.key, study_uid=context.uid)

    async def _read_unwatched(self, key: StudyKey) -> tuple[str, ...]:
        """Read the Jobs and Pods that the watches lost or do not report; return the names of these Jobs."""
        jobs, pods = self._cache.unwatched(key)
        await asyncio.gather(*(self._read_job(key, name) for name in jobs))
        await asyncio.gather(*(self._read_pod(key, name) for name in pods))
        return jobs

    async def _read_job(self, key: StudyKey, name: str) -> None:
        doubts = self._cache.doubts(key)
        try:
            found = parse_job(await self._client.get_job(key.namespace, name))
        except KubeNotFoundError:  # deleted, or not created yet
            found = None
        self._cache.read_job(key, name, found, doubts)

    async def _read_pod(self, key: StudyKey, name: str) -> None:
        doubts = self._cache.doubts(key)
        self._cache.read_pod(key, name, await self._client.find_pod(key.namespace, name), doubts)

    def _is_pod_missing(self, context: ReconcileContext, read: Sequence[str]) -> bool:
        """Return whether there may be Pods that no watch reports.

        So it is when a Job is gone whose deletion did not wait for its Pods, and when the Job controller counts more
        Pods than are known.
        """
        for name in read:
            gone = self._cache.deleted_job(context.key, name, study_uid=context.uid)
            if gone is not None and not gone.in_foreground and gone.end is None:
                return True
        searched_at = context.memory.searched_at
        if searched_at is not None and abs(context.now - searched_at) < _SEARCH_PAUSE:
            return False
        return any(
            job.pods > len(self._cache.living_pods(context.key, job.uid))
            and context.now - (job.started_at or job.created_at) > _PATIENCE
            for job in self._cache.living_jobs(context.key)
        )

    async def _restore(self, context: ReconcileContext) -> list[StudyEvent]:
        events = []
        for job in self._cache.jobs(context.key, study_uid=context.uid):
            tried = context.memory.restored.get(job.uid, 0)
            if job.altered and not job.deleting and tried < _RESTORED_AT_MOST:
                context.memory.restored[job.uid] = tried + 1
                outcome = await self._restore_job(context, job)
                if outcome is not None:
                    texts = ", ".join(each.text for each in job.altered)
                    events.append(
                        StudyEvent(type="Warning", reason="JobAltered", message=f"Job {job.name}: {texts}; {outcome}")
                    )
        return events

    async def _restore_job(self, context: ReconcileContext, job: JobRecord) -> str | None:
        """Write back what was altered of a Job; return what came of it, None if the Job is gone."""
        changed = {each.label: each.value for each in job.altered if each.label is not None}
        metadata: dict[str, object] = {"uid": job.uid, "labels": changed}
        if any(each.label is None for each in job.altered):
            metadata["ownerReferences"] = [owner_reference(owner_of(context.body))]
        doubts = self._cache.doubts(context.key)
        try:
            found = parse_job(await self._client.restore_job(job.namespace, job.name, metadata))
        except (KubeNotFoundError, KubeConflictError):
            return None
        except KubeRefusedError as error:
            return f"not restored, the operator reads it by its name: {error}"
        self._cache.read_job(context.key, job.name, found, doubts)
        return "altered again at once, the operator reads it by its name" if found.altered else "restored"

    def _altered_pods(self, context: ReconcileContext) -> list[StudyEvent]:
        """Return an Event for each Pod that was altered; the operator may not write Pods."""
        events = []
        for pod in self._existing_pods(context):
            fact = ("altered", pod.uid)
            if pod.altered and not pod.has_ended and fact not in context.memory.reported:
                context.memory.reported.add(fact)
                texts = ", ".join(each.text for each in pod.altered)
                message = f"Pod {pod.name}: {texts}; the operator reads it by its name"
                events.append(StudyEvent(type="Warning", reason="PodAltered", message=message))
        return events

    def _orphans(self, context: ReconcileContext) -> list[PodRecord]:
        """Return the Pods of the study that are to end because no Job of the study has them any more."""
        jobs = self._cache.jobs(context.key, study_uid=context.uid)
        uids, runs = {job.uid for job in jobs}, {job.run for job in jobs}
        return [
            pod
            for pod in self._existing_pods(context)
            if pod.study_uid == context.uid
            and not (pod.deleting or pod.has_ended)
            and (pod.job_uid not in uids if pod.job_uid is not None else pod.run not in runs)
        ]

    async def _delete_pod(self, context: ReconcileContext, pod: PodRecord) -> list[StudyEvent]:
        try:
            await self._client.delete_pod(pod.namespace, pod.name, uid=pod.uid)
        except KubeRefusedError as error:  # the right is missing, or a policy protects the Pod
            fact = ("not deleted", pod.uid)
            if fact in context.memory.reported:
                return []
            context.memory.reported.add(fact)
            message = f"Pod {pod.name}: its Job was deleted before it, and the API server refuses to delete it: {error}"
            return [StudyEvent(type="Warning", reason="PodLeft", message=message)]
        await self._read_pod(context.key, pod.name)
        message = f"Pod {pod.name}: its Job was deleted before it, so the operator deleted it"
        return [StudyEvent(type="Warning", reason="PodLeft", message=message)]


def _note_refusal(job: JobRecord, memory: StudyMemory | None, error: KubeRefusedError) -> None:
    """Log that a Job cannot be deleted, and owe the user an Event, once for each Job."""
    fact = ("not deleted", job.uid)
    if memory is not None and fact in memory.reported:
        return
    message = f"Job {job.name}: it is to end, and the API server refuses to delete it: {error}"
    _log.warning("%s", message)
    if memory is not None and memory.owed is not None:
        memory.reported.add(fact)
        memory.owed = (*memory.owed, StudyEvent(type="Warning", reason="JobLeft", message=message))


def _stand_in(context: ReconcileContext, run: str, pod: PodRecord) -> JobRecord:
    """Return a record of the deleted Job of a run, as far as its Pod knows it."""
    return JobRecord(
        namespace=context.key.namespace,
        name=run,
        uid=pod.job_uid or f"{_NO_UID} {run}",
        resource_version="0",
        study=context.key.name,
        study_uid=context.uid,
        run=run,
        created_at=pod.created_at,
        started_at=pod.created_at,
    )


def _holder(pods: Sequence[PodRecord]) -> str:
    gpus = sum(pod.gpu_count for pod in pods)
    names = ", ".join(f"{pod.name} on node {pod.node}" if pod.node else pod.name for pod in pods)
    verb = "is" if gpus == 1 else "are"
    return f"{count_gpus(gpus)} {verb} still held by Pod{'s' if len(pods) > 1 else ''} {names}"
