"""Jobs and Pods that another client altered: nothing is taken for gone that a read by name finds."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import pytest

from infpop_operator.cluster.service import SELECTOR
from reconcile.memory_cluster import Answer, Json, Request, refusal
from reconcile.operators import KEY, Operator
from reconcile.stage import ONE_CELL, Stage, at_work
from reconcile.wire import CarryOut, refusing

MANAGED_BY, RUN, STUDY = "app.kubernetes.io/managed-by", "infpop.io/run", "infpop.io/study"
ALL_GPUS: Mapping[str, object] = {
    "searchSpace": {"gpuCount": [8], "batchSize": [8, 16]},
    "budget": {"maxTrials": 2, "maxFailedTrials": 1, "maxConcurrentGPUs": 8, "parallelTrials": 2},
}
ALTERED: Mapping[str, Json] = {
    "managed by Helm": {"labels": {MANAGED_BY: "Helm"}},
    "without its run": {"labels": {RUN: None}},
    "of another run": {"labels": {RUN: "other"}},
    "of another study": {"labels": {STUDY: "other"}},
    "without labels": {"labels": None},
    "without an owner": {"ownerReferences": None},
    "without anything": {"labels": None, "ownerReferences": None, "annotations": None},
}


async def finish_within(stage: Stage, operator: Operator, gpus: int) -> None:
    """Drive the study to its end, and check at each step which GPUs are held."""
    stage.nodes.holds = lambda _: False
    for _ in range(60):
        await operator.try_pass()
        moved = stage.nodes.step()
        assert stage.nodes.held_gpus() <= gpus
        if not moved and stage.is_done():
            return
        stage.nodes.let_go()
        stage.cluster.clock.advance(6.0)
    raise AssertionError(f"the study does not end: {stage.status.get('conditions')}")


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("how", ALTERED)
def test_an_altered_job_is_restored_and_goes_on(how: str, restarted: bool) -> None:  # noqa: FBT001
    """Whatever was changed of its metadata: no second run starts, the result counts, and the study says what it was."""

    async def play() -> Stage:
        stage, operator, run = await at_work(spec=ALL_GPUS)
        stage.cluster.patch("jobs", run, {"metadata": ALTERED[how]})
        if restarted:
            operator = await stage.operator()
        await operator.settle()
        await operator.settle()
        job = stage.cluster.get("jobs", run)["metadata"]
        assert (job["labels"][MANAGED_BY], job["labels"][RUN], job["labels"][STUDY]) == ("infpop", run, "study")
        assert [owner["kind"] for owner in job["ownerReferences"]] == ["ThroughputStudy"]
        await finish_within(stage, operator, 8)
        return stage

    stage = asyncio.run(play())
    assert [(row["state"], row["attempts"]) for row in stage.status["trials"]] == [("Measured", 1), ("Measured", 1)]
    assert set(stage.created_jobs().values()) == {1}
    assert "JobAltered" in stage.events()


def test_the_event_names_what_was_altered_by_whom_and_when() -> None:
    """The API server knows the client that owns a field; of a removed one it knows only the newest other change."""

    async def play() -> list[str]:
        stage, operator, run = await at_work()
        labels = {f"f:{MANAGED_BY}": {}}
        helm = {
            "manager": "kubectl-label",
            "time": "2026-01-01T00:00:09Z",
            "fieldsV1": {"f:metadata": {"f:labels": labels}},
        }
        status = {"manager": "kube-controller-manager", "time": "2026-01-01T00:00:10Z", "subresource": "status"}
        changes = {"labels": {MANAGED_BY: "Helm", RUN: None}, "managedFields": [helm, status]}
        stage.cluster.patch("jobs", run, {"metadata": changes})
        await operator.settle()
        return [event["message"] for event in stage.cluster.all("events") if event["reason"] == "JobAltered"]

    (message,) = asyncio.run(play())
    assert f"label {MANAGED_BY} is Helm instead of infpop (changed by kubectl-label at 2026-01-01T00:00:09Z)" in message
    assert f"label {RUN} (" in message
    assert ") was removed (last changed by kubectl-label at 2026-01-01T00:00:09Z); restored" in message


@pytest.mark.parametrize("at", ["creation", "creation and each change", "a refusal of changes"])
def test_a_policy_that_alters_jobs_costs_no_run(at: str) -> None:
    """What cannot be restored is read by name: the study ends, and writes to the Job a few times at most."""

    async def alter(request: Request, carry_out: CarryOut) -> Answer:
        is_change = request.said == "PATCH jobs" and "metadata" in request.body
        if is_change and at == "a refusal of changes":
            return refusal(422, "Invalid", "labels may not be changed")
        code, body = await carry_out()
        if request.said == "POST jobs" or (is_change and at == "creation and each change"):
            changes = {"metadata": {"labels": {RUN: None, MANAGED_BY: "policy"}}}
            body = stage.cluster.patch("jobs", body["metadata"]["name"], changes)
        return code, body

    stage = Stage(**ALL_GPUS)

    async def play() -> Operator:
        operator = await stage.operator(interference=alter)
        await finish_within(stage, operator, 8)
        return operator

    operator = asyncio.run(play())
    assert [(row["state"], row["attempts"]) for row in stage.status["trials"]] == [("Measured", 1), ("Measured", 1)]
    restored = [each for each in operator.wire.requests if each.said == "PATCH jobs" and "metadata" in each.body]
    assert len(restored) <= 3 * 2


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("labels", ["kept", "removed"])
def test_a_pod_whose_job_was_deleted_without_it_holds_its_gpus_until_it_has_ended(
    labels: str,
    restarted: bool,  # noqa: FBT001
) -> None:
    """`--cascade=orphan`: the operator deletes the Pod, starts nothing beside it, and repeats the run."""

    async def play() -> tuple[Stage, Operator]:
        stage, operator, run = await at_work(spec=ALL_GPUS)
        (pod,) = stage.nodes.pods(run)
        if labels == "removed":
            stage.cluster.patch("pods", pod["metadata"]["name"], {"metadata": {"labels": None}})
        stage.cluster.orphan(run)
        if restarted:
            operator = await stage.operator()
        for _ in range(3):
            await operator.settle()
            stage.cluster.clock.advance(200)
            stage.nodes.step()
            assert stage.nodes.held_gpus() == 8
        assert "deletionTimestamp" in stage.cluster.get("pods", pod["metadata"]["name"])["metadata"]
        assert stage.condition("Ready") == ("False", "GPUsHeld")
        stage.nodes.let_go()
        await finish_within(stage, operator, 8)
        return stage, operator

    stage, operator = asyncio.run(play())
    assert sorted((row["state"], row["attempts"]) for row in stage.status["trials"]) == [
        ("Measured", 1),
        ("Measured", 2),
    ]
    assert operator.said().count("DELETE pods") == 1
    assert "PodLeft" in stage.events()


NO_RIGHT = 'pods is forbidden: User "infpop" cannot delete resource "pods"'
BY_POLICY = 'admission webhook "protect.example.org" denied the request: GPU workloads are protected'


@pytest.mark.parametrize("words", [NO_RIGHT, BY_POLICY], ids=["no right", "a policy"])
def test_an_operator_that_cannot_delete_pods_waits_for_them(words: str) -> None:
    """Its study says which Pod holds GPUs, and why the operator left it."""

    async def deny(request: Request, carry_out: CarryOut) -> Answer:
        if request.said == "DELETE pods":
            return refusal(403, "Forbidden", words)
        return await carry_out()

    async def play() -> tuple[Stage, Operator]:
        stage, operator, run = await at_work(spec=ALL_GPUS, interference=deny)
        (pod,) = stage.nodes.pods(run)
        stage.cluster.orphan(run)
        for _ in range(4):
            await operator.settle()
            stage.cluster.clock.advance(200)
        assert stage.condition("Ready") == ("False", "GPUsHeld")
        assert stage.nodes.held_gpus() == 8
        stage.cluster.remove("pods", pod["metadata"]["name"])
        await finish_within(stage, operator, 8)
        return stage, operator

    stage, _ = asyncio.run(play())
    assert stage.events().count("PodLeft") == 1


def test_a_job_that_a_policy_protects_does_not_stop_its_study() -> None:
    """The stopped run is given up, its GPUs count until its Pod has ended, and the study says why."""

    async def play() -> Stage:
        stage = Stage(**ALL_GPUS)
        operator = await stage.operator(interference=refusing(403, "Forbidden", BY_POLICY, said="DELETE jobs"))
        run = await stage.work(operator)
        stage.cluster.change(suspend=True)
        for _ in range(3):
            await operator.settle()
            stage.cluster.clock.advance(121)
        stage.cluster.change(suspend=False)
        for _ in range(2):
            await operator.settle()
            stage.cluster.clock.advance(121)
            assert stage.runs == [run]
            assert stage.condition("Ready") == ("False", "GPUsHeld")
        stage.nodes.finish(run)
        await finish_within(stage, operator, 8)
        return stage

    stage = asyncio.run(play())
    assert stage.events().count("JobLeft") == 1
    assert {row["state"] for row in stage.status["trials"]} == {"Measured"}


@pytest.mark.parametrize("when", ["at work", "before it was seen", "before the clock was set back"])
@pytest.mark.parametrize("labels", [None, {RUN: "other", STUDY: "other"}, {RUN: None}])
def test_a_pod_whose_labels_were_altered_is_read_by_its_name(labels: Json | None, when: str) -> None:
    """Its run goes on and its result counts, although no watch reports the Pod."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, budget={"maxTrials": 1, "maxFailedTrials": 0})
        operator = await stage.operator()
        await operator.settle()
        run = stage.run
        if when != "at work":
            operator.deaf = {"pods"}
        if when == "before the clock was set back":
            operator.memories.of(KEY).searched_at = stage.cluster.clock() + timedelta(days=1)
        stage.nodes.start(run)
        (pod,) = stage.nodes.pods(run)
        stage.cluster.patch("pods", pod["metadata"]["name"], {"metadata": {"labels": labels}})
        operator.deaf, operator._missed = set(), []
        stage.cluster.clock.advance(6)
        await stage.later(operator)
        assert stage.states() == ["Starting"]
        stage.nodes.finish(run)
        stage.cluster.clock.advance(15)
        await operator.settle()
        return stage

    stage = asyncio.run(play())
    assert stage.row() == ("Measured", None, 1)
    assert stage.created_jobs().total() == 1
    assert "PodAltered" in stage.events()


