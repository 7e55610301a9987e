"""The runs of a study and their Jobs: refused, deleted, evicted, queued, or with late watch events."""

import asyncio

import pytest

from controlplane.nodes import gpu_node
from infpop_operator.adapters.kube.errors import KubeForbiddenError
from infpop_runner.contract import Broken
from reconcile.memory_cluster import Body
from reconcile.operators import Operator
from reconcile.played_nodes import NODE
from reconcile.stage import NO_FAILURE, ONE_CELL, Stage, at_work
from reconcile.wire import let_pass, refusing

QUOTA = 'jobs.batch "study-1" is forbidden: exceeded quota: small, requested: count/jobs.batch=1, used: 0, limited: 0'
DENIED = 'jobs.batch is forbidden: User "infpop" cannot create resource "jobs" in API group "batch"'


def test_a_quota_without_room_is_waited_for() -> None:
    """It is no failure of the run: the reason is reported, and the study continues when there is room."""

    async def play() -> tuple[Stage, tuple[str, str] | None, float | None]:
        stage = Stage(searchSpace=ONE_CELL, budget=NO_FAILURE)
        operator = await stage.operator(interference=refusing(403, "Forbidden", QUOTA, said="POST jobs"))
        wait = await operator.settle()
        await stage.later(operator)
        ready = stage.condition("Ready")
        operator.wire.interference = let_pass
        stage.cluster.clock.advance(wait or 0)
        await stage.finish(operator)
        return stage, ready, wait

    stage, ready, wait = asyncio.run(play())
    assert ready == ("False", "QuotaExceeded")
    assert wait is not None
    assert stage.row() == ("Measured", None, 2)


def test_a_job_that_a_policy_refuses_is_a_failure() -> None:
    """The refusal is reported at once, and once for each try; no GPU time is counted."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, budget=NO_FAILURE)
        refuses = refusing(422, "Invalid", "spec.template: Invalid value", said="POST jobs")
        operator = await stage.operator(interference=refuses)
        assert await operator.reconcile() == 0.0
        assert (stage.row(), stage.status["runs"]) == (("Broken", "JobRefused", 1), [])
        await operator.settle()
        return stage

    stage = asyncio.run(play())
    assert stage.condition("Stalled") == ("True", "TooManyFailures")
    assert stage.row() == ("Broken", "JobRefused", 1)
    assert stage.events().count("RunBroken") == 1
    assert stage.recorded()[1] == {stage.status["trials"][0]["run"]: 1}
    assert stage.status["gpuHours"] == "0"


async def refuse_until_avoided(stage: Stage, *, restarting: bool = False) -> tuple[int, list[Body]]:
    """Have the first node refuse runs until one avoids it; return how often it did, and the terms of that run's Job."""
    operator = await stage.operator()
    for refusals in range(6):
        operator = await stage.operator() if restarting else operator
        wait = await operator.settle()
        stage.cluster.clock.advance(wait or 0)
        wait = await operator.settle()
        run = stage.runs[-1]
        pod = stage.cluster.get("jobs", run)["spec"]["template"]["spec"]
        affinity = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        terms = [expression for term in affinity["nodeSelectorTerms"] for expression in term["matchExpressions"]]
        avoiding = [expression for expression in terms if expression["operator"] == "NotIn"]
        if avoiding:
            return refusals, avoiding
        stage.nodes.make_pod(run)
        stage.nodes.bind(run)
        stage.nodes.refuse(run, "UnexpectedAdmissionError", "Allocate failed due to no healthy devices present")
    return 6, []


