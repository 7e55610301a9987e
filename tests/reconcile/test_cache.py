"""The cluster cache: watch events, listings and answers that arrive out of order."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from factories.kube_objects import JOB_UID, OWNER, at, make_job, make_node, make_pod
from factories.study_documents import make_study_document
from infpop_operator.adapters.kube.records import JobEnd, JobRecord, PodRecord
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.keys import StudyKey

KEY = StudyKey(OWNER.namespace, OWNER.name)


def body(version: int, uid: str = "first") -> dict[str, Any]:
    """Return a version of the study."""
    found = make_study_document(OWNER.name, OWNER.namespace)
    found["metadata"] |= {"uid": uid, "resourceVersion": str(version)}
    return found


def uid_of(cache: Cache) -> str | None:
    """Return the uid of the cached study."""
    known = cache.study(KEY)
    return None if known is None else known["metadata"]["uid"]


def deleted_cache() -> Cache:
    """Return the cache after a study was created at version 7 and deleted at version 9."""
    cache = Cache()
    cache.see_study(body(7))
    assert cache.see_study(body(9), deleted=True) == (KEY,)
    return cache


def test_a_deleted_study_does_not_come_back() -> None:
    """Neither the answer to the operator's last write, nor a late event, nor an older listing restores it."""
    cache = deleted_cache()
    cache.see_written(body(8))
    assert cache.see_study(body(8)) == ()
    cache.replace_studies([body(8)], "8")
    assert cache.studies() == ()


def test_an_answer_does_not_bring_back_what_a_newer_listing_lacks() -> None:
    """If the watch was broken, only the listing shows the deletion."""
    cache = Cache()
    cache.see_study(body(7))
    assert cache.replace_studies([], "20") == (KEY,)
    cache.see_written(body(8))
    cache.see_study(body(8))
    assert cache.studies() == ()
    cache.replace_studies([], "30")
    cache.see_written(body(8))
    assert cache.studies() == ()


def test_a_study_of_the_same_name_is_another_one() -> None:
    """The new study is cached when it appears; late events of the old one change nothing."""
    cache = deleted_cache()
    assert cache.see_study(body(12, "second")) == (KEY,)
    cache.see_written(body(8))
    assert cache.see_study(body(9), deleted=True) == ()
    cache.replace_studies([body(8)], "8")
    assert uid_of(cache) == "second"


def test_a_study_of_the_same_name_may_be_seen_before_the_end_of_the_one_before() -> None:
    """A listing shows both changes; the deletion event that the watch delivers later belongs to the old study."""
    cache = Cache()
    cache.see_study(body(7))
    cache.replace_studies([body(12, "second")], "15")
    assert cache.see_study(body(9), deleted=True) == ()
    assert uid_of(cache) == "second"


@pytest.mark.parametrize("listed_at", ["8", "20"])
def test_our_own_write_is_known_before_its_event(listed_at: str) -> None:
    """The next reconcile must not see the old status, even if an older listing arrives in between."""
    cache = Cache()
    cache.see_study(body(7))
    cache.see_written(body(9))
    cache.replace_studies([body(7)], listed_at)
    known = cache.study(KEY)
    assert known is not None
    assert known["metadata"]["resourceVersion"] == "9"
    assert cache.see_study(body(9)) == ()


def test_an_older_listing_of_nodes_changes_nothing() -> None:
    """Watch events since then are newer: new labels, a removed Node, a new Node."""
    cache = Cache()
    labelled, gone, joined = make_node("n1"), make_node("n2"), make_node("n3")
    cache.see_node(replace(labelled, resource_version="10", labels={"new": "label"}))
    cache.see_node(replace(gone, resource_version="5"))
    cache.see_node(replace(gone, resource_version="11"), deleted=True)
    cache.see_node(replace(joined, resource_version="12"))
    before = cache.nodes()
    listing = [replace(node, resource_version="4") for node in (labelled, gone)]
    assert cache.replace_nodes(listing, "8") == ()
    assert cache.nodes() == before
    assert [node.name for node in before] == ["n1", "n3"]


def test_a_newer_listing_of_nodes_repairs() -> None:
    """After a broken watch, Nodes that the listing lacks are removed and those that it has are cached."""
    cache = Cache()
    cache.see_study(body(1))
    cache.see_node(replace(make_node("n1"), resource_version="5"))
    assert cache.replace_nodes([replace(make_node("n2"), resource_version="7")], "9") == (KEY,)
    assert [node.name for node in cache.nodes()] == ["n2"]


