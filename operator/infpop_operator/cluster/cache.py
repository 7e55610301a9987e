"""What is known of the cluster: studies, and small records of Jobs, Pods and Nodes.

Fed by watch events, by our own writes, by a full listing now and then, and by a look at one run before it is given up.
It is ours and not kopf's index for three reasons: a Job that we created is in it before its event comes back (or the
next decision would not know of it), a listing repairs it (after a broken watch kopf lists again but never says what
went away), and it is tested without a cluster. Of two versions of an object the newer one wins, whichever way it came.

A Job or Pod that went away is kept as a tombstone until its run's end was remembered: only so can a deleted Job be
told from one that was never created, and the last word of a pod be heard. Of a study or Node that went away it is
known when, until a newer listing: a listing or an answer that is older must not bring it back.
"""

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from infpop_operator.adapters.kube.records import Body, JobRecord, NodeRecord, PodRecord
from infpop_operator.cluster.keys import StudyKey

R = TypeVar("R", JobRecord, PodRecord)
K = TypeVar("K", StudyKey, str)


@dataclass(slots=True)
class _Held(Generic[R]):
    """A record, and whether its object is gone by now."""

    record: R
    gone: bool = False


@dataclass(slots=True)
class _Children:
    """Jobs and Pods of one study, by uid."""

    jobs: dict[str, _Held[JobRecord]] = field(default_factory=dict)
    pods: dict[str, _Held[PodRecord]] = field(default_factory=dict)


class _Tombstones(Generic[K]):
    """When objects went away: the version at which each was gone."""

    def __init__(self) -> None:
        self._gone_at: dict[K, str] = {}

    def add(self, key: K, version: str) -> None:
        """Remember that what had this key is gone."""
        self._gone_at[key] = version

    def covers(self, key: K, version: str) -> bool:
        """Say whether this is a version of what is gone."""
        gone_at = self._gone_at.get(key)
        return gone_at is not None and not _is_newer(version, gone_at)

    def drop_before(self, listed_at: str) -> None:
        """Drop what a listing knew to be gone: whatever comes now is newer."""
        self._gone_at = {key: version for key, version in self._gone_at.items() if not _is_newer(listed_at, version)}


