"""What is known of the cluster, from watches, listings and answers that overtake each other."""

from dataclasses import replace
from typing import Any

import pytest

from factories.kube_objects import JOB_UID, OWNER, make_node, make_pod
from factories.study_documents import make_study_document
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.keys import StudyKey

KEY = StudyKey(OWNER.namespace, OWNER.name)


def body(version: int, uid: str = "first") -> dict[str, Any]:
    """Return a version of the study."""
    found = make_study_document(OWNER.name, OWNER.namespace)
    found["metadata"] |= {"uid": uid, "resourceVersion": str(version)}
    return found


def uid_of(cache: Cache) -> str | None:
    """Return the uid of the study that is known."""
    known = cache.study(KEY)
    return None if known is None else known["metadata"]["uid"]


def deleted_cache() -> Cache:
    """Return what is known after a study was created at 7 and deleted at 9."""
    cache = Cache()
    cache.see_study(body(7))
    assert cache.see_study(body(9), deleted=True) == (KEY,)
    return cache


def test_a_deleted_study_does_not_come_back() -> None:
    """Neither by the answer to our own last write, nor by a late event, nor by an older listing."""
    cache = deleted_cache()
    cache.see_written(body(8))
    assert cache.see_study(body(8)) == ()
    cache.replace_studies([body(8)], "8")
    assert cache.studies() == ()


def test_an_answer_does_not_bring_back_what_a_newer_listing_lacks() -> None:
    """The listing is all that is known of the deletion where the watch was broken."""
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
    """It is known as soon as it is there; what comes late of the one before changes nothing."""
    cache = deleted_cache()
    assert cache.see_study(body(12, "second")) == (KEY,)
    cache.see_written(body(8))
    assert cache.see_study(body(9), deleted=True) == ()
    cache.replace_studies([body(8)], "8")
    assert uid_of(cache) == "second"


def test_a_study_of_the_same_name_may_be_seen_before_the_end_of_the_one_before() -> None:
    """A listing tells of both at once; the end that the watch tells later is the other one's."""
    cache = Cache()
    cache.see_study(body(7))
    cache.replace_studies([body(12, "second")], "15")
    assert cache.see_study(body(9), deleted=True) == ()
    assert uid_of(cache) == "second"


@pytest.mark.parametrize("listed_at", ["8", "20"])
def test_our_own_write_is_known_before_its_event(listed_at: str) -> None:
    """The next look must not see the status of before, also when a listing of before comes in between."""
    cache = Cache()
    cache.see_study(body(7))
    cache.see_written(body(9))
    cache.replace_studies([body(7)], listed_at)
    known = cache.study(KEY)
    assert known is not None
    assert known["metadata"]["resourceVersion"] == "9"
    assert cache.see_study(body(9)) == ()


def test_an_older_listing_of_nodes_changes_nothing() -> None:
    """What watches told meanwhile is newer: labels that came, a node that went, a node that joined."""
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
    """After a broken watch what it lacks is gone, and what it has is known."""
    cache = Cache()
    cache.see_study(body(1))
    cache.see_node(replace(make_node("n1"), resource_version="5"))
    assert cache.replace_nodes([replace(make_node("n2"), resource_version="7")], "9") == (KEY,)
    assert [node.name for node in cache.nodes()] == ["n2"]


def test_a_node_that_left_the_watched_labels_may_come_back() -> None:
    """It is told as deleted, and as the very same node when it has the labels again."""
    cache = Cache()
    node = make_node()
    cache.see_node(replace(node, resource_version="5"))
    cache.see_node(replace(node, resource_version="6"), deleted=True)
    assert cache.nodes() == ()
    cache.see_node(replace(node, resource_version="7"))
    assert [each.name for each in cache.nodes()] == ["n1"]


def test_a_listing_of_one_runs_pods_knows_which_are_gone() -> None:
    """Those of other runs are not in it and stay, as does one that is newer than the listing."""
    cache = Cache()
    for uid, version, run in (("old", "5", "study-1"), ("new", "9", "study-1"), ("other", "5", "study-2")):
        cache.see_pod(make_pod(uid=uid, name=uid, resource_version=version, run=run))
    assert cache.replace_pods_of_run(KEY, "study-1", [], "7") == (KEY,)
    assert {pod.uid: pod.gone for pod in cache.pods(KEY, JOB_UID)} == {"new": False, "old": True, "other": False}
    assert cache.replace_pods_of_run(KEY, "study-1", [], "7") == ()
    assert cache.replace_pods_of_run(KEY, "study-1", [make_pod(uid="found", resource_version="8")], "8") == (KEY,)
    assert "found" in {pod.uid for pod in cache.living_pods(KEY, JOB_UID)}
