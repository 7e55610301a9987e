"""Studies of a namespace that take over what others measured: once, whatever happens to the operator or the others."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from factories.study_objects import make_study_body
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.reuse import MOST_ENDED
from infpop_operator.core.errors import InfPopError
from reconcile.memory_cluster import NAMESPACE
from reconcile.operators import Operator
from reconcile.played_nodes import NODE
from reconcile.stage import Stage
from reconcile.wire import (
    Interference,
    Killed,
    Trouble,
    at_request,
    fail,
    kill_after,
    kill_before,
    let_pass,
    lose_answer,
)

SECOND = StudyKey(NAMESPACE, "second")
PART: Mapping[str, object] = {"searchSpace": {"gpuCount": [1], "batchSize": [8, 64]}, "budget": {"maxTrials": 2}}
WHOLE: Mapping[str, object] = {"reuse": "SameIdentity"}
ALL_KNOWN: Mapping[str, object] = {**PART, "reuse": "SameIdentity", "publish": {"configMap": "best-of-second"}}


async def measured(**spec: object) -> tuple[Stage, Operator]:
    """Return a cluster in which a study has measured two cells, and its operator."""
    stage = Stage(**{**PART, **spec})
    operator = await stage.operator()
    await stage.finish(operator)
    return stage, operator


def add_second(stage: Stage, *, namespace: str = NAMESPACE, **spec: object) -> None:
    """Create the second study."""
    stage.cluster.create("throughputstudies", make_study_body("second", namespace=namespace, **spec))


def status_of(stage: Stage, name: str = "second", *, namespace: str = NAMESPACE) -> Mapping[str, Any]:
    """Return the status of a study."""
    status: Mapping[str, Any] = stage.cluster.get("throughputstudies", name, namespace=namespace).get("status", {})
    return status


def reused(status: Mapping[str, Any]) -> list[tuple[int, int, str, str | None]]:
    """Return the GPU count, the batch size, the run and the source study of each measured trial."""
    rows = (row for row in status["trials"] if row["state"] == "Measured")
    return [(row["gpuCount"], row["batchSize"], row["run"], row.get("reusedFrom")) for row in rows]


def runs_of(stage: Stage, name: str) -> list[str]:
    """Return the Jobs that were created for a study."""
    return [job for plural, job in stage.cluster.created if plural == "jobs" and job.startswith(f"{name}-")]


def events_of(stage: Stage, name: str) -> list[str]:
    """Return the reasons of a study's Events."""
    return [event["reason"] for event in stage.cluster.all("events") if event["involvedObject"]["name"] == name]


async def finish(stage: Stage, operator: Operator, key: StudyKey = SECOND) -> None:
    """Drive a study to its end."""
    for _ in range(100):
        await operator.settle(key)
        conditions = {each["type"]: each["status"] for each in status_of(stage, key.name).get("conditions", ())}
        if conditions.get("Succeeded") == "True" and not stage.nodes.step():
            return
        stage.nodes.step()
        stage.cluster.clock.advance(6.0)
    raise AssertionError(status_of(stage, key.name))


def test_known_cells_are_taken_over_and_the_others_are_measured() -> None:
    """Each row names the study and the run that measured it; the study's own GPU time is that of its own runs."""

    async def play() -> Stage:
        stage, operator = await measured()
        add_second(stage, **WHOLE)
        await finish(stage, operator)
        return stage

    stage = asyncio.run(play())
    first, second = status_of(stage, "study"), status_of(stage)
    theirs = {(row["gpuCount"], row["batchSize"]): (row["run"], row["throughput"]) for row in first["trials"]}
    taken = {row[:2]: row[2] for row in reused(second) if row[3] is not None}
    assert taken == {cell: run for cell, (run, _) in theirs.items()}
    assert {row[3] for row in reused(second)} == {None, "study"}
    assert len(runs_of(stage, "second")) == 2
    assert second["progress"] == "4/4"
    assert second["pools"][0]["trials"]["reused"] == 2
    assert events_of(stage, "second").count("TrialsReused") == 1
    assert events_of(stage, "second").count("TrialMeasured") == 2