def test_a_copy_of_a_pod_for_debugging_is_none_of_the_study() -> None:
    """`kubectl debug --copy-to` copies the environment, neither labels nor owner nor a generated name."""

    async def play() -> tuple[Stage, Operator]:
        stage, operator, run = await at_work(spec=ALL_GPUS)
        (pod,) = stage.nodes.pods(run)
        metadata = {"name": "debug", "namespace": KEY.namespace, "annotations": pod["metadata"]["annotations"]}
        stage.cluster.create("pods", {**pod, "metadata": metadata})
        stage.cluster.orphan(run)
        await operator.settle()
        stage.nodes.let_go()
        await operator.settle()
        return stage, operator

    stage, operator = asyncio.run(play())
    assert "debug" in [pod["metadata"]["name"] for pod in stage.cluster.all("pods")]
    assert "deletionTimestamp" not in stage.cluster.get("pods", "debug")["metadata"]
    assert len(stage.runs) == 1, "the copy counts in no budget"
    assert operator.said().count("DELETE pods") == 1


ONE_GPU: Mapping[str, object] = {
    "searchSpace": {"gpuCount": [1], "batchSize": [8, 16]},
    "budget": {"maxTrials": 2, "maxFailedTrials": 1, "maxConcurrentGPUs": 1},
}


