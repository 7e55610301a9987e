"""What the cache knows of single objects: the newest version of each, and whether it is in doubt or deleted."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from infpop_operator.adapters.kube.records import JobRecord, PodRecord
from infpop_operator.cluster.keys import StudyKey

R = TypeVar("R", JobRecord, PodRecord)
K = TypeVar("K", StudyKey, str)


@dataclass(slots=True)
class Held(Generic[R]):
    """A record, and whether its object was deleted.

    `doubts` counts how often a watch or a listing lacked the object, `answered` the doubts that a read has answered.
    """

    record: R
    gone: bool = False
    doubts: int = 0
    answered: int = 0

    @property
    def is_doubted(self) -> bool:
        """Whether only a read by name says whether the object exists."""
        return not self.gone and self.doubts > self.answered

    @property
    def is_unwatched(self) -> bool:
        """Whether only a read by name says how the object is now."""
        return self.is_doubted or (not self.gone and bool(self.record.altered) and not self.record.is_done)

    def lose(self) -> bool:
        """Note that a watch or a listing lacks the object; return whether that is new."""
        if self.record.is_done:
            known, self.gone = self.gone, True
            return not known
        is_new = not self.gone and not self.is_doubted
        self.doubts += 1
        return is_new


@dataclass(slots=True)
class Children:
    """The Jobs and Pods of one study, by uid."""

    jobs: dict[str, Held[JobRecord]] = field(default_factory=dict)
    pods: dict[str, Held[PodRecord]] = field(default_factory=dict)


class Tombstones(Generic[K]):
    """The keys of deleted objects, each with the resource version of the deletion."""

    def __init__(self) -> None:
        self._gone_at: dict[K, str] = {}

    def add(self, key: K, version: str) -> None:
        """Remember that the object with this key was deleted at `version`."""
        self._gone_at[key] = version

    def covers(self, key: K, version: str) -> bool:
        """Return whether `version` of the object is not newer than its deletion."""
        gone_at = self._gone_at.get(key)
        return gone_at is not None and not is_newer(version, gone_at)

    def drop_before(self, listed_at: str) -> None:
        """Drop the deletions that a listing already reflects: every later event or response is newer."""
        self._gone_at = {key: version for key, version in self._gone_at.items() if not is_newer(listed_at, version)}


def unlisted(held: Mapping[str, Held[R]], uids: set[str], listed_at: str) -> Iterator[Held[R]]:
    """Yield the records whose objects exist, as far as is known, although a listing with these `uids` lacks them."""
    for uid, each in held.items():
        is_listed = uid in uids or (each.record.altered and not each.record.is_done)  # known to be missing there
        if not is_listed and not each.gone and is_newer(listed_at, each.record.resource_version):
            yield each


def store(held: dict[str, Held[R]], record: R, *, deleted: bool) -> bool:
    """Store a record; return whether anything that the operator reads has changed."""
    known = held.get(record.uid)
    if known is None:
        known = held[record.uid] = Held(record)
        if deleted:
            known.lose()
        return True
    before = known.record
    if is_newer(record.resource_version, before.resource_version):
        known.record = record
        known.answered = known.doubts  # it exists
    is_lost = deleted and known.lose()
    return is_lost or differ(before, known.record)


def store_answer(held: dict[str, Held[R]], name: str, found: R | None, doubts: Mapping[str, int]) -> None:
    """Store the answer of a read by name: only the object that was found exists, as it was found."""
    for uid, each in held.items():
        if each.record.name != name:
            continue
        if found is None or found.uid != uid:
            each.gone = each.gone or uid in doubts  # otherwise it was created or reported during the read
            continue
        each.answered = max(each.answered, doubts.get(uid, 0))
        # The event of an object that no longer has the label has the version of that change, and the content before it.
        if not is_newer(each.record.resource_version, found.resource_version):
            each.record = found


def differ(before: Any, after: Any) -> bool:  # noqa: ANN401 - two records of a kind
    """Return whether two versions differ in anything that the operator reads; often only the version differs."""
    return bool(replace(before, resource_version=after.resource_version) != after)


def is_newer(version: str, than: str) -> bool:
    """Compare resource versions: numbers of one sequence (guaranteed since Kubernetes 1.35, and always so in etcd)."""
    return int(version) > int(than) if version.isdigit() and than.isdigit() else version != than