def test_a_study_whose_cells_are_all_known_publishes_without_a_run() -> None:
    """What it publishes says which study measured it; nothing was held, so nothing counts as spent."""

    async def play() -> Stage:
        stage, operator = await measured()
        add_second(stage, **ALL_KNOWN)
        await operator.settle(SECOND)
        return stage

    stage = asyncio.run(play())
    status = status_of(stage)
    assert runs_of(stage, "second") == []
    assert (status["gpuHours"], status["best"]["reusedFrom"]) == ("0", "study")
    assert status["best"]["run"] == status_of(stage, "study")["best"]["run"]
    published = stage.cluster.get("configmaps", "best-of-second")["data"]
    assert '"reusedFrom": "study"' in published["best.json"]


@pytest.mark.parametrize("spec", [{}, {"reuse": "Never"}])
def test_nothing_is_taken_over_unless_the_study_says_so(spec: Mapping[str, object]) -> None:
    """By default a study measures everything itself, and looks into no other journal."""

    async def play() -> tuple[Stage, list[str]]:
        stage, operator = await measured()
        add_second(stage, **PART, **spec)
        before = len(operator.wire.requests)
        await operator.settle(SECOND)
        return stage, operator.said(before)

    stage, said = asyncio.run(play())
    assert len(runs_of(stage, "second")) == 1
    assert said.count("GET configmaps") == 1  # its own


@pytest.mark.parametrize(
    "spec",
    [
        {"workload": {"maxNewTokens": 64}},
        {"algorithm": {"name": "grid", "seed": 1}},
        {"engine": {"name": "vllm", "args": {"block_size": "32"}}},
        {"nodePools": [{"name": "a100", "gpuProduct": "A100", "image": "example.org/runner:2"}]},
    ],
)
def test_a_study_that_measures_something_else_takes_nothing_over(spec: Mapping[str, object]) -> None:
    """Another workload, seed, argument or image has another measurement identity."""

    async def play() -> Stage:
        stage, operator = await measured()
        add_second(stage, **{**ALL_KNOWN, **spec})
        await operator.settle(SECOND)
        return stage

    stage = asyncio.run(play())
    assert len(runs_of(stage, "second")) == 1
    assert "TrialsReused" not in events_of(stage, "second")


def test_nothing_is_taken_over_from_another_namespace() -> None:
    """A namespace belongs to a team: what others measured there stays there, even under the same identity."""

    async def play() -> tuple[Stage, set[str | None]]:
        stage, operator = await measured()
        add_second(stage, namespace="elsewhere", **ALL_KNOWN)
        before = len(operator.wire.requests)
        await operator.settle(StudyKey("elsewhere", "second"))
        read = (request for request in operator.wire.requests[before:] if request.plural == "configmaps")
        return stage, {request.namespace for request in read}

    stage, read = asyncio.run(play())
    identities = {
        status_of(stage, name, namespace=namespace)["pools"][0]["identity"]
        for name, namespace in (("study", NAMESPACE), ("second", "elsewhere"))
    }
    assert len(identities) == 1
    assert len(runs_of(stage, "second")) == 1
    assert reused(status_of(stage, namespace="elsewhere")) == []
    assert read == {"elsewhere"}


def test_a_result_outlives_the_study_that_measured_it() -> None:
    """Its own journal has it: neither the deletion of the other study nor a restart measures it again."""

    async def play() -> Stage:
        stage, operator = await measured()
        add_second(stage, **WHOLE)
        await operator.settle(SECOND)
        stage.cluster.delete("throughputstudies", "study")
        await operator.reconcile()
        operator = await stage.operator()
        await finish(stage, operator)
        return stage

    stage = asyncio.run(play())
    assert [row[3] for row in reused(status_of(stage))].count("study") == 2
    assert len(runs_of(stage, "second")) == 2