class Cache:
    """Everything that is known; each `see_*` returns the studies that have to be looked at."""

    def __init__(self) -> None:
        self._studies: dict[StudyKey, Body] = {}
        self._gone_studies: _Tombstones[StudyKey] = _Tombstones()
        self._children: defaultdict[StudyKey, _Children] = defaultdict(_Children)
        self._nodes: dict[str, NodeRecord] = {}
        self._gone_nodes: _Tombstones[str] = _Tombstones()
        self._node_list: tuple[NodeRecord, ...] | None = None

    def studies(self) -> tuple[StudyKey, ...]:
        """Return the studies that exist."""
        return tuple(self._studies)

    def study(self, key: StudyKey) -> Body | None:
        """Return the newest known version of a study, None if there is none."""
        return self._studies.get(key)

    def nodes(self) -> tuple[NodeRecord, ...]:
        """Return the nodes that exist; the same tuple until one of them changes."""
        if self._node_list is None:
            self._node_list = tuple(self._nodes.values())
        return self._node_list

    def jobs(self, key: StudyKey, *, study_uid: str) -> tuple[JobRecord, ...]:
        """Return the Jobs that exist and that this very study owns."""
        held = self._children[key].jobs.values()
        return tuple(each.record for each in held if not each.gone and each.record.study_uid == study_uid)

    def living_jobs(self, key: StudyKey) -> tuple[JobRecord, ...]:
        """Return the Jobs that the study of this name owns, that exist, and that have not ended."""
        study = self._studies.get(key)
        owned = () if study is None else self.jobs(key, study_uid=_uid(study))
        return tuple(job for job in owned if job.end is None)

    def deleted_job(self, key: StudyKey, run: str, *, study_uid: str) -> JobRecord | None:
        """Return the Job that a run had before it went away, None if it never had one that is known."""
        held = (each for each in self._children[key].jobs.values() if each.gone)
        return next((each.record for each in held if _is_of(each.record, run, study_uid)), None)

    def pods(self, key: StudyKey, job_uid: str) -> tuple[PodRecord, ...]:
        """Return the Pods of a Job, also those that are gone, oldest first."""
        pods = [pod for pod in self._pods(key) if pod.job_uid == job_uid]
        return tuple(sorted(pods, key=lambda pod: (pod.created_at, pod.name)))

    def newest_pod(self, key: StudyKey, run: str) -> PodRecord | None:
        """Return the Pod of a run that was made last, also where it is gone; but one that stays comes first."""
        pods = (pod for pod in self._pods(key) if pod.run == run)
        return max(pods, key=lambda pod: (not pod.withdrawn, pod.created_at, pod.name), default=None)

    def living_pods(self, key: StudyKey, job_uid: str) -> tuple[PodRecord, ...]:
        """Return the Pods of a Job that exist."""
        return tuple(pod for pod in self.pods(key, job_uid) if not pod.gone)

    def _pods(self, key: StudyKey) -> Iterator[PodRecord]:
        for held in self._children[key].pods.values():
            yield replace(held.record, gone=True) if held.gone else held.record

    def see_study(self, body: Body, *, deleted: bool = False) -> tuple[StudyKey, ...]:
        """Take in a version of a study."""
        key = StudyKey(body["metadata"]["namespace"], body["metadata"]["name"])
        known = self._studies.get(key)
        if deleted:
            self._gone_studies.add(key, _version(body))
            if known is None or _uid(known) != _uid(body):
                return ()  # known to be gone, or another one has its name by now
            del self._studies[key]
        elif self._gone_studies.covers(key, _version(body)):
            return ()
        elif known is not None and not _is_newer(_version(body), _version(known)):
            return ()  # what we wrote ourselves
        else:
            self._studies[key] = body
        return (key,)

    def see_written(self, body: Body) -> None:
        """Take in the answer to a write of ours; the study may be gone by now, or another one have its name."""
        known = self._studies.get(StudyKey(body["metadata"]["namespace"], body["metadata"]["name"]))
        if known is not None and _uid(known) == _uid(body):
            self.see_study(body)

    def see_job(self, job: JobRecord, *, deleted: bool = False) -> tuple[StudyKey, ...]:
        """Take in a version of a Job."""
        if job.study is None:
            return ()  # labelled as ours by somebody else
        key = StudyKey(job.namespace, job.study)
        return (key,) if _see(self._children[key].jobs, job, deleted=deleted) else ()

    def see_pod(self, pod: PodRecord, *, deleted: bool = False) -> tuple[StudyKey, ...]:
        """Take in a version of a Pod."""
        if pod.study is None:
            return ()  # labelled as ours by somebody else
        key = StudyKey(pod.namespace, pod.study)
        return (key,) if _see(self._children[key].pods, pod, deleted=deleted) else ()

    def see_node(self, node: NodeRecord, *, deleted: bool = False) -> tuple[StudyKey, ...]:
        """Take in a version of a Node; heartbeats and other changes that mean nothing to us wake nobody."""
        before = self._nodes.get(node.name)
        if deleted:
            self._gone_nodes.add(node.name, node.resource_version)
            return self._drop_node(before) if before is not None and before.uid == node.uid else ()
        if self._gone_nodes.covers(node.name, node.resource_version):
            return ()
        if before is not None and not _is_newer(node.resource_version, before.resource_version):
            return ()
        if before is None or _differ(before, node):
            self._node_list = None
        self._nodes[node.name] = node
        return () if before is not None and _same_hardware(before, node) else self.studies()

    def _drop_node(self, node: NodeRecord) -> tuple[StudyKey, ...]:
        del self._nodes[node.name]
        self._node_list = None
        return self.studies()

    def replace_studies(self, bodies: Iterable[Body], listed_at: str) -> tuple[StudyKey, ...]:
        """Take in a listing of all studies: what it lacks is gone."""
        self._gone_studies.drop_before(listed_at)
        listed = {StudyKey(body["metadata"]["namespace"], body["metadata"]["name"]): body for body in bodies}
        for body in listed.values():
            self.see_study(body)
        gone = [
            key for key, body in self._studies.items() if key not in listed and _is_newer(listed_at, _version(body))
        ]
        for key in gone:
            del self._studies[key]
            self._gone_studies.add(key, listed_at)
        return (*self._studies, *gone)

    def replace_jobs(self, jobs: Iterable[JobRecord], listed_at: str) -> tuple[StudyKey, ...]:
        """Take in a listing of all our Jobs: what it lacks is gone."""
        return self._replace(list(jobs), listed_at, lambda children: children.jobs, self.see_job)

    def replace_pods(self, pods: Iterable[PodRecord], listed_at: str) -> tuple[StudyKey, ...]:
        """Take in a listing of all our Pods: what it lacks is gone."""
        return self._replace(list(pods), listed_at, lambda children: children.pods, self.see_pod)

    def replace_pods_of_run(
        self, key: StudyKey, run: str, pods: Sequence[PodRecord], listed_at: str
    ) -> tuple[StudyKey, ...]:
        """Take in a listing of one run's Pods: what it lacks is gone."""
        held = {uid: each for uid, each in self._children[key].pods.items() if each.record.run == run}
        touched = [key for pod in pods for key in self.see_pod(pod)]
        for each in _unlisted(held, {pod.uid for pod in pods}, listed_at):
            each.gone = True
            touched.append(key)
        return tuple(dict.fromkeys(touched))

    def replace_nodes(self, nodes: Iterable[NodeRecord], listed_at: str) -> tuple[StudyKey, ...]:
        """Take in a listing of all nodes: what it lacks is gone."""
        self._gone_nodes.drop_before(listed_at)
        listed = {node.name: node for node in nodes}
        gone = [
            replace(node, resource_version=listed_at)
            for node in self._nodes.values()
            if node.name not in listed and _is_newer(listed_at, node.resource_version)
        ]
        moved = [*(self.see_node(node) for node in listed.values()), *(self.see_node(n, deleted=True) for n in gone)]
        return self.studies() if any(moved) else ()

    def drop_ended_runs(self, key: StudyKey, live: Container[str | None]) -> None:
        """Drop what went away of every run but the live ones: their end is remembered."""
        children = self._children[key]
        for held in (children.jobs, children.pods):
            for uid in [uid for uid, each in held.items() if each.gone and each.record.run not in live]:
                del held[uid]

    def drop_study(self, key: StudyKey) -> None:
        """Drop what went away of a study that is gone itself."""
        children = self._children.pop(key, None)
        if children is None:
            return
        left = _Children(
            jobs={uid: each for uid, each in children.jobs.items() if not each.gone},
            pods={uid: each for uid, each in children.pods.items() if not each.gone},
        )
        if left.jobs or left.pods:
            self._children[key] = left

    def _replace(
        self,
        listed: list[R],
        listed_at: str,
        choose: Callable[[_Children], dict[str, _Held[R]]],
        see: Callable[[R], tuple[StudyKey, ...]],
    ) -> tuple[StudyKey, ...]:
        touched = [key for record in listed for key in see(record)]
        uids = {record.uid for record in listed}
        for key, children in list(self._children.items()):
            for held in _unlisted(choose(children), uids, listed_at):
                held.gone = True
                touched.append(key)
        return tuple(dict.fromkeys(touched))