@pytest.mark.parametrize(
    ("spec", "words"), [(ALL_GPUS, "8 GPUs are still held by Pod "), (ONE_GPU, "1 GPU is still held by Pod ")]
)
def test_a_pod_that_does_not_let_go_keeps_its_gpus_in_the_budget(spec: Mapping[str, object], words: str) -> None:
    """The run is given up after two minutes; the next one starts when the Pod is gone, and the status says why."""

    async def play() -> tuple[Stage, str]:
        stage, operator, run = await at_work(spec=spec)
        stage.cluster.delete("jobs", run)
        for _ in range(3):
            await operator.settle()
            stage.cluster.clock.advance(121)
        await operator.settle()
        assert stage.runs == []
        assert stage.condition("Ready") == ("False", "GPUsHeld")
        message = next(each["message"] for each in stage.status["conditions"] if each["type"] == "Ready")
        stage.nodes.let_go()
        await finish_within(stage, operator, 8)
        return stage, message

    stage, message = asyncio.run(play())
    assert words in message
    assert {row["state"] for row in stage.status["trials"]} == {"Measured"}


@pytest.mark.parametrize("suspended", [False, True])
def test_a_sidecar_that_goes_on_does_not_keep_the_gpus(suspended: bool) -> None:  # noqa: FBT001
    """The result is in and the runner has exited: the Job ends within half a minute, or at once if it is stopped."""

    async def play() -> tuple[Stage, list[str], str]:
        stage, operator, run = await at_work(spec=ALL_GPUS)
        stage.nodes.linger(run)
        await stage.later(operator)
        assert "DELETE jobs" not in operator.said()
        states, detail = stage.states(), stage.status["runs"][0]["message"]
        if suspended:
            stage.cluster.change(suspend=True)
        else:
            stage.cluster.clock.advance(31)
        await operator.settle()
        assert operator.said().count("DELETE jobs") == 1
        assert stage.nodes.held_gpus() == 8
        stage.nodes.let_go()
        await operator.settle()
        stage.cluster.change(suspend=False)
        await finish_within(stage, operator, 8)
        return stage, states, detail

    stage, states, detail = asyncio.run(play())
    assert states == ["Terminating"]
    assert "container mesh-proxy" in detail
    assert [(row["state"], row["attempts"]) for row in stage.status["trials"]] == [("Measured", 1), ("Measured", 1)]


