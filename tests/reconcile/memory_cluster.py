"""A cluster in memory: the objects of an API server, with versions, selectors, preconditions and deletion.

It answers as an API server does, by the request's method and path. What its watches tell, it tells at once. Objects are
never changed in place: each version is a value of its own.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from factories.studies import START

Body = Mapping[str, Any]
Json = dict[str, Any]
Answer = tuple[int, Body]  # the code, and the body
Plural = Literal["throughputstudies", "jobs", "pods", "nodes", "configmaps", "events", "workloads"]
Key = tuple[str, str | None, str]  # plural, namespace, name
Watcher = Callable[[str, Body, bool], None]  # the plural, the object, and whether it is gone
PLURALS: tuple[Plural, ...] = get_args(Plural)
NAMESPACE = "serving"
STUDY = "study"
_ENDED = ("Succeeded", "Failed")


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = START
        self.passed_s = 0.0  # what a monotonic clock shows

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        self.passed_s += seconds

    def jump(self, seconds: float) -> None:
        """Set the clock to another time, while none passes."""
        self.now += timedelta(seconds=seconds)

    def stamp(self) -> str:
        """Return the time as the API server writes it."""
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request to the API server; `plural` is the kind of the object, `part` a subresource of it."""

    method: str
    plural: str
    namespace: str | None = None
    name: str | None = None
    part: str | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    body: Body = field(default_factory=dict)

    @property
    def said(self) -> str:
        """Return the method and the kind, for tests to compare."""
        return f"{self.method} {self.plural}{'' if self.part is None else '/' + self.part}"