def test_an_unfinished_study_shares_what_it_has() -> None:
    """Neither waits for the other: what one has measured by then is taken over, and what is being measured is not."""

    async def play() -> Stage:
        stage = Stage(**{**PART, "budget": {"maxTrials": 2, "maxConcurrentGPUs": 1}})
        operator = await stage.operator()
        await operator.settle()
        stage.nodes.start(stage.run)
        stage.nodes.finish(stage.run)
        await operator.settle()
        add_second(stage, **ALL_KNOWN)
        await operator.settle(SECOND)
        return stage

    stage = asyncio.run(play())
    assert len(reused(status_of(stage))) == 1
    assert len(runs_of(stage, "study")) == 2
    assert len(runs_of(stage, "second")) == 1


def test_a_result_that_another_study_gets_meanwhile_is_taken_over() -> None:
    """A round goes on looking while it has open cells, without a request for journals that are in memory."""

    async def play() -> tuple[Stage, list[str]]:
        stage = Stage(**PART)
        operator = await stage.operator()
        add_second(stage, **WHOLE)
        await operator.settle(SECOND)
        await finish(stage, operator, StudyKey(NAMESPACE, "study"))
        before = len(operator.wire.requests)
        await operator.settle(SECOND)
        await operator.settle(SECOND)
        return stage, operator.said(before)

    stage, said = asyncio.run(play())
    assert [row[3] for row in reused(status_of(stage))] == [None, "study", "study"]  # its own, and the other two
    assert [each for each in events_of(stage, "second") if each.startswith("Trial")] == [
        "TrialMeasured",
        "TrialsReused",
    ]
    assert said.count("GET configmaps") <= 1  # the study has ended since, so its journal has left the memory


def test_looking_at_ended_studies_costs_one_request_each() -> None:
    """However many passes a study does, and whatever else is in its namespace."""

    async def play() -> list[int]:
        stage, operator = await measured()
        stage.cluster.create("throughputstudies", make_study_body("third", **PART))
        await finish(stage, operator, StudyKey(NAMESPACE, "third"))
        stage.cluster.create("throughputstudies", make_study_body("unlike", **PART, workload={"maxNewTokens": 64}))
        await finish(stage, operator, StudyKey(NAMESPACE, "unlike"))
        for name in ("study", "third", "unlike"):
            await operator.settle(StudyKey(NAMESPACE, name))
        add_second(stage, **WHOLE)
        counts = []
        for _ in range(4):
            before = len(operator.wire.requests)
            await operator.reconcile(SECOND)
            counts.append(operator.said(before).count("GET configmaps"))
        return counts

    first, *later = asyncio.run(play())
    assert first == 3  # its own journal, and those of the two studies that measured the same
    assert later == [0, 0, 0]


def test_of_many_ended_studies_only_the_newest_are_looked_into() -> None:
    """A study of which there is one for each commit does not make the operator read hundreds of journals."""

    async def play() -> tuple[int, bool]:
        stage, operator = await measured()
        for number in range(MOST_ENDED):
            name = f"study-{number}"
            stage.cluster.create("throughputstudies", make_study_body(name, **PART))
            await finish(stage, operator, StudyKey(NAMESPACE, name))
            await operator.settle(StudyKey(NAMESPACE, name))
        await operator.settle()
        add_second(stage, **WHOLE)
        before = len(operator.wire.requests)
        await operator.reconcile(SECOND)
        uid = stage.cluster.get("throughputstudies", "study-1")["metadata"]["uid"]
        return operator.said(before).count("GET configmaps"), operator.reconciler._store.remembers(uid)

    assert asyncio.run(play()) == (1 + MOST_ENDED, False)


def test_a_damaged_journal_stops_only_its_own_study() -> None:
    """Another study takes nothing over from it, and measures."""

    async def play() -> Stage:
        stage, _ = await measured()
        (journal,) = stage.journals()
        stage.cluster.patch("configmaps", journal["metadata"]["name"], {"data": {"000001": "{damaged"}})
        add_second(stage, **ALL_KNOWN)
        operator = await stage.operator()
        await operator.settle(SECOND)
        return stage

    assert len(runs_of(asyncio.run(play()), "second")) == 1


