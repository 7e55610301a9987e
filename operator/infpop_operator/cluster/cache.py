"""The operator's cache of cluster objects: studies, and small records of Jobs, Pods and Nodes.

It is fed by watch events, by the operator's own writes, by periodic full listings, and by reads of one run before the
operator gives that run up. It replaces kopf's index for three reasons: it has a Job that the operator created before
the watch event arrives (otherwise the next decision would not know the Job); a listing repairs it (after a broken watch
kopf lists again but never reports what was deleted); and tests need no cluster. The newer of two versions of an object
wins, no matter how it arrived.

The watches and listings of Jobs and Pods are filtered by a label, and anyone may change labels. So what disappears from
them is not deleted: it is in doubt until a read by its name answers, and exists until then. Only a Job or Pod that is
done needs no read. One whose labels are altered is read by name again in each pass, because no watch reports it.

A deleted Job or Pod stays as a tombstone until the end of its run is recorded: this distinguishes a deleted Job from
one that was never created, and keeps the final result of a Pod. For a deleted study or Node, the cache keeps the
version of its deletion until a newer listing, so that an older listing or response cannot bring the object back.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from infpop_operator.adapters.kube.records import Body, JobRecord, NodeRecord, PodRecord
from infpop_operator.cluster.held_records import (
    Children,
    Held,
    R,
    Tombstones,
    differ,
    is_newer,
    store,
    store_answer,
    unlisted,
)
from infpop_operator.cluster.keys import StudyKey


class Cache:
    """The newest known version of each object; each `see_*` and `replace_*` returns the studies to reconcile."""

    def __init__(self) -> None:
        self._studies: dict[StudyKey, Body] = {}
        self._gone_studies: Tombstones[StudyKey] = Tombstones()
        self._children: dict[StudyKey, Children] = {}  # with an entry only for a study that has any
        self._nodes: dict[str, NodeRecord] = {}
        self._gone_nodes: Tombstones[str] = Tombstones()
        self._node_list: tuple[NodeRecord, ...] | None = None

    def studies(self) -> tuple[StudyKey, ...]:
        """Return the studies that exist."""
        return tuple(self._studies)

    def study(self, key: StudyKey) -> Body | None:
        """Return the newest known version of a study, None if the study does not exist."""
        return self._studies.get(key)

    def node(self, name: str) -> NodeRecord | None:
        """Return a Node by name, None if it is not known."""
        return self._nodes.get(name)

    def nodes(self) -> tuple[NodeRecord, ...]:
        """Return the Nodes that exist; the same tuple until one of them changes."""
        if self._node_list is None:
            self._node_list = tuple(self._nodes.values())
        return self._node_list

    def jobs(self, key: StudyKey, *, study_uid: str) -> tuple[JobRecord, ...]:
        """Return the existing Jobs that the study with this uid owns."""
        held = self._of(key).jobs.values()
        return tuple(each.record for each in held if not each.gone and each.record.study_uid == study_uid)

    def living_jobs(self, key: StudyKey) -> tuple[JobRecord, ...]:
        """Return the existing Jobs of the current study with this name that have not ended."""
        study = self._studies.get(key)
        owned = () if study is None else self.jobs(key, study_uid=_uid(study))
        return tuple(job for job in owned if job.end is None)

    def deleted_job(self, key: StudyKey, run: str, *, study_uid: str) -> JobRecord | None:
        """Return the deleted Job of a run; None if the cache knows of none."""
        held = (each for each in self._of(key).jobs.values() if each.gone)
        return next((each.record for each in held if _is_of(each.record, run, study_uid)), None)

    def pods(self, key: StudyKey, job_uid: str) -> tuple[PodRecord, ...]:
        """Return the Pods of a Job, including deleted ones and those that lost their owner, oldest first."""
        job = self._of(key).jobs.get(job_uid)
        run = None if job is None else job.record.run
        pods = [pod for pod in self._pods(key) if pod.job_uid == job_uid or (pod.job_uid is None and pod.run == run)]
        return tuple(sorted(pods, key=lambda pod: (pod.created_at, pod.name)))

    def newest_pod(self, key: StudyKey, run: str) -> PodRecord | None:
        """Return the newest Pod of a run, including deleted ones; a Pod that is not withdrawn takes precedence."""
        pods = (pod for pod in self._pods(key) if pod.run == run)
        return max(pods, key=lambda pod: (not pod.withdrawn, pod.created_at, pod.name), default=None)

    def living_pods(self, key: StudyKey, job_uid: str) -> tuple[PodRecord, ...]:
        """Return the existing Pods of a Job."""
        return tuple(pod for pod in self.pods(key, job_uid) if not pod.gone)

    def existing_pods(self, key: StudyKey, *, study_uid: str) -> tuple[PodRecord, ...]:
        """Return the existing Pods that the operator, as far as they say, created for the study with this uid."""
        return tuple(pod for pod in self._pods(key) if not pod.gone and pod.study_uid in {None, study_uid})

    def unwatched(self, key: StudyKey) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the names of the study's Jobs and Pods that have to be read: a watch lost or does not report them."""
        children = self._of(key)
        jobs = {each.record.name for each in children.jobs.values() if each.is_unwatched}
        pods = {each.record.name for each in children.pods.values() if each.is_unwatched}
        return (tuple(sorted(jobs)), tuple(sorted(pods)))

    def stray_keys(self) -> tuple[StudyKey, ...]:
        """Return the keys of studies that do not exist although the cache has Jobs or Pods of theirs."""
        return tuple(key for key in self._children if key not in self._studies)

    def stray_jobs(self, key: StudyKey) -> tuple[JobRecord, ...]:
        """Return the existing Jobs under a study's name that have not ended, whichever study of that name made them."""
        return tuple(
            each.record
            for each in self._of(key).jobs.values()
            if not each.gone and each.record.end is None and each.record.study_uid is not None
        )

    def _of(self, key: StudyKey) -> Children:
        """Return the Jobs and Pods of a study, to read or change those that are known."""
        return self._children.get(key) or Children()

    def _pods(self, key: StudyKey) -> Iterator[PodRecord]:
        for held in self._of(key).pods.values():
            yield replace(held.record, gone=True) if held.gone else held.record

    def see_study(self, body: Body, *, deleted: bool = False) -> tuple[StudyKey, ...]:
        """Store a version of a study."""
        key = StudyKey(body["metadata"]["namespace"], body["metadata"]["name"])
        known = self._studies.get(key)
        if deleted:
            self._gone_studies.add(key, _version(body))
            if known is None or _uid(known) != _uid(body):
                return ()  # already removed, or the name now belongs to another study
            del self._studies[key]
        elif self._gone_studies.covers(key, _version(body)):
            return ()
        elif known is not None and not is_newer(_version(body), _version(known)):
            return ()  # the event of the operator's own write
        else:
            self._studies[key] = body
        return (key,)

    def see_written(self, body: Body) -> None:
        """Store the response to the operator's own write, unless the study was deleted or replaced meanwhile."""
        known = self._studies.get(StudyKey(body["metadata"]["namespace"], body["metadata"]["name"]))
        if known is not None and _uid(known) == _uid(body):
            self.see_study(body)

    def see_job(self, job: JobRecord, *, deleted: bool = False) -> tuple[StudyKey, ...]:
        """Store a version of a Job; `deleted` is what a watch says, which may only have lost it."""
        if job.study is None:
            return ()  # has the label of the operator, but was not created by it
        key = StudyKey(job.namespace, job.study)
        return (key,) if store(self._children.setdefault(key, Children()).jobs, job, deleted=deleted) else ()

    def see_pod(self, pod: PodRecord, *, deleted: bool = False) -> tuple[StudyKey, ...]:
        """Store a version of a Pod; `deleted` is what a watch says, which may only have lost it."""
        if pod.study is None:
            return ()  # has the label of the operator, but was not created by it
        key = StudyKey(pod.namespace, pod.study)
        held = self._children.setdefault(key, Children()).pods
        known = held.get(pod.uid)
        if known is not None and pod.job_uid is None:  # its Job was deleted without it, or its owner was removed
            pod = replace(pod, job_uid=known.record.job_uid)
        return (key,) if store(held, pod, deleted=deleted) else ()

    def doubts(self, key: StudyKey) -> Mapping[str, int]:
        """Return how often each Job and Pod of the study was doubted, by uid: a read that begins now answers these."""
        children = self._of(key)
        return {uid: each.doubts for held in (children.jobs, children.pods) for uid, each in held.items()}

    def read_job(self, key: StudyKey, name: str, found: JobRecord | None, doubts: Mapping[str, int]) -> None:
        """Store the answer of a read of one Job by name; None means that there is none.

        Args:
            key: of the study.
            name: of the Job.
            found: the Job of that name.
            doubts: what `doubts` returned before the read, which says nothing about an object that was not known then.
        """
        store_answer(self._of(key).jobs, name, found, doubts)
        if found is not None:
            self.see_job(found)

    def read_pod(self, key: StudyKey, name: str, found: PodRecord | None, doubts: Mapping[str, int]) -> None:
        """Store the answer of a read of one Pod by name, as `read_job` does."""
        store_answer(self._of(key).pods, name, found, doubts)
        if found is not None:
            self.see_pod(found)

    def see_node(self, node: NodeRecord, *, deleted: bool = False) -> tuple[StudyKey, ...]:
        """Store a version of a Node; heartbeats and other irrelevant changes cause no reconcile."""
        before = self._nodes.get(node.name)
        if deleted:
            self._gone_nodes.add(node.name, node.resource_version)
            return self._drop_node(before) if before is not None and before.uid == node.uid else ()
        if self._gone_nodes.covers(node.name, node.resource_version):
            return ()
        if before is not None and not is_newer(node.resource_version, before.resource_version):
            return ()
        if before is None or differ(before, node):
            self._node_list = None
        self._nodes[node.name] = node
        return () if before is not None and _same_hardware(before, node) else self.studies()

    def _drop_node(self, node: NodeRecord) -> tuple[StudyKey, ...]:
        del self._nodes[node.name]
        self._node_list = None
        return self.studies()

    def replace_studies(self, bodies: Iterable[Body], listed_at: str) -> tuple[StudyKey, ...]:
        """Store a listing of all studies; a known study that it lacks was deleted."""
        self._gone_studies.drop_before(listed_at)
        listed = {StudyKey(body["metadata"]["namespace"], body["metadata"]["name"]): body for body in bodies}
        for body in listed.values():
            self.see_study(body)
        gone = [key for key, body in self._studies.items() if key not in listed and is_newer(listed_at, _version(body))]
        for key in gone:
            del self._studies[key]
            self._gone_studies.add(key, listed_at)
        return (*self._studies, *gone)

    def replace_jobs(self, jobs: Iterable[JobRecord], listed_at: str) -> tuple[StudyKey, ...]:
        """Store a listing of all Jobs with the operator's label; a known Job that it lacks is in doubt."""
        return self._replace(list(jobs), listed_at, lambda children: children.jobs, self.see_job)

    def replace_pods(self, pods: Iterable[PodRecord], listed_at: str) -> tuple[StudyKey, ...]:
        """Store a listing of all Pods with the operator's label; a known Pod that it lacks is in doubt."""
        return self._replace(list(pods), listed_at, lambda children: children.pods, self.see_pod)

    def replace_pods_of_run(
        self, key: StudyKey, run: str, pods: Sequence[PodRecord], listed_at: str
    ) -> tuple[StudyKey, ...]:
        """Store a listing of one run's Pods by label; a known Pod that it lacks is in doubt."""
        held = {uid: each for uid, each in self._of(key).pods.items() if each.record.run == run}
        touched = [key for pod in pods for key in self.see_pod(pod)]
        lost = [each.lose() for each in unlisted(held, {pod.uid for pod in pods}, listed_at)]
        if any(lost):
            touched.append(key)
        return tuple(dict.fromkeys(touched))

    def replace_nodes(self, nodes: Iterable[NodeRecord], listed_at: str) -> tuple[StudyKey, ...]:
        """Store a listing of all Nodes; a known Node that it lacks was deleted."""
        self._gone_nodes.drop_before(listed_at)
        listed = {node.name: node for node in nodes}
        gone = [
            replace(node, resource_version=listed_at)
            for node in self._nodes.values()
            if node.name not in listed and is_newer(listed_at, node.resource_version)
        ]
        woken = [*(self.see_node(node) for node in listed.values()), *(self.see_node(n, deleted=True) for n in gone)]
        return self.studies() if any(woken) else ()

    def drop_ended_runs(self, key: StudyKey, live: Container[str | None]) -> None:
        """Drop the deleted Jobs and Pods of every run that is not in `live`: the end of those runs is recorded."""
        children = self._of(key)
        for held in (children.jobs, children.pods):
            for uid in [uid for uid, each in held.items() if each.gone and each.record.run not in live]:
                del held[uid]

    def drop_study(self, key: StudyKey) -> None:
        """Drop the deleted Jobs and Pods of a study that is deleted itself."""
        children = self._children.pop(key, None)
        if children is None:
            return
        left = Children(
            jobs={uid: each for uid, each in children.jobs.items() if not each.gone},
            pods={uid: each for uid, each in children.pods.items() if not each.gone},
        )
        if left.jobs or left.pods:
            self._children[key] = left

    def _replace(
        self,
        listed: list[R],
        listed_at: str,
        choose: Callable[[Children], dict[str, Held[R]]],
        see: Callable[[R], tuple[StudyKey, ...]],
    ) -> tuple[StudyKey, ...]:
        touched = [key for record in listed for key in see(record)]
        uids = {record.uid for record in listed}
        for key, children in list(self._children.items()):
            lost = [held.lose() for held in unlisted(choose(children), uids, listed_at)]
            if any(lost):
                touched.append(key)
        return tuple(dict.fromkeys(touched))


def _is_of(job: JobRecord, run: str, study_uid: str) -> bool:
    return job.run == run and job.study_uid == study_uid


def _same_hardware(before: NodeRecord, after: NodeRecord) -> bool:
    """Return whether two versions of a Node have the same hardware; its discovery timestamps change each minute."""

    def of(node: NodeRecord) -> NodeRecord:
        labels = {key: value for key, value in node.labels.items() if not key.endswith(".timestamp")}
        return replace(node, labels=labels, resource_version="")

    return of(before) == of(after)


def _version(body: Body) -> str:
    return str(body["metadata"].get("resourceVersion", ""))


def _uid(body: Body) -> str:
    return str(body["metadata"].get("uid", ""))