def test_a_node_that_left_the_watched_labels_may_come_back() -> None:
    """The watch reports it as deleted, and as the same Node when it has the labels again."""
    cache = Cache()
    node = make_node()
    cache.see_node(replace(node, resource_version="5"))
    cache.see_node(replace(node, resource_version="6"), deleted=True)
    assert cache.nodes() == ()
    cache.see_node(replace(node, resource_version="7"))
    assert [each.name for each in cache.nodes()] == ["n1"]


def test_a_listing_of_one_runs_pods_knows_which_are_in_doubt() -> None:
    """Pods of other runs are not in the listing and stay, as does a Pod that is newer than the listing."""
    cache = Cache()
    for uid, version, run in (("old", "5", "study-1"), ("new", "9", "study-1"), ("other", "5", "study-2")):
        cache.see_pod(make_pod(uid=uid, name=uid, resource_version=version, run=run))
    assert cache.replace_pods_of_run(KEY, "study-1", [], "7") == (KEY,)
    assert cache.unwatched(KEY) == ((), ("old",))
    assert cache.replace_pods_of_run(KEY, "study-1", [], "7") == ()
    assert cache.replace_pods_of_run(KEY, "study-1", [make_pod(uid="found", resource_version="8")], "8") == (KEY,)
    assert "found" in {pod.uid for pod in cache.living_pods(KEY, JOB_UID)}


def job(uid: str = JOB_UID, version: int = 5, **changes: object) -> JobRecord:
    """Return a Job of the study; its run has its name."""
    return make_job(uid=uid, resource_version=str(version), **changes)


def pod(uid: str, seconds: float, **changes: object) -> PodRecord:
    """Return a Pod of the study that was created `seconds` after its Job."""
    return make_pod(**({"uid": uid, "name": uid, "resource_version": "5", "created_at": at(seconds)} | changes))


def uids(records: Iterable[JobRecord | PodRecord]) -> list[str]:
    """Return the uids of records."""
    return [record.uid for record in records]


def newest(cache: Cache, run: str = "study-1") -> str | None:
    """Return the uid of a run's newest Pod."""
    found = cache.newest_pod(KEY, run)
    return None if found is None else found.uid


def test_the_newest_pod_is_the_one_that_was_created_last() -> None:
    """Only Pods of its own run count, in any order of arrival; if two were created in one second, the name decides."""
    cache = Cache()
    assert newest(cache) is None
    for each in (pod("b", 20), pod("a", 10), pod("c", 20), pod("other", 99, run="study-2")):
        cache.see_pod(each)
    assert (newest(cache), newest(cache, "study-2")) == ("c", "other")


@pytest.mark.parametrize("how", ["deleting", "deleted", "not listed"])
def test_a_pod_that_is_withdrawn_is_not_the_newest(how: str) -> None:
    """A Pod that is not being deleted comes first, even if it is older; otherwise the last one is the newest."""
    cache = Cache()
    cache.see_pod(pod("stays", 10))
    cache.see_pod(pod("withdrawn", 20, deleting=how == "deleting"))
    if how == "deleted":
        cache.read_pod(KEY, "withdrawn", None, cache.doubts(KEY))
    if how == "not listed":
        cache.replace_pods([pod("stays", 10)], "9")
        assert newest(cache) == "withdrawn"
        cache.read_pod(KEY, "withdrawn", None, cache.doubts(KEY))
    assert newest(cache) == "stays"
    cache.read_pod(KEY, "stays", None, cache.doubts(KEY))
    assert newest(cache) == "withdrawn"


def test_the_pods_of_a_job_come_oldest_first() -> None:
    """Deleted Pods are included and marked; Pods of another Job are not."""
    cache = Cache()
    for each in (pod("c", 20), pod("b", 20), pod("a", 10), pod("other", 5, job_uid="another")):
        cache.see_pod(each)
    cache.read_pod(KEY, "b", None, cache.doubts(KEY))
    assert uids(cache.pods(KEY, JOB_UID)) == ["a", "b", "c"]
    assert [each.gone for each in cache.pods(KEY, JOB_UID)] == [False, True, False]
    assert uids(cache.living_pods(KEY, JOB_UID)) == ["a", "c"]


def test_the_jobs_of_a_study_are_those_that_it_owns() -> None:
    """Not Jobs of another study with its name, nor deleted Jobs; a finished Job is included but not active."""
    cache = Cache()
    cache.see_study(body(1, OWNER.uid))
    ended = JobEnd(complete=True, reason="Complete", message="", at=at(9))
    gone = job("gone", name="gone")
    for each in (job("lives"), job("ended", end=ended), job("foreign", study_uid="another"), gone):
        cache.see_job(each)
    cache.read_job(KEY, "gone", None, cache.doubts(KEY))
    assert uids(cache.jobs(KEY, study_uid=OWNER.uid)) == ["lives", "ended"]
    assert uids(cache.living_jobs(KEY)) == ["lives"]