def test_a_path_means_the_same_only_on_the_same_volume() -> None:
    """Two studies whose models have the same path on different volumes may have different models."""

    async def play(claim: str) -> int:
        model = {"name": "/models/llama", "cacheClaim": "volume-1"}
        stage, operator = await measured(model=model)
        add_second(stage, **{**ALL_KNOWN, "model": {**model, "cacheClaim": claim}})
        await operator.settle(SECOND)
        return len(runs_of(stage, "second"))

    assert asyncio.run(play("volume-1")) == 0
    assert asyncio.run(play("volume-2")) == 1


def test_a_round_on_changed_hardware_looks_when_it_opens() -> None:
    """Not before that: while the change has to last, no journal is read, and what it holds is not missed later."""
    debounce_s = 3600.0

    async def play() -> tuple[Stage, list[Mapping[str, str]]]:
        stage = Stage(**PART, nodePools=[{"name": "v100", "gpuProduct": "V100"}])
        operator = await stage.operator()
        pools = [{"name": "any", "nodeSelector": {"pool": "mine"}}]
        add_second(stage, **ALL_KNOWN, nodePools=pools, retune={"debounce": f"{debounce_s:.0f}s"})
        stage.cluster.patch("nodes", NODE, {"metadata": {"labels": {"pool": "mine"}}})
        await finish(stage, operator)
        stage.cluster.patch("nodes", NODE, {"metadata": {"labels": {"nvidia.com/gpu.product": "Tesla-V100-SXM2-32GB"}}})
        await operator.settle(SECOND)
        await finish(stage, operator, StudyKey(NAMESPACE, "study"))
        await operator.settle()
        before = len(operator.wire.requests)
        await operator.settle(SECOND)
        await operator.settle(SECOND)
        waiting = [request.query for request in operator.wire.requests[before:] if request.plural == "configmaps"]
        stage.cluster.clock.advance(debounce_s)
        await operator.settle(SECOND)
        return stage, waiting

    stage, waiting = asyncio.run(play())
    assert not any("labelSelector" in query for query in waiting)  # the others are reads of what it publishes
    assert len(runs_of(stage, "second")) == 2
    assert status_of(stage)["pools"][0]["round"] == 2
    assert [row[3] for row in reused(status_of(stage))] == [None, None, "study", "study"]


def test_a_suspended_study_takes_nothing_over() -> None:
    """It does so when it is resumed."""

    async def play() -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        stage, operator = await measured()
        add_second(stage, **ALL_KNOWN, suspend=True)
        await operator.settle(SECOND)
        suspended = status_of(stage)
        stage.cluster.change("second", suspend=False)
        await operator.settle(SECOND)
        return suspended, status_of(stage)

    suspended, resumed = asyncio.run(play())
    assert suspended["trials"] == []
    assert len(reused(resumed)) == 2


async def second_life(interference: Interference) -> tuple[Stage, Operator]:
    """Return a cluster in which a second study was driven to its end, and the operator that met with trouble."""
    stage, _ = await measured()
    add_second(stage, **WHOLE)
    first = operator = Operator(stage.cluster, interference=interference)
    await operator.list_all()
    for _ in range(100):
        try:
            await finish(stage, operator)
        except InfPopError:
            stage.cluster.clock.advance(6.0)  # the queue does another pass
        except Killed:
            operator = await stage.operator()
        else:
            return stage, first
    raise AssertionError(status_of(stage))


@pytest.mark.parametrize("trouble", [kill_before, kill_after, lose_answer, fail])
def test_a_cell_is_taken_over_once_whatever_happens(trouble: Trouble) -> None:
    """An operator that is killed, or loses a request, at any request: the same rows, and each record once."""

    async def play() -> None:
        calm, operator = await second_life(let_pass)
        expected = status_of(calm)["trials"]
        assert [row.get("reusedFrom") for row in expected].count("study") == 2
        for number in range(4, len(operator.wire.requests)):  # the first four are the listings
            stage, _ = await second_life(at_request(number, trouble))
            assert status_of(stage)["trials"] == expected, number
            assert set(stage.recorded()[1].values()) == {1}, number
            assert runs_of(stage, "second") == runs_of(calm, "second"), number

    asyncio.run(play())
