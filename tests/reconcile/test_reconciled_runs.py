"""What becomes of the runs of a study: refused, deleted, evicted, heard of late, stopped; and of their Jobs."""

import asyncio
from collections.abc import Mapping

import pytest

from infpop_operator.adapters.kube.errors import KubeForbiddenError
from infpop_operator.core.model import Sample, WatchedRun
from infpop_runner.contract import Broken, RunSpec
from reconcile.memory_cluster import Answer, Request
from reconcile.operators import KEY, Operator
from reconcile.stage import NO_FAILURE, ONE_CELL, Stage, at_work
from reconcile.wire import CarryOut, let_pass, refusing

QUOTA = 'jobs.batch "study-1" is forbidden: exceeded quota: small, requested: count/jobs.batch=1, used: 0, limited: 0'
DENIED = 'jobs.batch is forbidden: User "infpop" cannot create resource "jobs" in API group "batch"'


def said(operator: Operator, since: int = 0) -> list[str]:
    """Return the operator's requests."""
    return [request.said for request in operator.wire.requests[since:]]


def test_a_quota_without_room_is_waited_for() -> None:
    """It is no failure of the run: the reason is told, and the study goes on when there is room."""

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
    assert stage.row() == ("Measured", None, 3)


def test_a_job_that_a_policy_refuses_is_a_failure() -> None:
    """What refused it is told, once for each try; no GPU time is counted."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, budget=NO_FAILURE)
        refuses = refusing(422, "Invalid", "spec.template: Invalid value", said="POST jobs")
        await (await stage.operator(interference=refuses)).settle()
        return stage

    stage = asyncio.run(play())
    assert stage.condition("Stalled") == ("True", "TooManyFailures")
    assert stage.row() == ("Broken", "JobRefused", 1)
    assert stage.events().count("RunBroken") == 1
    assert stage.recorded()[1] == {stage.status["trials"][0]["run"]: 1}
    assert stage.status["gpuHours"] == "0"


def test_a_right_that_the_operator_lacks_is_no_failure_of_a_run() -> None:
    """The pass fails, the reason is told, and the same run gets its Job when the operator may create it."""

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
        again = Stage(searchSpace=ONE_CELL, budget=NO_FAILURE)
        again.cluster.create("jobs", other)
        operator = await again.operator()
        await operator.settle()
        again.nodes.start(run)
        again.nodes.finish(run)
        await operator.settle()
        assert "DELETE jobs" not in said(operator)
        assert "PATCH jobs" not in said(operator)
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
    """The Job makes another one, and the run goes on."""

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
    assert said(operator).count("DELETE jobs") == 1
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
    assert "DELETE jobs" not in said(operator)


@pytest.mark.parametrize("deaf", [("jobs",), ("pods",), ("jobs", "pods")])
def test_a_result_that_is_heard_of_late_counts(deaf: tuple[str, ...]) -> None:
    """Whatever the watches do not tell, or tell later, each run is measured once."""

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


@pytest.mark.parametrize("deaf", [("jobs",), ("pods",), ("jobs", "pods")])
def test_a_result_that_was_not_heard_of_outlives_the_stop(deaf: tuple[str, ...]) -> None:
    """A study is suspended whose run has ended by now: its number is kept, and its Job is not deleted."""

    async def play() -> tuple[Stage, Operator]:
        stage, operator, run = await at_work()
        operator.deaf = set(deaf)
        stage.nodes.finish(run)
        stage.cluster.change(suspend=True)
        await operator.settle()
        return stage, operator

    stage, operator = asyncio.run(play())
    assert stage.row() == ("Measured", None, 1)
    assert "DELETE jobs" not in said(operator)


@pytest.mark.parametrize("deaf", [(), ("jobs",), ("pods",), ("jobs", "pods")])
def test_devices_of_a_stopped_run_are_paid_for(deaf: tuple[str, ...]) -> None:
    """A study is suspended whose run has a Pod by now, heard of or not: the run is ending until that is gone."""

    async def play() -> tuple[Stage, list[str]]:
        stage = Stage(searchSpace=ONE_CELL)
        operator = await stage.operator()
        await operator.settle()
        operator.deaf = set(deaf)
        stage.nodes.start(stage.run)
        stage.cluster.clock.advance(30)
        stage.cluster.change(suspend=True)
        await stage.later(operator)
        ending = stage.states()
        stage.cluster.clock.advance(24)
        stage.nodes.let_go()
        operator.hear(*deaf)
        await operator.settle()
        return stage, ending

    stage, ending = asyncio.run(play())
    assert ending == ["Terminating"]
    assert stage.row() == ("Broken", "Suspended", 1)
    assert stage.runs == []
    assert float(stage.status["gpuHours"]) == pytest.approx(60 * 2 / 3600, abs=0.001)


def test_a_suspended_study_keeps_what_was_measured_and_goes_on() -> None:
    """A stopped runner leaves what it has; only what is missing is measured when the study is let go."""

    async def play() -> tuple[Stage, RunSpec]:
        space = {"gpuCount": [2], "batchSize": [8, 16]}
        algorithm = {"name": "grid", "trialsPerRun": 2}
        stage, operator, run = await at_work(
            spec={"searchSpace": space, "algorithm": algorithm, "budget": {"maxTrials": 2, "maxFailedTrials": 0}}
        )
        stage.cluster.change(suspend=True)
        await operator.settle()
        stopped = Broken(reason="Stopped", detail="SIGTERM")
        stage.nodes.exit(run, message=stage.nodes.message(run, broken=stopped, most=1))
        stage.nodes.let_go_of(run)
        await operator.settle()
        assert stage.condition("Suspended") == ("True", "Suspended")
        states = {trial["batchSize"]: trial["state"] for trial in stage.status["trials"]}
        assert states == {8: "Measured", 16: "Broken"}
        stage.cluster.change(suspend=False)
        await operator.settle()
        spec = stage.nodes.spec(stage.run)
        await stage.finish(operator)
        return stage, spec

    stage, spec = asyncio.run(play())
    assert [trial.batch_size for trial in spec.trials] == [16]
    assert {trial["state"] for trial in stage.status["trials"]} == {"Measured"}
    assert stage.condition("Suspended") == ("False", "NotSuspended")


def test_the_first_reason_for_which_a_run_is_stopped_stays() -> None:
    """A deadline that passes while a suspended run is ending is not why it ended."""

    async def play() -> Stage:
        stage, operator, _ = await at_work(spec={"budget": {"maxTrials": 1, "deadline": "100s"}})
        stage.cluster.change(suspend=True)
        await operator.settle()
        stage.cluster.clock.advance(101)
        stage.cluster.change(suspend=False)
        await operator.settle()
        stage.nodes.let_go()
        await operator.settle()
        return stage

    assert asyncio.run(play()).row() == ("Broken", "Suspended", 1)


def test_a_stopping_run_goes_on_stopping_after_a_restart() -> None:
    """Another operator, which does not know when it was stopped, gives it no new Job and waits for its Pod."""

    async def play() -> Stage:
        stage, operator, run = await at_work()
        stage.cluster.change(suspend=True)
        await operator.settle()
        stage.cluster.change(suspend=False)
        after = await stage.operator()
        await stage.later(after)
        assert (stage.runs, stage.states()) == ([run], ["Terminating"])
        stage.nodes.let_go()
        await stage.finish(after)
        return stage

    stage = asyncio.run(play())
    assert stage.row() == ("Measured", None, 2)
    assert set(stage.created_jobs().values()) == {1}


def test_a_run_whose_pod_does_not_let_go_is_given_up() -> None:
    """A node that does not answer holds the study for two minutes, which are paid for."""

    async def play() -> tuple[Stage, list[object]]:
        stage, operator, _ = await at_work()
        stage.cluster.change(suspend=True)
        await operator.settle()
        stage.cluster.clock.advance(120)
        await operator.settle()
        ending = stage.states()
        stage.cluster.clock.advance(1)
        await operator.settle()
        return stage, ending

    stage, ending = asyncio.run(play())
    assert ending == ["Terminating"]
    assert stage.status["runs"] == []
    assert stage.row() == ("Broken", "Suspended", 1)
    assert float(stage.status["gpuHours"]) == pytest.approx((6 + 121) * 2 / 3600, abs=0.001)


def test_a_study_that_is_held_by_a_finalizer_frees_its_devices() -> None:
    """A study that is being deleted has its Jobs deleted, each once; nothing is written about it."""

    async def play() -> tuple[Stage, list[str], float | None]:
        stage, operator, _ = await at_work()
        stage.cluster.patch("throughputstudies", KEY.name, {"metadata": {"finalizers": ["example.org/keep"]}})
        stage.cluster.delete("throughputstudies")
        before = len(operator.wire.requests)
        wait = await operator.settle()
        await operator.settle()
        assert operator.reconciler.unfinished() == ()
        stage.nodes.let_go()
        return stage, said(operator, before), wait

    stage, requests, wait = asyncio.run(play())
    assert (requests, wait) == (["DELETE jobs"], None)
    assert stage.runs == []


def test_an_invalid_spec_leaves_live_runs_to_finish() -> None:
    """They came from the last valid one; the problem is told, and the result counts when the spec is mended."""

    async def play() -> tuple[Stage, list[str]]:
        stage, operator, run = await at_work()
        stage.cluster.change(model={"name": "./weights"})
        before = len(operator.wire.requests)
        assert await operator.settle() is None
        assert stage.condition("Accepted") == ("False", "InvalidSpec")
        assert operator.reconciler.unfinished() == ()
        requests = said(operator, before)
        stage.nodes.finish(run)
        stage.cluster.change(model={"name": "example/model"})
        await stage.finish(operator)
        return stage, requests

    stage, requests = asyncio.run(play())
    assert "DELETE jobs" not in requests
    assert stage.row() == ("Measured", None, 1)


def test_an_invalid_study_that_is_suspended_frees_its_devices() -> None:
    """To suspend a study frees its devices, whatever else is wrong with its spec."""

    async def play() -> Stage:
        stage, operator, _ = await at_work()
        stage.cluster.change(model={"name": "./weights"}, suspend=True)
        await operator.settle()
        await operator.settle()
        assert said(operator).count("DELETE jobs") == 1
        stage.nodes.let_go()
        return stage

    stage = asyncio.run(play())
    assert stage.condition("Accepted") == ("False", "InvalidSpec")
    assert stage.condition("Suspended") == ("True", "Suspended")
    assert stage.runs == []


def test_a_job_gets_its_time_to_live_after_the_status_has_its_result() -> None:
    """A Job that is gone takes its result with it, so nothing else may come first."""

    async def play() -> list[str]:
        stage, operator, run = await at_work()
        stage.nodes.finish(run)
        before = len(operator.wire.requests)
        await operator.settle()
        return said(operator, before)

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
        requests = said(operator, before)
        operator.wire.interference = let_pass
        await stage.finish(operator)
        return stage, requests

    stage, requests = asyncio.run(play())
    assert "PATCH jobs" not in requests
    assert requests.count("PATCH configmaps") == 1
    assert stage.row() == ("Measured", None, 1)


def test_a_job_whose_run_has_ended_is_deleted_while_it_lives() -> None:
    """It would hold devices for nothing: an operator that was cut off left it."""

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
    assert said(operator).count("DELETE jobs") == 2
    assert "deletionTimestamp" in stage.cluster.get("jobs", stage.run)["metadata"]


def test_a_namespace_that_is_being_deleted_is_left_alone() -> None:
    """Its study is no longer worked on; nothing is retried, and no reason is written."""
    message = (
        'jobs.batch "x" is forbidden: unable to create new content in namespace serving because it is being terminated'
    )

    async def play() -> tuple[Stage, list[str], float | None]:
        stage = Stage(searchSpace=ONE_CELL)
        operator = await stage.operator(interference=refusing(403, "Forbidden", message, said="POST jobs"))
        wait = await operator.reconcile()
        assert operator.reconciler.unfinished() == ()
        return stage, said(operator), wait

    stage, requests, wait = asyncio.run(play())
    assert wait is None
    assert "PUT throughputstudies/status" not in requests
    assert stage.status == {}


class Slow:
    """A metrics source that has no answer before it may answer."""

    name = "PodMetrics"

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.asked: list[WatchedRun] = []

    async def samples(self, watched: WatchedRun) -> Mapping[int, Sample]:
        """Return nothing, late."""
        self.asked.append(watched)
        await self.may_answer.wait()
        return {}


def test_a_run_that_is_stopped_while_a_source_is_slow_keeps_its_result() -> None:
    """The source is asked once, the pass does not wait for it, and its answer wakes the study."""
    slow = Slow()

    async def play() -> tuple[Stage, Operator]:
        stage, operator, run = await at_work(pods=slow, moment_s=0.0)
        stage.nodes.finish(run)
        await stage.later(operator)
        assert stage.states() == ["Done"]
        stage.cluster.change(suspend=True)
        await stage.later(operator)
        assert stage.states() == ["Done"]
        assert "ttlSecondsAfterFinished" not in stage.cluster.get("jobs", run)["spec"]
        slow.may_answer.set()
        await operator.is_woken.wait()
        await operator.settle()
        return stage, operator

    stage, operator = asyncio.run(play())
    assert operator.woken == [KEY]
    assert len(slow.asked) == 1
    assert stage.row() == ("Measured", None, 1)
    assert "DELETE jobs" not in said(operator)


def test_a_job_that_ends_between_the_pass_and_its_deletion_keeps_its_result() -> None:
    """Each run is read before its Job is deleted: one that has come to its end by then is left alone."""

    async def play() -> tuple[Stage, Operator]:
        stage, operator, run = await at_work()
        stage.cluster.change(suspend=True)
        ended: list[str] = []

        async def end_at_last(request: Request, carry_out: CarryOut) -> Answer:
            if request.said == "GET jobs" and not ended:
                ended.append(run)
                stage.nodes.finish(run)
            return await carry_out()

        operator.deaf = {"jobs", "pods"}
        operator.wire.interference = end_at_last
        await operator.settle()
        return stage, operator

    stage, operator = asyncio.run(play())
    assert stage.row() == ("Measured", None, 1)
    assert "DELETE jobs" not in said(operator)


def test_a_result_of_a_restarted_operators_ended_job_counts_without_its_pod() -> None:
    """A Job that ended, and whose Pod is gone, has lost its result: the run is broken, and says so."""

    async def play() -> Stage:
        stage, _, run = await at_work()
        stage.nodes.finish(run)
        stage.cluster.remove("pods", stage.nodes.pods(run)[0]["metadata"]["name"])
        await (await stage.operator()).settle()
        return stage

    assert asyncio.run(play()).row() == ("Broken", "ResultMissing", 1)


def test_a_queued_run_waits_without_end() -> None:
    """A Job that its queue has not let go waits however long, costs nothing, and is measured when it is let go."""

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