def test_a_job_that_its_deleted_study_no_longer_owns_is_deleted() -> None:
    """Its owner reference was removed while no operator ran, so the garbage collector leaves it."""

    async def play() -> tuple[Stage, Operator]:
        stage, _, run = await at_work()
        stage.cluster.patch("jobs", run, {"metadata": {"ownerReferences": None}})
        stage.cluster.delete("throughputstudies")
        operator = await stage.operator()
        assert operator.cache.stray_keys() == (KEY,)
        await operator.settle()
        stage.nodes.let_go()
        return stage, operator

    stage, operator = asyncio.run(play())
    assert operator.said().count("DELETE jobs") == 1
    assert stage.runs == []


@pytest.mark.parametrize("is_reported", [True, False], ids=["reported", "not listed"])
def test_nothing_of_a_study_that_is_deleted_while_it_works_stays_in_memory(is_reported: bool) -> None:  # noqa: FBT001
    """Its Job and Pod are not done when they disappear, so they are read by their names before they are dropped."""

    async def play() -> Operator:
        stage, operator, _ = await at_work()
        if not is_reported:
            operator.deaf = {"throughputstudies", "jobs", "pods"}
        stage.cluster.delete("throughputstudies")
        stage.nodes.let_go()
        await operator.list_all()
        for key in operator.cache.stray_keys():
            await operator.settle(key)
        return operator

    operator = asyncio.run(play())
    assert operator.cache.stray_keys() == ()
    assert not operator.cache.doubts(KEY)


def test_a_job_is_not_taken_for_stray_because_its_study_was_not_reported() -> None:
    """The study is read by its name first."""

    async def play() -> Operator:
        stage, _, run = await at_work()
        stage.cluster.patch("jobs", run, {"metadata": {"ownerReferences": None}})
        operator = Operator(stage.cluster)
        operator.deaf = {"throughputstudies"}
        operator.cache.replace_jobs(*await operator._client.list_jobs(SELECTOR))
        await operator.settle()
        return operator

    assert "DELETE jobs" not in asyncio.run(play()).said()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"study": "\\ud800", "run": "x"}'], ids=["deep", "no text"])
def test_a_pod_of_another_user_ends_neither_a_listing_nor_a_study(text: str) -> None:
    """A user who may create Pods may give them any run spec; the operator starts all the same, and its study ends."""

    async def play() -> Stage:
        stage = Stage(**ALL_GPUS)
        container = {"name": "runner", "env": [{"name": "INFPOP_RUN_SPEC", "value": text}]}
        hostile = {"name": "hostile", "namespace": KEY.namespace, "labels": {RUN: "x"}, "generateName": "x-"}
        body = {"metadata": hostile, "spec": {"containers": [container]}, "status": {"phase": "Pending"}}
        stage.cluster.create("pods", body)
        await finish_within(stage, await stage.operator(), 8)
        return stage

    assert {row["state"] for row in asyncio.run(play()).status["trials"]} == {"Measured"}


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("deleted", [False, True])
def test_the_result_of_a_pod_that_no_watch_ever_reported_counts(restarted: bool, deleted: bool) -> None:  # noqa: FBT001
    """The run ended before a search by name was due: its Pod is searched for before the run is given up."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, budget={"maxTrials": 1, "maxFailedTrials": 0})
        operator = await stage.operator()
        await operator.settle()
        run = stage.run
        operator.deaf = {"pods"}
        stage.nodes.start(run)
        (pod,) = stage.nodes.pods(run)
        stage.cluster.patch("pods", pod["metadata"]["name"], {"metadata": {"labels": {RUN: None}}})
        operator.deaf, operator._missed = set(), []
        stage.nodes.finish(run)
        if deleted:
            stage.cluster.orphan(run)
        if restarted:
            operator = await stage.operator()
        await operator.settle()
        return stage

    stage = asyncio.run(play())
    assert stage.row() == ("Measured", None, 1)
    assert stage.created_jobs().total() == 1