def test_without_the_study_no_job_is_active() -> None:
    """Its Jobs become active once the study is cached, or belong to another study."""
    cache = Cache()
    cache.see_job(job())
    assert cache.living_jobs(KEY) == ()
    cache.see_study(body(1, "another"))
    assert cache.living_jobs(KEY) == ()


def test_a_deleted_job_differs_from_one_that_was_never_created() -> None:
    """The run and the study identify a deleted Job; while a Job exists it is not deleted."""
    cache = Cache()
    cache.see_job(job())
    assert cache.deleted_job(KEY, "study-1", study_uid=OWNER.uid) is None
    cache.see_job(job(version=6), deleted=True)
    assert cache.deleted_job(KEY, "study-1", study_uid=OWNER.uid) is None
    cache.read_job(KEY, "study-1", None, cache.doubts(KEY))
    assert cache.deleted_job(KEY, "study-1", study_uid=OWNER.uid) == job(version=6)
    assert cache.deleted_job(KEY, "study-2", study_uid=OWNER.uid) is None
    assert cache.deleted_job(KEY, "study-1", study_uid="another") is None


@pytest.mark.parametrize("found", [None, job("before", name="study-1")], ids=["none", "the one before"])
def test_what_appears_during_a_read_is_not_gone(found: JobRecord | None) -> None:
    """`kubectl replace --force` deletes a Job and creates another: the answer may be older than its event."""
    cache = Cache()
    cache.see_job(job("before", name="study-1"))
    cache.see_job(job("before", name="study-1", version=6), deleted=True)
    doubts = cache.doubts(KEY)
    cache.see_job(job("after", name="study-1", version=7))
    cache.read_job(KEY, "study-1", found, doubts)
    assert "after" in uids(cache.jobs(KEY, study_uid=OWNER.uid))
    cache.read_job(KEY, "study-1", None, cache.doubts(KEY))
    assert cache.jobs(KEY, study_uid=OWNER.uid) == ()


def test_a_pod_that_appears_during_a_read_is_not_gone() -> None:
    """The answer that there is no such Pod may be older than its event."""
    cache = Cache()
    doubts = cache.doubts(KEY)
    cache.see_pod(pod("after", 1))
    cache.read_pod(KEY, "after", None, doubts)
    assert uids(cache.living_pods(KEY, JOB_UID)) == ["after"]


def test_a_job_that_is_gone_stays_gone() -> None:
    """A late event or an older listing that still has it changes nothing."""
    cache = Cache()
    cache.see_job(job(version=6))
    cache.read_job(KEY, "study-1", None, cache.doubts(KEY))
    assert cache.see_job(job(version=5)) == ()
    assert cache.replace_jobs([job(version=5)], "5") == ()
    assert cache.jobs(KEY, study_uid=OWNER.uid) == ()


@pytest.mark.parametrize(("listed_at", "gone"), [("4", False), ("5", False), ("6", True)])
def test_what_a_listing_lacks_is_in_doubt_unless_it_is_newer(listed_at: str, gone: bool) -> None:  # noqa: FBT001
    """A listing as old as the record was taken before the object existed or omits it; one that had ended is gone."""
    cache = Cache()
    cache.see_job(job(version=5))
    cache.see_pod(pod("pod", 1))
    assert cache.replace_jobs([], listed_at) == ((KEY,) if gone else ())
    assert cache.replace_pods([], listed_at) == ((KEY,) if gone else ())
    assert cache.unwatched(KEY) == ((("study-1",), ("pod",)) if gone else ((), ()))
    assert len(cache.jobs(KEY, study_uid=OWNER.uid)) == len(cache.living_pods(KEY, JOB_UID)) == 1
    assert cache.replace_jobs([], listed_at) == ()


def test_a_listing_reports_each_study_once() -> None:
    """Of two studies with two changes each, both are reconciled once; an unchanged study is not."""
    cache = Cache()
    cache.see_job(job("kept", study="quiet"))
    for study_name in ("study", "other"):
        cache.see_job(job(f"old-{study_name}", study=study_name))
    listed = [job(f"new-{name}", study=name, version=8) for name in ("study", "other")]
    found = cache.replace_jobs([job("kept", study="quiet"), *listed], "9")
    assert sorted(found) == [StudyKey("serving", "other"), StudyKey("serving", "study")]


