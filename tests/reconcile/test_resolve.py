"""The input of a decision: the study's document, the current Nodes, and the recorded hardware of earlier Nodes."""

from dataclasses import replace
from datetime import timedelta

import pytest

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


V100_LABELS = {**GFD, "nvidia.com/gpu.product": "Tesla-V100-SXM2-32GB", "nvidia.com/gpu.memory": "32768"}


@pytest.mark.parametrize(
    "nodes",
    [
        (),
        (make_node(labels=V100_LABELS, unready="NotReady"),),
        (make_node(labels=V100_LABELS), make_node("b", labels=GFD)),
    ],
    ids=["gone", "not ready", "mixed"],
)
def test_a_change_outlives_nodes_that_are_away_before_its_round(nodes: tuple[NodeRecord, ...]) -> None:
    """The new nodes restart once more, or an old one appears again: nothing has changed back."""
    either = {"gpuProduct": "A100|V100"}
    opened = decide(prepared(make_node(labels=GFD), **either).study, NEW, {}, START).history
    study = prepared(make_node(labels=V100_LABELS), history=opened, **either).study
    changed = decide(study, opened, {}, START).history
    (noted,) = (entry.change for entry in changed.rounds)
    assert noted is not None
    later = prepared(*nodes, history=changed, **either).study
    (kept,) = (entry.change for entry in decide(later, changed, {}, START + timedelta(minutes=1)).history.rounds)
    assert kept == noted


def test_what_is_remembered_of_a_pool_follows_its_nodes_while_they_are_there() -> None:
    """A larger or smaller Node of the same kind keeps the round, and is remembered when all Nodes are gone."""
    small = make_node("small", labels=GFD, gpus=4)
    opened = begun(make_node(labels=GFD))
    later = decide(prepared(small, history=opened).study, opened, {}, START).history
    assert [entry.number for entry in later.rounds] == [1]
    (away,) = prepared(history=later).study.pools
    assert (away.device_count, away.total_device_count, away.gpu_model) == (4, 0, A100)


def test_a_round_says_what_its_nodes_labels_say_of_the_hardware() -> None:
    """A fact that no label gives is absent, and one that differs between Nodes of one kind stays as it was first."""
    new = {**GFD, "nvidia.com/gpu.memory": "40537", "nvidia.com/cuda.driver-version.major": "580"}
    labels = {**GFD, "nvidia.com/cuda.driver.major": "570"}
    opened = begun(make_node(labels=labels))
    later = decide(
        prepared(make_node("a", labels=new), make_node("b", labels=labels), history=opened).study, opened, {}, START
    ).history
    for history in (opened, later):
        (known,) = (entry.hardware for entry in history.rounds)
        assert known is not None
        assert (known.gpu_memory_mib, known.compute_capability) == (40960, "8.0")
        assert (known.driver_major, known.mig) == ("570", None)
    (vague,) = (entry.hardware for entry in begun(JUST_JOINED).rounds)
    assert vague is not None
    assert (vague.gpu_memory_mib, vague.compute_capability, vague.driver_major, vague.mig) == (None,) * 4
    divided = make_node(labels=GFD, product=f"{A100}-MIG-1g.5gb")
    assert [entry.mig for entry in prepared(divided, gpuProduct="MIG").study.pools] == ["1g.5gb"]


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
    assert prepared(history=opened, previous=forged) == prepared(history=opened)
    changing = prepared(JUST_JOINED, history=old, previous=told)
    assert changing.problems[pool.name].reason == "NodesChanging"


def test_an_old_round_learns_its_hardware_and_engine_when_nodes_are_there() -> None:
    """No round is opened for that, and afterwards the status is no longer needed."""
    opened = begun(make_node(labels=GFD))
    old = replace(opened, rounds=(replace(opened.rounds[0], hardware=None, engine=None),))
    decision = decide(prepared(make_node(labels=GFD), history=old).study, old, {}, START)
    assert decision.history == opened
    assert changes(old, decision.history) == (replace(opened.rounds[0], subject=()),)  # what is known now is recorded
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
