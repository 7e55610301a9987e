"""Runs that are stopped: by a suspended, a deleted or an invalid study; and the results that they leave."""

import asyncio
from collections.abc import Mapping

import pytest

from factories.kube_objects import make_bound, make_ended, make_pod, make_running
from infpop_operator.adapters.kube.errors import KubeError
from infpop_operator.adapters.kube.records import PodRecord
from infpop_operator.cluster.runs import hold_devices
from infpop_operator.core.model import Sample, WatchedRun
from infpop_runner.contract import Broken, RunSpec
from reconcile.memory_cluster import Answer, Request
from reconcile.operators import KEY, Operator
from reconcile.stage import ONE_CELL, Stage, at_work
from reconcile.wire import CarryOut, refusing


@pytest.mark.parametrize("is_job_ended", [True, False])
@pytest.mark.parametrize("deaf", [("jobs",), ("pods",), ("jobs", "pods")])
def test_a_result_without_watch_events_survives_the_stop(deaf: tuple[str, ...], is_job_ended: bool) -> None:  # noqa: FBT001
    """A study is suspended whose run has ended by now: its number is kept, and its Job is not deleted."""

    async def play() -> tuple[Stage, Operator]:
        stage, operator, run = await at_work()
        operator.deaf = set(deaf)
        stage.nodes.exit(run, message=stage.nodes.message(run))
        if is_job_ended:
            stage.nodes.end_job(run, complete=True)
        stage.cluster.change(suspend=True)
        await operator.settle()
        return stage, operator

    stage, operator = asyncio.run(play())
    assert stage.row() == ("Measured", None, 1)
    assert "DELETE jobs" not in operator.said()


@pytest.mark.parametrize("deaf", [(), ("jobs",), ("pods",), ("jobs", "pods")])
def test_devices_of_a_stopped_run_are_charged(deaf: tuple[str, ...]) -> None:
    """A suspended study whose run has a Pod, reported by a watch or not: the run terminates when the Pod is gone."""

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


def test_a_suspended_study_keeps_its_results_and_continues() -> None:
    """A stopped runner leaves partial results; only missing trials are measured when the study is resumed."""

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


def test_a_stopping_run_continues_stopping_after_a_restart() -> None:
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


def test_a_run_whose_pod_stays_is_given_up() -> None:
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
        return stage, operator.said(before), wait

    stage, requests, wait = asyncio.run(play())
    assert (requests, wait) == (["DELETE jobs"], None)
    assert stage.runs == []


def test_an_invalid_spec_leaves_live_runs_to_finish() -> None:
    """They came from the last valid spec; the problem is reported, and the result counts when the spec is corrected."""

    async def play() -> tuple[Stage, list[str]]:
        stage, operator, run = await at_work()
        stage.cluster.change(model={"name": "./weights"})
        before = len(operator.wire.requests)
        assert await operator.settle() is None
        assert stage.condition("Accepted") == ("False", "InvalidSpec")
        assert operator.reconciler.unfinished() == ()
        requests = operator.said(before)
        stage.nodes.finish(run)
        stage.cluster.change(model={"name": "example/model"})
        await stage.finish(operator)
        return stage, requests

    stage, requests = asyncio.run(play())
    assert "DELETE jobs" not in requests
    assert stage.row() == ("Measured", None, 1)


def test_an_invalid_study_that_is_suspended_frees_its_devices() -> None:
    """To suspend a study frees its devices, whatever else is wrong with its spec; a Job that has ended stays."""

    async def play() -> tuple[Stage, str]:
        stage, operator, run = await at_work(
            spec={"searchSpace": {"gpuCount": [2], "batchSize": [8, 64]}, "budget": {"maxTrials": 2}}
        )
        stage.nodes.finish(run)
        await operator.settle()
        stage.nodes.start(stage.runs[-1])
        stage.cluster.change(model={"name": "./weights"}, suspend=True)
        await operator.settle()
        await operator.settle()
        assert operator.said().count("DELETE jobs") == 1
        stage.nodes.let_go()
        return stage, run

    stage, run = asyncio.run(play())
    assert stage.condition("Accepted") == ("False", "InvalidSpec")
    assert stage.condition("Suspended") == ("True", "Suspended")
    assert stage.runs == [run]


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
    assert "DELETE jobs" not in operator.said()


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
    assert "DELETE jobs" not in operator.said()


def test_a_result_without_watch_events_counts_when_the_wait_for_its_end_expires() -> None:
    """The Pod of a stopped run has ended and stays: it is read before the run is given up."""

    async def play() -> Stage:
        stage, operator, run = await at_work()
        stage.cluster.change(suspend=True)
        await operator.settle()
        operator.deaf = {"jobs", "pods"}
        stage.nodes.exit(run, message=stage.nodes.message(run))
        stage.cluster.clock.advance(121)
        await operator.settle()
        return stage

    assert asyncio.run(play()).row() == ("Measured", None, 1)


def test_a_stopped_run_whose_job_has_no_watch_events_is_read() -> None:
    """Another operator recorded that the run is to be stopped, and ended before it deleted the Job."""

    async def play() -> list[str]:
        stage = Stage(searchSpace=ONE_CELL)
        after = await stage.operator()
        after.deaf = {"jobs", "pods"}
        before = await stage.operator()
        run = await stage.work(before)
        stage.cluster.change(suspend=True)
        before.wire.interference = refusing(500, "InternalError", "etcd", said="DELETE jobs")
        with pytest.raises(KubeError):
            await before.reconcile()
        await stage.later(after)
        assert "deletionTimestamp" in stage.cluster.get("jobs", run)["metadata"]
        return stage.states()

    assert asyncio.run(play()) == ["Terminating"]


def test_a_job_is_deleted_whose_newest_pod_has_exited_while_another_holds_devices() -> None:
    """The Job controller, cut off while it made the first, made one Pod too many: neither may hold devices."""

    async def play() -> Operator:
        stage, operator, run = await at_work()
        stage.cluster.clock.advance(1)
        stage.nodes.start(run)
        stage.nodes.exit(run, code=1, message="no devices")
        stage.cluster.change(suspend=True)
        await operator.settle()
        return operator

    assert asyncio.run(play()).said().count("DELETE jobs") == 1


def test_a_job_that_another_holds_is_waited_for_no_longer_than_a_pod() -> None:
    """It never had a Pod, so its end costs nothing."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL)
        operator = await stage.operator()
        await operator.settle()
        stage.cluster.patch("jobs", stage.run, {"metadata": {"finalizers": ["example.org/keep"]}})
        stage.cluster.change(suspend=True)
        await stage.later(operator)
        assert stage.states() == ["Terminating"]
        stage.cluster.clock.advance(121)
        await operator.settle()
        return stage

    stage = asyncio.run(play())
    assert stage.row() == ("Broken", "Suspended", 1)
    assert stage.status["gpuHours"] == "0"


@pytest.mark.parametrize(
    ("pod", "holds"),
    [
        (make_pod(), False),
        (make_bound(), True),
        (make_running(), True),
        (make_ended(0), False),
        (make_running(phase="Failed"), False),
        (make_ended(0, phase="Running"), False),
    ],
    ids=["without a node", "on a node", "at work", "ended", "refused by its node", "exited a moment ago"],
)
def test_which_pods_hold_devices(pod: PodRecord, holds: bool) -> None:  # noqa: FBT001
    """One does from when it is on a node until its container, or the whole of it, has ended."""
    assert hold_devices([pod]) is holds
