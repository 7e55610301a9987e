"""What wakes a study and what does not: reconciles cost CPU time, for hundreds of studies together."""

from dataclasses import replace

from factories.kube_objects import OWNER, make_job, make_node, make_pod
from factories.study_documents import make_study_document
from infpop_operator.adapters.kube import node_pools
from infpop_operator.adapters.kube.node_pools import PoolQuery, RememberedMatches, match_pool
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.keys import StudyKey

KEY = StudyKey(OWNER.namespace, OWNER.name)


def study_body(version: str) -> dict[str, object]:
    """Return a version of the study."""
    body = make_study_document(OWNER.name, OWNER.namespace)
    body["metadata"] |= {"uid": OWNER.uid, "resourceVersion": version}
    return body


def test_the_echo_of_our_own_write_wakes_no_study() -> None:
    """An object from the answer to a request is already cached when its watch event arrives."""
    cache = Cache()
    assert cache.see_study(study_body("7")) == (KEY,)
    assert cache.see_study(study_body("7")) == ()
    assert cache.see_study(study_body("8")) == (KEY,)
    job = make_job()
    assert cache.see_job(job) == (KEY,)
    assert cache.see_job(job) == ()


def test_a_version_that_differs_in_nothing_we_read_wakes_no_study() -> None:
    """The Job controller counts Pods in fields of its own; only the fields that the operator reads count."""
    cache = Cache()
    job, pod = make_job(), make_pod()
    cache.see_job(job)
    cache.see_pod(pod)
    assert cache.see_job(replace(job, resource_version="800")) == ()
    assert cache.see_pod(replace(pod, resource_version="801")) == ()
    assert cache.see_job(replace(job, resource_version="802", suspended=True)) == (KEY,)
    assert cache.see_pod(replace(pod, resource_version="803", deleting=True)) == (KEY,)


def test_a_deletion_wakes_once() -> None:
    """The first report of a deletion wakes the study, the second does not."""
    cache = Cache()
    job = make_job()
    cache.see_job(job)
    assert cache.see_job(job, deleted=True) == (KEY,)
    assert cache.see_job(job, deleted=True) == ()


def test_a_pool_is_matched_again_only_when_a_node_changed() -> None:
    """For one version of the Nodes a pool query is matched once; for another version it is matched again."""
    cache, remembered = Cache(), RememberedMatches()
    query = PoolQuery(name="a100", device="cuda", gpu_product="A100")
    node = make_node()
    cache.see_node(node)
    first = remembered(query, cache.nodes())
    assert first == match_pool(query, cache.nodes())
    cache.see_node(replace(node, resource_version="900"))
    assert remembered(query, cache.nodes()) is first
    cache.see_node(replace(node, resource_version="901", schedulable=False))
    assert isinstance(remembered(query, cache.nodes()), node_pools.UnmatchedPool)