@pytest.mark.parametrize("restarting", [False, True])
def test_a_node_that_keeps_refusing_runs_is_avoided(*, restarting: bool) -> None:
    """Refusals use no failure budget; the third run goes elsewhere, also if the operator starts again each time."""

    async def play() -> tuple[Stage, int, list[Body]]:
        stage = Stage(searchSpace=ONE_CELL, budget=NO_FAILURE)
        stage.cluster.create("nodes", gpu_node("n2"))
        return stage, *await refuse_until_avoided(stage, restarting=restarting)

    stage, refusals, avoiding = asyncio.run(play())
    assert refusals == 2
    assert avoiding == [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": [NODE]}]
    assert stage.status["gpuHours"] == "0"
    assert stage.condition("Stalled") != ("True", "TooManyFailures")


def test_the_only_node_is_not_avoided() -> None:
    """A Pod that no node may take would wait in vain: the node is tried again."""

    async def play() -> tuple[int, list[Body]]:
        return await refuse_until_avoided(Stage(searchSpace=ONE_CELL, budget=NO_FAILURE))

    assert asyncio.run(play()) == (6, [])


def test_a_right_that_the_operator_lacks_is_no_failure_of_a_run() -> None:
    """The pass fails, the reason is reported, and the same run gets its Job when the operator may create it."""

    async def play() -> tuple[Stage, tuple[str, str] | None]:
        stage = Stage(searchSpace=ONE_CELL, budget=NO_FAILURE)
        operator = await stage.operator(interference=refusing(403, "Forbidden", DENIED, said="POST jobs"))
        for _ in range(3):
            with pytest.raises(KubeForbiddenError):
                await operator.reconcile()
        ready = stage.condition("Ready")
        operator.wire.interference = let_pass
        await stage.finish(operator)
        return stage, ready

    stage, ready = asyncio.run(play())
    assert ready == ("False", "MissingRights")
    assert stage.row() == ("Measured", None, 1)


@pytest.mark.parametrize("owner", [None, "another study"])
def test_a_job_of_the_runs_name_that_is_not_the_studys_is_left_alone(owner: str | None) -> None:
    """The run is refused, and what the other Job does is not its result."""

    async def play() -> Stage:
        stage, _, run = await at_work()
        other = dict(stage.cluster.get("jobs", run))
        owners = [] if owner is None else [{"uid": owner, "controller": True}]
        other["metadata"] = {**other["metadata"], "ownerReferences": owners, "uid": "other"}
        template = other["spec"]["template"]
        metadata = {**template["metadata"], "annotations": {"infpop.io/study-key": "serving/study/another study"}}
        other["spec"] = {**other["spec"], "template": {**template, "metadata": metadata}}
        again = Stage(searchSpace=ONE_CELL, budget=NO_FAILURE)
        again.cluster.create("jobs", other)
        operator = await again.operator()
        await operator.settle()
        again.nodes.start(run)
        again.nodes.finish(run)
        await operator.settle()
        assert "DELETE jobs" not in operator.said()
        assert "PATCH jobs" not in operator.said()
        return again

    stage = asyncio.run(play())
    assert stage.row() == ("Broken", "JobRefused", 1)
    (message,) = [trial["message"] for trial in stage.status["trials"]]
    assert "belongs to another owner" in message


def test_a_job_that_a_user_deletes_is_tried_again() -> None:
    """Its run is broken when its Pod has let go of its devices; until then it is ending."""

    async def play() -> tuple[Stage, str]:
        stage, operator, run = await at_work(spec={"budget": {"maxTrials": 1, "maxFailedTrials": 1}})
        stage.cluster.delete("jobs", run)
        await stage.later(operator)
        assert [(each["name"], each["state"]) for each in stage.status["runs"]] == [(run, "Terminating")]
        assert stage.runs == []
        stage.nodes.let_go()
        await stage.finish(operator)
        return stage, run

    stage, run = asyncio.run(play())
    assert stage.row() == ("Measured", None, 2)
    assert run not in stage.runs
    assert stage.events().count("RunBroken") == 1


@pytest.mark.parametrize("how", ["drained", "vanished"])
def test_a_pod_that_is_taken_away_costs_no_failure(how: str) -> None:
    """The Job creates another one, and the run continues."""

    async def play() -> Stage:
        stage, operator, run = await at_work()
        if how == "drained":
            stage.nodes.drain(run)
        else:
            stage.nodes.vanish(run)
        await operator.settle()
        stage.nodes.start(run)
        await stage.finish(operator)
        return stage

    stage = asyncio.run(play())
    assert stage.row() == ("Measured", None, 1)


def test_an_evicted_pod_ends_its_run() -> None:
    """The run is too large for its node: its Job, which would make another Pod, is deleted, and the run is broken."""

    async def play() -> tuple[Stage, Operator, str]:
        stage, operator, run = await at_work(spec={"budget": {"maxTrials": 1, "maxFailedTrials": 0}})
        stage.nodes.evict(run)
        await operator.settle()
        await operator.settle()
        return stage, operator, run

    stage, operator, run = asyncio.run(play())
    assert stage.row() == ("Broken", "HostOutOfMemory", 1)
    assert operator.said().count("DELETE jobs") == 1
    assert run not in stage.runs


def test_an_exited_container_ends_its_run_before_its_job_says_so() -> None:
    """The result counts at once, and the Job is left to its controller; it gets its time to live when it has ended."""

    async def play() -> tuple[Stage, Operator]:
        stage, operator, run = await at_work()
        stage.nodes.exit(run, message=stage.nodes.message(run))
        await operator.settle()
        assert "ttlSecondsAfterFinished" not in stage.cluster.get("jobs", run)["spec"]
        assert stage.row() == ("Measured", None, 1)
        stage.nodes.end_job(run, complete=True)
        await operator.settle()
        assert "ttlSecondsAfterFinished" in stage.cluster.get("jobs", run)["spec"]
        return stage, operator

    _, operator = asyncio.run(play())
    assert "DELETE jobs" not in operator.said()


@pytest.mark.parametrize("deaf", [("jobs",), ("pods",), ("jobs", "pods")])
def test_a_result_with_late_watch_events_counts(deaf: tuple[str, ...]) -> None:
    """Whatever the watches do not report, or report later, each run is measured once."""

    async def play() -> Stage:
        stage = Stage()
        operator = await stage.operator()
        for step in range(60):
            operator.deaf = set() if step % 7 == 6 else set(deaf)
            if step % 7 == 6:
                operator.hear(*deaf)
            await operator.settle()
            stage.nodes.step()
            stage.cluster.clock.advance(1.0)
        return stage

    stage = asyncio.run(play())
    assert stage.is_done()
    assert {(trial["state"], trial["attempts"]) for trial in stage.status["trials"]} == {("Measured", 1)}
    assert stage.recorded() == (stage.created_jobs(), stage.created_jobs())


def test_a_job_gets_its_time_to_live_after_the_status_has_its_result() -> None:
    """A Job that is gone takes its result with it, so nothing else may come first."""

    async def play() -> list[str]:
        stage, operator, run = await at_work()
        stage.nodes.finish(run)
        before = len(operator.wire.requests)
        await operator.settle()
        return operator.said(before)

    requests = asyncio.run(play())
    order = [requests.index(each) for each in ("PATCH configmaps", "PUT throughputstudies/status", "PATCH jobs")]
    assert order == sorted(order)


def test_a_job_keeps_its_result_while_the_status_cannot_be_written() -> None:
    """It gets no time to live; when the status can be written, the result is there."""

    async def play() -> tuple[Stage, list[str]]:
        stage, operator, run = await at_work()
        stage.nodes.finish(run)
        refuses = refusing(500, "InternalError", "etcd", said="PUT throughputstudies/status")
        operator.wire.interference = refuses
        before = len(operator.wire.requests)
        for _ in range(3):
            await operator.try_pass()
        requests = operator.said(before)
        operator.wire.interference = let_pass
        await stage.finish(operator)
        return stage, requests

    stage, requests = asyncio.run(play())
    assert "PATCH jobs" not in requests
    assert requests.count("PATCH configmaps") == 1
    assert stage.row() == ("Measured", None, 1)


def test_a_running_job_whose_run_has_ended_is_deleted() -> None:
    """It would hold devices for nothing: an interrupted operator left it."""

    async def play() -> tuple[Stage, Operator]:
        stage, operator, run = await at_work()
        stage.cluster.change(suspend=True)
        await operator.settle()
        stage.nodes.let_go()
        await operator.settle()
        assert stage.row() == ("Broken", "Suspended", 1)
        other = Stage(searchSpace=ONE_CELL, budget=NO_FAILURE)
        await (await other.operator()).settle()
        stage.cluster.create("jobs", {**other.cluster.get("jobs", run), "status": {}})
        stage.nodes.start(run)
        await operator.settle()
        await operator.settle()
        return stage, operator

    stage, operator = asyncio.run(play())
    assert operator.said().count("DELETE jobs") == 2
    assert "deletionTimestamp" in stage.cluster.get("jobs", stage.run)["metadata"]


def test_a_queued_run_waits_without_limit() -> None:
    """A Job that its queue has not admitted waits without limit, costs nothing, and is measured once admitted."""

    async def play() -> tuple[Stage, list[str]]:
        stage = Stage(searchSpace=ONE_CELL, budget=NO_FAILURE, scheduling={"queueName": "gpus"})
        operator = await stage.operator()
        await operator.settle()
        stage.nodes.suspend(stage.run)
        stage.cluster.clock.advance(7 * 86400)
        await operator.settle()
        states = stage.states()
        stage.nodes.release(stage.run)
        await stage.finish(operator)
        return stage, states

    stage, states = asyncio.run(play())
    assert states == ["Queued"]
    assert stage.row() == ("Measured", None, 1)


def test_what_a_deleted_job_had_measured_is_kept() -> None:
    """The last result of a Pod whose Job a user deleted counts, and only what it lacks is measured again."""

    async def play() -> tuple[Stage, list[int]]:
        spec = {
            "searchSpace": {"gpuCount": [2], "batchSize": [8, 64]},
            "algorithm": {"name": "grid", "trialsPerRun": 2},
            "budget": {"maxTrials": 2},
        }
        stage, operator, run = await at_work(spec=spec)
        message = stage.nodes.message(run, broken=Broken(reason="Stopped", detail="SIGTERM"), most=1)
        (pod,) = stage.nodes.pods(run)
        stage.cluster.delete("jobs", run)
        await operator.settle()
        stage.nodes.let_go(message)
        assert pod["metadata"]["name"] not in [each["metadata"]["name"] for each in stage.cluster.all("pods")]
        await operator.settle()
        batches = [trial.batch_size for trial in stage.nodes.spec(stage.run).trials]
        await stage.finish(operator)
        return stage, batches

    stage, batches = asyncio.run(play())
    assert batches == [64]
    assert {trial["batchSize"]: trial["attempts"] for trial in stage.status["trials"]} == {8: 1, 64: 2}


def test_a_queue_without_watch_events_costs_no_failure() -> None:
    """The queue, and not a user, deleted the Pod: it has suspended the Job."""

    async def play() -> Stage:
        stage, operator, run = await at_work()
        operator.deaf = {"jobs"}
        (pod,) = stage.nodes.pods(run)
        stage.nodes.suspend(run)
        stage.nodes.delete_pod(pod["metadata"]["name"])
        await operator.settle()
        stage.nodes.let_go()
        await operator.settle()
        operator.hear("jobs")
        for name in stage.runs:
            stage.nodes.release(name)
        await stage.finish(operator)
        return stage

    assert asyncio.run(play()).row()[:2] == ("Measured", None)


def test_a_pod_that_a_user_deletes_is_a_failure() -> None:
    """It leaves no number, and the status has who ended the run."""

    async def play() -> Stage:
        stage, operator, run = await at_work()
        (pod,) = stage.nodes.pods(run)
        stage.nodes.delete_pod(pod["metadata"]["name"])
        stage.nodes.let_go()
        stage.nodes.end_job(run, complete=False)
        await operator.settle()
        return stage

    assert asyncio.run(play()).row() == ("Broken", "Deleted", 1)


def test_a_job_without_the_label_of_a_run_is_left_alone() -> None:
    """A user made it, and made the study its owner: it is none of the study's runs."""

    async def play() -> tuple[Stage, Operator]:
        stage, operator, run = await at_work()
        job = dict(stage.cluster.get("jobs", run))
        labels = {name: value for name, value in job["metadata"]["labels"].items() if name != "infpop.io/run"}
        job["metadata"] = {**job["metadata"], "labels": labels, "name": "mine", "uid": "mine"}
        stage.cluster.create("jobs", {**job, "status": {}})
        await operator.settle()
        return stage, operator

    stage, operator = asyncio.run(play())
    assert "DELETE jobs" not in operator.said()
    assert len(stage.runs) == 2


def test_a_run_whose_job_has_ended_and_whose_pod_is_gone_has_lost_its_result() -> None:
    """It is broken, and its Job, which may have more details for a user, gets its time to live as any other."""

    async def play() -> tuple[Stage, Operator]:
        stage, _, run = await at_work()
        stage.nodes.finish(run)
        stage.cluster.remove("pods", stage.nodes.pods(run)[0]["metadata"]["name"])
        operator = await stage.operator()
        await operator.settle()
        await operator.settle()
        return stage, operator

    stage, operator = asyncio.run(play())
    assert stage.row() == ("Broken", "ResultMissing", 1)
    assert "DELETE jobs" not in operator.said()
    assert "ttlSecondsAfterFinished" in stage.cluster.get("jobs", stage.run)["spec"]


def test_an_empty_result_does_not_change_why_a_run_ended() -> None:
    """A user deleted its Job: what broke in the runner after that is no reason, and no result."""

    async def play() -> Stage:
        stage, operator, run = await at_work()
        message = stage.nodes.message(run, broken=Broken(reason="EngineCrash", detail="SIGTERM"), most=0)
        stage.cluster.delete("jobs", run)
        await operator.settle()
        stage.nodes.let_go(message)
        await operator.settle()
        return stage

    assert asyncio.run(play()).row() == ("Broken", "Deleted", 1)
