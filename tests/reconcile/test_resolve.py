"""What a study is decided on: its document, the nodes that there are, and what is remembered of those that were."""

from factories.kube_objects import OWNER, make_node
from factories.study_documents import make_study_document
from infpop_operator.adapters.kube.records import NodeRecord
from infpop_operator.api.status_model import PoolStatus, StudyStatus
from infpop_operator.cluster.resolve import ResolvedStudy, resolve_study
from infpop_operator.core.fingerprint import measurement_identity
from infpop_operator.settings import Settings

GFD = {"nvidia.com/gpu.memory": "40960", "nvidia.com/gpu.compute.major": "8", "nvidia.com/gpu.compute.minor": "0"}
SETTINGS = Settings(runner_image="example.org/runner:1")


def prepared(*nodes: NodeRecord, previous: StudyStatus | None = None, **pool: object) -> ResolvedStudy:
    """Return the study on these nodes; keywords are fields of its pool."""
    body = make_study_document(OWNER.name, OWNER.namespace)
    body["spec"]["nodePools"][0] |= pool
    body["metadata"] |= {"uid": OWNER.uid, "generation": 1}
    return resolve_study(body, nodes, previous, SETTINGS)


def test_a_pool_whose_only_node_is_replaced_keeps_its_round_and_waits() -> None:
    """Until the new node has all its labels nothing is started on it, and nothing is measured anew."""
    (pool,) = prepared(make_node(labels=GFD)).study.pools
    row = PoolStatus(name=pool.name, gpu=pool.gpu_model, gpus_per_node=8, fingerprint=pool.fingerprint)
    new = make_node("new", label="cloud.google.com/gke-accelerator", product="nvidia-tesla-a100")
    changing = prepared(new, previous=StudyStatus(pools=[row]))
    (kept,) = changing.study.pools
    assert (kept.fingerprint, kept.device_count, kept.total_device_count) == (pool.fingerprint, 8, 0)
    assert changing.problems[pool.name].reason == "NodesChanging"
    assert changing.matched == {}


def identity(**resources: object) -> str:
    """Return what measurements of the study's pool belong to."""
    study = prepared(make_node(labels=GFD), resources=resources).study
    return measurement_identity(study, study.pools[0])


def test_the_same_cpus_are_the_same_measurement_however_they_are_written() -> None:
    """Another number of them is another measurement; memory, and another way to write it, keeps what was measured."""
    assert len({identity(cpu=value) for value in (8, "8", "8.0", "8000m")}) == 1
    assert len({identity(), identity(cpu=8), identity(cpu="500m")}) == 3
    assert identity(cpu=8, memory="64Gi") == identity(cpu=8, memory="128Gi") == identity(cpu=8)
