"""What a cluster refuses in a spec, and what of pools, Nodes and owner becomes the study of a decision."""

from dataclasses import replace
from typing import Any

import pytest

from factories.kube_objects import A100, OWNER, make_node
from factories.resolved import resolve_study
from factories.studies import START
from factories.study_documents import make_study_document
from infpop_operator.api.status_context import PoolNodes
from infpop_operator.api.status_model import PoolStatus, StudyStatus
from infpop_operator.cluster.resolve import ResolvedStudy, owner_of, parse_study
from infpop_operator.core.decide import decide
from infpop_operator.core.errors import Problem, StudyError
from infpop_operator.core.model import History
from infpop_operator.settings import RUNNER_IMAGE_VARIABLE, Settings

NEW = History(started_at=START)
SETTINGS = Settings(runner_image="example.org/runner:1")
NO_IMAGE = Settings(runner_image=None)


def body(**spec: object) -> dict[str, Any]:
    """Return a study object; keywords replace parts of its spec."""
    document = make_study_document(OWNER.name, OWNER.namespace, **spec)
    document["metadata"] |= {"uid": OWNER.uid, "generation": 1}
    return document


def problems(settings: Settings = SETTINGS, **spec: object) -> list[Problem]:
    """Return the problems for which a cluster refuses a study."""
    try:
        parse_study(body(**spec), settings)
    except StudyError as error:
        return list(error.problems)
    return []


def resolved(*nodes: Any, history: History = NEW, previous: StudyStatus | None = None, **spec: object) -> ResolvedStudy:  # noqa: ANN401
    """Return the study on these Nodes."""
    return resolve_study(body(**spec), nodes, history, SETTINGS, previous=previous)


POOLS = [{"name": "own", "image": "own:1"}, {"name": "first"}, {"name": "second"}]


def test_every_pool_without_any_image_is_a_problem() -> None:
    """The problem names the position of the pool, both fields and the operator's setting."""
    found = problems(NO_IMAGE, nodePools=POOLS)
    assert [problem.field for problem in found] == ["spec.nodePools[1].image", "spec.nodePools[2].image"]
    assert {problem.value for problem in found} == {""}
    assert all("spec.engine.image" in problem.message for problem in found)
    assert all(RUNNER_IMAGE_VARIABLE in problem.remedy for problem in found)


@pytest.mark.parametrize(
    ("settings", "spec"),
    [(SETTINGS, {"nodePools": POOLS}), (NO_IMAGE, {"nodePools": POOLS, "engine": {"name": "vllm", "image": "e:1"}})],
)
def test_the_image_of_the_engine_or_of_the_operator_is_enough(settings: Settings, spec: dict[str, object]) -> None:
    """Either is the image of every pool that has none of its own."""
    assert problems(settings, **spec) == []


def test_the_image_of_a_pool_comes_before_that_of_the_engine_and_that_before_the_operators() -> None:
    """The most specific one counts, and belongs to what was measured."""
    pools = [{"name": "a100", "gpuProduct": "A100", "image": "pool:1"}, {"name": "any", "gpuProduct": "A100"}]
    engine = {"name": "vllm", "image": "engine:1"}
    found = resolved(make_node(), nodePools=pools, engine=engine).study.pools
    assert [pool.software for pool in found] == ["pool:1", "engine:1"]
    assert [pool.software for pool in resolved(make_node(), nodePools=pools).study.pools] == [
        "pool:1",
        SETTINGS.runner_image,
    ]


def source(path: str) -> dict[str, object]:
    """Return a workload whose prompts are in this file."""
    return {"source": {"file": {"path": path}}}


def recorded(path: str) -> dict[str, object]:
    """Return a simulated engine with a recorded landscape."""
    landscape = {"path": path, "gpuModel": "A100", "engine": "vllm", "model": "m"}
    return {"name": "simulated", "simulation": {"recorded": landscape}}


@pytest.mark.parametrize("path", ["weights/x", "./weights", "../weights", "~/weights"])
def test_a_relative_path_is_refused_with_its_field(path: str) -> None:
    """A Pod cannot resolve it; the problem has the path as the user wrote it."""
    assert [(found.field, found.value) for found in problems(workload=source(path))] == [
        ("spec.workload.source.file.path", path)
    ]
    assert [(found.field, found.value) for found in problems(engine=recorded(path))] == [
        ("spec.engine.simulation.recorded.path", path)
    ]
    by_name = [] if path == "weights/x" else [("spec.model.name", path)]  # an account and a repository of the hub
    assert [(found.field, found.value) for found in problems(model={"name": path})] == by_name


def test_an_absolute_path_is_accepted() -> None:
    """It is a path inside the runner's image, or on a mounted volume."""
    spec = {"model": {"name": "/models/x"}, "workload": source("/data/p.jsonl"), "engine": recorded("/data/cells.csv")}
    assert problems(**spec) == []