@pytest.mark.parametrize(("version", "known"), [(4, False), (5, False), (6, True)])
def test_of_two_versions_the_newer_one_is_known(version: int, known: bool) -> None:  # noqa: FBT001
    """Versions are compared as numbers, and an older one never replaces a newer one."""
    cache = Cache()
    cache.see_job(job(version=5))
    cache.see_pod(pod("pod", 1))
    cache.see_job(job(version=version, ttl_seconds=60))
    cache.see_pod(pod("pod", 1, resource_version=str(version), node="n1"))
    assert (cache.jobs(KEY, study_uid=OWNER.uid)[0].ttl_seconds == 60) is known
    assert (cache.living_pods(KEY, JOB_UID)[0].node == "n1") is known


def test_versions_are_numbers() -> None:
    """10 is newer than 9; a version that is not a number is newer than every other one, but not than itself."""
    cache = Cache()
    cache.see_study(body(9))
    assert cache.see_study(body(10)) == (KEY,)
    assert cache.see_study(body(9)) == ()
    odd = body(0)
    odd["metadata"]["resourceVersion"] = "x1"
    assert cache.see_study(odd) == (KEY,)
    assert cache.see_study(odd) == ()


def test_what_no_study_made_wakes_no_study() -> None:
    """Jobs and Pods of other owners may carry InfPop's labels."""
    cache = Cache()
    assert cache.see_job(make_job(study=None)) == ()
    assert cache.see_pod(make_pod(study=None)) == ()


def test_questions_about_a_study_leave_nothing_in_the_cache() -> None:
    """A study without Jobs or Pods takes no memory once it is deleted."""
    cache = Cache()
    assert (cache.stray_jobs(KEY), cache.unwatched(KEY), newest(cache)) == ((), ((), ()), None)
    assert (cache.jobs(KEY, study_uid=OWNER.uid), cache.doubts(KEY)) == ((), {})
    cache.drop_ended_runs(KEY, ())
    cache.read_job(KEY, "study-1", None, {})
    cache.replace_pods_of_run(KEY, "study-1", [], "9")
    assert not cache._children


def test_a_study_that_was_never_seen_may_be_deleted() -> None:
    """Nothing is reconciled, and an older version of the study does not appear later."""
    cache = Cache()
    assert cache.see_study(body(9), deleted=True) == ()
    assert cache.see_study(body(8)) == ()
    assert cache.see_study(body(10)) == (KEY,)


def test_a_listing_of_studies_reports_those_that_are_there_and_those_that_are_gone() -> None:
    """All of them are reconciled; a study that is newer than the listing stays."""
    cache = Cache()
    for version, name in ((5, "gone"), (5, "stays"), (9, "newer")):
        found = body(version)
        found["metadata"]["name"] = name
        cache.see_study(found)
    stays = body(5)
    stays["metadata"]["name"] = "stays"
    keys = cache.replace_studies([stays], "8")
    assert {key.name for key in keys} == {"gone", "stays", "newer"}
    assert {key.name for key in cache.studies()} == {"stays", "newer"}


@pytest.mark.parametrize(
    ("changes", "wakes"),
    [
        ({"labels": {"feature.timestamp": "1"}}, False),
        ({"labels": {"feature": "1"}}, True),
        ({"schedulable": False}, True),
        ({"capacity_gpus": {"nvidia.com/gpu": 7}}, True),
        ({"cpus": 63}, True),
    ],
    ids=str,
)
def test_a_node_wakes_studies_when_its_hardware_changes(changes: dict[str, object], wakes: bool) -> None:  # noqa: FBT001
    """A timestamp that feature discovery writes every minute is cached but does not wake any study."""
    cache = Cache()
    cache.see_study(body(1))
    assert cache.see_node(make_node(resource_version="5")) == (KEY,)
    changed = make_node(resource_version="6", **changes)
    assert cache.see_node(changed) == ((KEY,) if wakes else ())
    assert cache.nodes() == (changed,)


def test_a_node_that_is_gone_wakes_studies_once() -> None:
    """An earlier deletion of another Node with the same name does not count."""
    cache = Cache()
    cache.see_study(body(1))
    cache.see_node(make_node(resource_version="5"))
    assert cache.see_node(make_node(uid="before", resource_version="4"), deleted=True) == ()
    assert cache.see_node(make_node(resource_version="6"), deleted=True) == (KEY,)
    assert cache.nodes() == ()
    assert cache.see_node(make_node(resource_version="6"), deleted=True) == ()
    assert cache.see_node(make_node(resource_version="6")) == ()
    assert cache.replace_nodes([], "9") == ()


def test_nodes_are_the_same_tuple_until_one_changes() -> None:
    """A pool is therefore matched once for each version of the Nodes."""
    cache = Cache()
    cache.see_node(make_node(resource_version="5"))
    before = cache.nodes()
    cache.see_node(make_node(resource_version="6"))
    assert cache.nodes() is before
    cache.see_node(make_node(resource_version="7", labels={"new": "1"}))
    assert cache.nodes() is not before
