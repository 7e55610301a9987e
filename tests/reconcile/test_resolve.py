"""The input of a decision: the study's document, the current Nodes, and the recorded hardware of earlier Nodes."""

from dataclasses import replace

from factories.kube_objects import A100, OWNER, make_node
from factories.resolved import resolve_study
from factories.studies import START
from factories.study_documents import make_study_document
from infpop_operator.adapters.kube.records import NodeRecord
from infpop_operator.api.status_model import PoolStatus, StudyStatus
from infpop_operator.cluster.resolve import ResolvedStudy
from infpop_operator.core.decide import decide
from infpop_operator.core.fingerprint import measurement_identity
from infpop_operator.core.history_diff import changes
from infpop_operator.core.model import History
from infpop_operator.settings import Settings

GFD = {"nvidia.com/gpu.memory": "40960", "nvidia.com/gpu.compute.major": "8", "nvidia.com/gpu.compute.minor": "0"}
SETTINGS = Settings(runner_image="example.org/runner:1")


NEW = History(started_at=START)
JUST_JOINED = make_node("new", label="cloud.google.com/gke-accelerator", product="nvidia-tesla-a100")


def prepared(
    *nodes: NodeRecord, history: History = NEW, previous: StudyStatus | None = None, **pool: object
) -> ResolvedStudy:
    """Return the study resolved on these Nodes; keywords are fields of its pool."""
    body = make_study_document(OWNER.name, OWNER.namespace)
    body["spec"]["nodePools"][0] |= pool
    body["metadata"] |= {"uid": OWNER.uid, "generation": 1}
    return resolve_study(body, nodes, history, SETTINGS, previous=previous)


def begun(*nodes: NodeRecord) -> History:
    """Return the history of the study after its first round was opened on these Nodes."""
    return decide(prepared(*nodes).study, NEW, {}, START).history


def test_a_pool_whose_only_node_is_replaced_keeps_its_round_and_waits() -> None:
    """Until the new Node has all its labels, no run starts on it and nothing is measured again."""
    (pool,) = prepared(make_node(labels=GFD)).study.pools
    changing = prepared(JUST_JOINED, history=begun(make_node(labels=GFD)))
    (kept,) = changing.study.pools
    assert (kept.fingerprint, kept.device_count, kept.total_device_count) == (pool.fingerprint, 8, 0)
    assert changing.problems[pool.name].reason == "NodesChanging"
    assert changing.matched == {}


def test_what_is_remembered_of_a_pool_follows_its_nodes_while_they_are_there() -> None:
    """A larger or smaller Node of the same kind keeps the round, and is remembered when all Nodes are gone."""
    small = make_node("small", labels=GFD, gpus=4)
    opened = begun(make_node(labels=GFD))
    later = decide(prepared(small, history=opened).study, opened, {}, START).history
    assert [entry.number for entry in later.rounds] == [1]
    (away,) = prepared(history=later).study.pools
    assert (away.device_count, away.total_device_count, away.gpu_model) == (4, 0, A100)


def test_a_status_is_believed_only_of_an_old_round_and_where_its_identity_confirms_it() -> None:
    """An earlier version kept hardware only in the status; values that another client writes there change nothing."""
    (pool,) = prepared(make_node(labels=GFD)).study.pools
    row = PoolStatus(name=pool.name, gpu=pool.gpu_model, gpus_per_node=8, fingerprint=pool.fingerprint)
    told = StudyStatus(pools=[row])
    forged = StudyStatus(pools=[row.model_copy(update={"fingerprint": "forged", "gpus_per_node": 1})])
    opened = begun(make_node(labels=GFD))
    old = replace(opened, rounds=(replace(opened.rounds[0], hardware=None, engine=None),))
    (kept,) = prepared(history=old, previous=told).study.pools
    assert (kept.fingerprint, kept.device_count, kept.total_device_count) == (pool.fingerprint, 8, 0)
    assert prepared(history=old, previous=forged).study.pools == ()
    assert prepared(history=old).study.pools == ()
    assert prepared(history=NEW, previous=told).study.pools == ()
    assert prepared(history=opened, previous=forged).study.pools == (kept,)
    changing = prepared(JUST_JOINED, history=old, previous=told)
    assert changing.problems[pool.name].reason == "NodesChanging"


def test_an_old_round_learns_its_hardware_and_engine_when_nodes_are_there() -> None:
    """No round is opened for that, and afterwards the status is no longer needed."""
    opened = begun(make_node(labels=GFD))
    old = replace(opened, rounds=(replace(opened.rounds[0], hardware=None, engine=None),))
    decision = decide(prepared(make_node(labels=GFD), history=old).study, old, {}, START)
    assert decision.history == opened
    assert changes(old, decision.history) == opened.rounds  # the round is recorded again
    assert changes(opened, decision.history) == ()
    assert opened.rounds[0].hardware is not None
    assert opened.rounds[0].engine is not None


def identity(**resources: object) -> str:
    """Return the identity of measurements on the study's pool."""
    study = prepared(make_node(labels=GFD), resources=resources).study
    return measurement_identity(study, study.pools[0])


def test_the_same_cpus_are_the_same_measurement_however_they_are_written() -> None:
    """Another number of CPUs is another measurement; memory, and another notation, keep earlier measurements."""
    assert len({identity(cpu=value) for value in (8, "8", "8.0", "8000m")}) == 1
    assert len({identity(), identity(cpu=8), identity(cpu="500m")}) == 3
    assert identity(cpu=8, memory="64Gi") == identity(cpu=8, memory="128Gi") == identity(cpu=8)


def test_a_pool_is_resolved_field_by_field() -> None:
    """Each field comes from the spec or the Nodes; the pool's own image comes before the operator's."""
    pool = {"pricePerGPUHour": "3.50", "image": "own:1", "resources": {"cpu": "1500m", "memory": "2Gi"}}
    (found,) = prepared(make_node(labels=GFD), make_node("n2", labels=GFD), **pool).study.pools
    assert (found.name, found.device, found.gpu_model) == ("a100", "cuda", A100)
    assert (found.software, found.price_per_gpu_hour) == ("own:1", 3.5)
    assert (found.device_count, found.total_device_count) == (8, 16)
    assert (found.cpu_millicores, found.memory_bytes) == (1500, 2 * 1024**3)
    (usual,) = prepared(make_node(labels=GFD)).study.pools
    assert (usual.software, usual.price_per_gpu_hour) == (SETTINGS.runner_image, None)
    assert (usual.cpu_millicores, usual.memory_bytes) == (None, None)


def fingerprints(**spec: object) -> tuple[str, str]:
    """Return the fingerprints of the study's model and of its workload."""
    body = make_study_document(OWNER.name, OWNER.namespace, **spec)
    body["metadata"] |= {"uid": OWNER.uid, "generation": 1}
    found = resolve_study(body, [make_node(labels=GFD)], NEW, SETTINGS, previous=None).study
    return found.model_fingerprint, found.workload_fingerprint


def test_another_model_or_workload_has_another_fingerprint() -> None:
    """Two studies share a fingerprint only where they have the same model, or the same source of prompts."""
    usual = fingerprints()
    source = {"configMap": {"name": "prompts", "key": "prompts.jsonl"}}
    own_workload = fingerprints(workload={"source": source})
    assert fingerprints(model={"name": "example/other"}) == ("example/other", usual[1])
    assert own_workload[0] == usual[0]
    assert own_workload[1] != usual[1]