def test_all_problems_of_a_cluster_are_reported_together() -> None:
    """The user corrects the spec once."""
    found = problems(NO_IMAGE, model={"name": "./w"}, workload=source("p.jsonl"), engine=recorded("cells.csv"))
    assert [problem.field for problem in found] == [
        "spec.nodePools[0].image",
        "spec.model.name",
        "spec.workload.source.file.path",
        "spec.engine.simulation.recorded.path",
    ]
    assert all("absolute path" in problem.remedy for problem in found[1:])


def test_an_owner_is_the_study_itself() -> None:
    """Name, namespace and uid are those of the object."""
    assert owner_of(body()) == OWNER


@pytest.mark.parametrize("suspended", [False, True])
def test_a_study_is_resolved_field_by_field(suspended: bool) -> None:  # noqa: FBT001
    """A study that is created again has another key, so it never finds the Jobs of its predecessor."""
    found = resolved(make_node(), suspend=suspended)
    assert (found.study.key, found.study.name, found.study.namespace) == ("serving/study/study-uid", "study", "serving")
    assert found.study.suspended is suspended
    assert found.owner == OWNER
    assert found.document.spec.suspend is suspended


TWO_POOLS = [{"name": "a100", "gpuProduct": "A100"}, {"name": "h100", "gpuProduct": "H100"}]


def test_a_pool_that_matches_no_node_is_a_problem_beside_those_that_do() -> None:
    """The matched pools have the number of their Nodes and the size of the largest."""
    found = resolved(make_node(gpus=4), make_node("n2"), nodePools=TWO_POOLS)
    assert [pool.name for pool in found.study.pools] == ["a100"]
    assert found.pool_nodes == {"a100": PoolNodes(nodes=2, gpus_per_node=8)}
    assert set(found.matched) == {"a100"}
    assert {name: problem.reason for name, problem in found.problems.items()} == {"h100": "NoMatchingNodes"}
    assert A100 in found.problems["h100"].message


def test_a_pool_takes_only_the_nodes_that_it_selects() -> None:
    """Labels select, and CPUs are a device of their own."""
    nodes = (
        make_node(labels={"zone": "a"}),
        make_node("n2", labels={"zone": "b"}, gpus=4),
    )
    pools = [
        {"name": "zone", "nodeSelector": {"zone": "b"}},
        {"name": "cpus", "gpuResource": "cpu", "nodeSelector": {"zone": "a"}},
    ]
    found = {pool.name: pool for pool in resolved(*nodes, nodePools=pools).study.pools}
    assert {name: (pool.device, pool.device_count) for name, pool in found.items()} == {
        "zone": ("cuda", 4),
        "cpus": ("cpu", 64),
    }
    assert found["cpus"].gpu_model is None


def test_each_pool_remembers_its_own_hardware() -> None:
    """Of two pools whose Nodes are away, each keeps its round, its size and its GPU model, without capacity."""
    nodes = (make_node(), make_node("n2", product="NVIDIA-H100-80GB-HBM3", gpus=4))
    there = resolved(*nodes, nodePools=TWO_POOLS)
    opened = decide(there.study, NEW, {}, START).history
    away = resolved(history=opened, nodePools=TWO_POOLS)
    kept = {pool.name: (pool.fingerprint, pool.gpu_model, pool.device_count) for pool in away.study.pools}
    assert kept == {pool.name: (pool.fingerprint, pool.gpu_model, pool.device_count) for pool in there.study.pools}
    assert len({fingerprint for fingerprint, _, _ in kept.values()}) == 2
    assert {pool.total_device_count for pool in away.study.pools} == {0}
    assert away.matched == {}


def test_the_status_of_another_pool_is_not_believed() -> None:
    """Only the pool's own row can have its hardware, and only with a fingerprint."""
    (pool,) = resolved(make_node()).study.pools
    opened = decide(resolved(make_node()).study, NEW, {}, START).history
    old = replace(opened, rounds=(replace(opened.rounds[0], hardware=None, engine=None),))
    row = PoolStatus(name=pool.name, gpu=pool.gpu_model, gpus_per_node=8, fingerprint=pool.fingerprint)
    other = row.model_copy(update={"name": "other", "fingerprint": "other"})
    (kept,) = resolved(history=old, previous=StudyStatus(pools=[other, row])).study.pools
    assert (kept.fingerprint, kept.gpu_model, kept.device_count) == (pool.fingerprint, pool.gpu_model, 8)
    for rows in ([other], [row.model_copy(update={"name": "other"})], [row.model_copy(update={"fingerprint": None})]):
        assert resolved(history=old, previous=StudyStatus(pools=rows)).study.pools == ()