class MemoryCluster:
    """The objects of a cluster, by kind, namespace and name."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.created: list[tuple[str, str]] = []  # the kind and name of each object, in the order of their creation
        self._objects: dict[Key, Body] = {}
        self._watchers: list[Watcher] = []
        self._version = 100
        self._uids = 0

    def watch(self, watcher: Watcher) -> None:
        """Tell this watcher of every change from now on."""
        self._watchers.append(watcher)

    def answer(self, request: Request) -> Answer:
        """Carry out a request of a client; without Workloads the cluster has no Kueue."""
        if request.plural == "workloads" and not self.all("workloads"):
            return refusal(404, "NotFound", "the server could not find the requested resource")
        if request.method == "POST":
            return self._answer_create(request)
        return (200, self._list(request)) if request.name is None else self._answer_about(request, request.name)

    def all(self, plural: Plural) -> list[Body]:
        """Return the objects of a kind, the oldest first."""
        return [body for key, body in self._objects.items() if key[0] == plural]

    def get(self, plural: Plural, name: str = STUDY, *, namespace: str = NAMESPACE) -> Body:
        """Return an object."""
        return self._objects[plural, namespace if _namespace(plural) else None, name]

    def find(self, plural: Plural, name: str = STUDY) -> Body | None:
        """Return an object, None where there is none of that name."""
        return self._objects.get((plural, _namespace(plural), name))

    def create(self, plural: Plural, body: Body) -> Body:
        """Create an object, as a user does."""
        self._uids += 1
        metadata = {
            "uid": f"{self._uids:08d}-uid",
            "creationTimestamp": self.clock.stamp(),
            "generation": 1,
            **body["metadata"],
        }
        key = (plural, metadata.get("namespace", NAMESPACE) if _namespace(plural) else None, metadata["name"])
        self.created.append((plural, metadata["name"]))
        return self._store(key, {**body, "metadata": metadata})

    def patch(self, plural: Plural, name: str, changes: Body) -> Body:
        """Merge changes into an object, as a user does; None removes a key."""
        key = (plural, _namespace(plural), name)
        return self._change(key, self._objects[key], changes)

    def change(self, name: str = STUDY, **spec: object) -> Body:
        """Merge changes into the spec of a study."""
        return self.patch("throughputstudies", name, {"spec": spec})

    def delete(self, plural: Plural, name: str = STUDY) -> None:
        """Delete an object in the background, as kubectl does by default; a finalizer holds it."""
        key = (plural, _namespace(plural), name)
        known = self._objects[key]
        if known["metadata"].get("finalizers"):
            self._mark_deleted(key, known)
        else:
            self.remove(plural, name)

    def remove(self, plural: Plural, name: str) -> None:
        """Take an object away, and what it owns."""
        key = (plural, _namespace(plural), name)
        known = self._objects.pop(key)
        gone = {**known, "metadata": {**known["metadata"], "resourceVersion": self._next_version()}}
        self._tell(key, gone, deleted=True)
        for owned, body in self._owned_by(known["metadata"]["uid"]):
            if plural == "jobs":
                self._end_pod(owned, body)
            else:
                self.remove(owned[0], owned[2])  # type: ignore[arg-type]
        self._collect()

    def orphan(self, job: str) -> None:
        """Delete a Job without its Pods, as `kubectl delete --cascade=orphan` does."""
        key = ("jobs", NAMESPACE, job)
        for owned, body in list(self._owned_by(self._objects[key]["metadata"]["uid"])):
            self._change(owned, body, {"metadata": {"ownerReferences": None}})
        self._mark_deleted(key, self._objects[key])
        self.remove("jobs", job)

    def _answer_about(self, request: Request, name: str) -> Answer:
        key = (request.plural, request.namespace, name)
        known = self._objects.get(key)
        if known is None:
            return refusal(404, "NotFound", f'{request.plural} "{name}" not found')
        match request.method:
            case "GET":
                return 200, known
            case "PATCH":
                return self._answer_change(key, known, request.body)
            case "PUT":
                return self._answer_change(key, known, request.body, only=request.part)
            case _:
                return self._answer_delete(key, known, request.body)

    def _answer_create(self, request: Request) -> Answer:
        plural, name = request.plural, request.body["metadata"]["name"]
        if (plural, request.namespace, name) in self._objects:
            return refusal(409, "AlreadyExists", f'{plural} "{name}" already exists')
        return 201, self.create(plural, request.body)  # type: ignore[arg-type]

    def _answer_change(self, key: Key, known: Body, changes: Body, *, only: str | None = None) -> Answer:
        wanted, metadata = changes.get("metadata") or {}, known["metadata"]
        if any(wanted.get(field, metadata[field]) != metadata[field] for field in ("resourceVersion", "uid")):
            return refusal(409, "Conflict", "the object has been modified")
        if known.get("immutable") and "data" in changes:
            return refusal(422, "Invalid", "data: Forbidden: field is immutable when `immutable` is set")
        if only is not None:
            return 200, self._write(key, known, {**known, only: changes[only]})
        others = {name: part for name, part in changes.items() if name != "metadata"}
        metadata = {name: part for name, part in wanted.items() if name in {"labels", "annotations", "ownerReferences"}}
        if "ownerReferences" in metadata:  # merged by uid, as a strategic merge patch does
            uids = {owner["uid"] for owner in metadata["ownerReferences"]}
            kept = [owner for owner in known["metadata"].get("ownerReferences", ()) if owner["uid"] not in uids]
            metadata["ownerReferences"] = [*kept, *metadata["ownerReferences"]]
        return 200, self._change(key, known, {**others, **({"metadata": metadata} if metadata else {})})

    def _answer_delete(self, key: Key, known: Body, options: Body) -> Answer:
        uid = options.get("preconditions", {}).get("uid", known["metadata"]["uid"])
        if uid != known["metadata"]["uid"]:
            return refusal(409, "Conflict", "the UID in the precondition does not match")
        if options.get("propagationPolicy") == "Foreground":
            self._mark_deleted(key, known)
            for owned, body in self._owned_by(known["metadata"]["uid"]):
                self._end_pod(owned, body)
            self._collect()
        elif key[0] == "pods":
            self._end_pod(key, known)
        else:
            self.delete(key[0], key[2])  # type: ignore[arg-type]
        return 200, {"kind": "Status", "status": "Success"}

    def _list(self, request: Request) -> Body:
        wanted = (request.plural, request.namespace)
        found = [
            body for (plural, where, _), body in self._objects.items() if wanted in {(plural, where), (plural, None)}
        ]
        items = [body for body in found if _is_selected(body, request.query)]
        return {"metadata": {"resourceVersion": str(self._version)}, "items": items}

    def _change(self, key: Key, known: Body, changes: Body) -> Body:
        return self._write(key, known, merge(known, changes))

    def _write(self, key: Key, known: Body, body: Body) -> Body:
        """Store a version that differs; a change of the spec is a new generation."""
        if body == known:
            return known
        changed = body.get("spec") != known.get("spec")
        metadata = body["metadata"]
        return self._store(key, {**body, "metadata": {**metadata, "generation": metadata["generation"] + changed}})

    def _store(self, key: Key, body: Body) -> Body:
        stored = {**body, "metadata": {**body["metadata"], "resourceVersion": self._next_version()}}
        self._objects[key] = stored
        self._tell(key, stored, deleted=False)
        return stored

    def _tell(self, key: Key, body: Body, *, deleted: bool) -> None:
        for watcher in self._watchers:
            watcher(key[0], body, deleted)

    def _next_version(self) -> str:
        self._version += 1
        return str(self._version)

    def _mark_deleted(self, key: Key, known: Body) -> None:
        self._change(key, known, {"metadata": {"deletionTimestamp": self.clock.stamp()}})

    def _owned_by(self, uid: str) -> Iterator[tuple[Key, Body]]:
        for key, body in list(self._objects.items()):
            if any(owner["uid"] == uid for owner in body["metadata"].get("ownerReferences", ())):
                yield key, body

    def _end_pod(self, key: Key, pod: Body) -> None:
        """Take away a Pod that is not at work; one that is has to let go of its devices first."""
        if pod["status"]["phase"] in _ENDED or "nodeName" not in pod["spec"]:
            self._objects.pop(key)
            gone = {**pod, "metadata": {**pod["metadata"], "resourceVersion": self._next_version()}}
            self._tell(key, gone, deleted=True)
        elif "deletionTimestamp" not in pod["metadata"]:
            self._mark_deleted(key, pod)

    def _collect(self) -> None:
        """Take away the Jobs that are deleted in the foreground and whose Pods are gone; a finalizer holds one."""
        for job in self.all("jobs"):
            metadata = job["metadata"]
            is_held = bool(metadata.get("finalizers"))
            if "deletionTimestamp" in metadata and not is_held and not list(self._owned_by(metadata["uid"])):
                self.remove("jobs", metadata["name"])


def refusal(code: int, reason: str, message: str) -> Answer:
    """Return the answer of an API server that refuses."""
    return code, {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code}


def merge(known: Any, changes: Any) -> Any:  # noqa: ANN401 - JSON
    """Return JSON with a merge patch applied."""
    if not isinstance(known, Mapping) or not isinstance(changes, Mapping):
        return changes
    merged = {name: merge(known.get(name), part) for name, part in changes.items() if part is not None}
    return {name: part for name, part in known.items() if name not in changes} | merged


def _namespace(plural: str) -> str | None:
    return None if plural == "nodes" else NAMESPACE


def _is_selected(body: Body, query: Mapping[str, str]) -> bool:
    labels = body["metadata"].get("labels") or {}
    wanted = [pair.partition("=") for pair in query.get("labelSelector", "").split(",") if pair]
    field, _, value = query.get("fieldSelector", "").partition("=")
    found = {"metadata.name": body["metadata"]["name"], "involvedObject.uid": body.get("involvedObject", {}).get("uid")}
    is_about = not field or found[field] == value
    return is_about and all(labels.get(name) == text if equals else name in labels for name, equals, text in wanted)