def _unlisted(held: Mapping[str, _Held[R]], uids: set[str], listed_at: str) -> Iterator[_Held[R]]:
    for uid, each in held.items():
        if uid not in uids and not each.gone and _is_newer(listed_at, each.record.resource_version):
            yield each


def _see(held: dict[str, _Held[R]], record: R, *, deleted: bool) -> bool:
    """Take in a record; say whether anything that we look at is different now."""
    known = held.get(record.uid)
    if known is None:
        held[record.uid] = _Held(record, gone=deleted)
        return True
    gone, before = known.gone, known.record
    known.gone = gone or deleted
    if _is_newer(record.resource_version, before.resource_version):
        known.record = record
    return known.gone != gone or _differ(before, known.record)


def _differ(before: Any, after: Any) -> bool:  # noqa: ANN401 - two records of a kind
    """Say whether two versions of an object differ in more than the version: often in nothing that we read."""
    return bool(replace(before, resource_version=after.resource_version) != after)


def _is_of(job: JobRecord, run: str, study_uid: str) -> bool:
    return job.run == run and job.study_uid == study_uid


def _same_hardware(before: NodeRecord, after: NodeRecord) -> bool:
    """Compare what pools are made of; feature discovery writes a new timestamp every minute."""

    def of(node: NodeRecord) -> NodeRecord:
        labels = {key: value for key, value in node.labels.items() if not key.endswith(".timestamp")}
        return replace(node, labels=labels, resource_version="")

    return of(before) == of(after)


def _is_newer(version: str, than: str) -> bool:
    """Compare resource versions, which are numbers of one sequence (Kubernetes 1.35 says so, etcd always did)."""
    return int(version) > int(than) if version.isdigit() and than.isdigit() else version != than


def _version(body: Body) -> str:
    return str(body["metadata"].get("resourceVersion", ""))


def _uid(body: Body) -> str:
    return str(body["metadata"].get("uid", ""))
