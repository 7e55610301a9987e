"""Jobs are created and deleted once, by what the operator did itself, whatever its watches report."""

import asyncio

import pytest

from infpop_operator.adapters.kube.errors import KubeForbiddenError
from reconcile.memory_cluster import Answer, Request
from reconcile.operators import KEY, Operator
from reconcile.stage import NO_FAILURE, ONE_CELL, Stage, at_work
from reconcile.wire import CarryOut, Killed, kill_before, refusing

DENIED = 'jobs.batch is forbidden: User "infpop" cannot create resource "jobs" in API group "batch"'


def test_a_job_is_created_once_without_watch_events() -> None:
    """The answer to its creation is enough."""

    async def play() -> Operator:
        operator = await Stage(searchSpace=ONE_CELL).operator()
        operator.deaf = {"jobs"}
        for _ in range(3):
            await operator.settle()
        return operator

    assert asyncio.run(play()).said().count("POST jobs") == 1


def test_a_missing_job_is_deleted_once_without_watch_events() -> None:
    """The API server's answer that there is none is enough, for a study that is being deleted."""

    async def play() -> Operator:
        stage, operator, run = await at_work()
        operator.deaf = {"jobs", "pods"}
        stage.cluster.delete("jobs", run)
        stage.cluster.patch("throughputstudies", KEY.name, {"metadata": {"finalizers": ["example.org/keep"]}})
        stage.cluster.delete("throughputstudies")
        for _ in range(3):
            await operator.reconcile()
        return operator

    assert asyncio.run(play()).said().count("DELETE jobs") == 1


@pytest.mark.parametrize("how", ["deleted", "ended"])
def test_a_job_that_is_gone_or_has_ended_without_watch_events_is_not_deleted(how: str) -> None:
    """It is read before: one that has ended stays for its user, also where its Pod is gone."""

    async def play() -> Operator:
        stage, operator, run = await at_work()
        operator.deaf = {"jobs", "pods"}
        if how == "deleted":
            stage.cluster.delete("jobs", run)
            stage.nodes.let_go()
        else:
            stage.nodes.finish(run)
            stage.nodes.let_go_of(run)
        stage.cluster.change(suspend=True)
        await operator.settle()
        return operator

    operator = asyncio.run(play())
    assert "GET jobs" in operator.said()
    assert "DELETE jobs" not in operator.said()


def test_a_run_that_is_stopped_before_it_has_a_job_gets_none() -> None:
    """The operator ended between recording the run and creating its Job, and the study was suspended meanwhile."""

    async def kill_at_creation(request: Request, carry_out: CarryOut) -> Answer:
        return await (kill_before(carry_out) if request.said == "POST jobs" else carry_out())

    async def play() -> tuple[Stage, Operator]:
        stage = Stage(searchSpace=ONE_CELL)
        with pytest.raises(Killed):
            await (await stage.operator(interference=kill_at_creation)).reconcile()
        stage.cluster.change(suspend=True)
        operator = await stage.operator()
        await operator.settle()
        return stage, operator

    stage, operator = asyncio.run(play())
    assert "POST jobs" not in operator.said()
    assert stage.row()[:2] == ("Broken", "Suspended")


def test_a_job_that_is_refused_late_has_cost_nothing() -> None:
    """Its run was recorded long before: it held no device in all that time."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, budget=NO_FAILURE)
        operator = await stage.operator(interference=refusing(403, "Forbidden", DENIED, said="POST jobs"))
        with pytest.raises(KubeForbiddenError):
            await operator.reconcile()
        stage.cluster.clock.advance(3600)
        operator.wire.interference = refusing(422, "Invalid", "spec.template: Invalid value", said="POST jobs")
        await operator.settle()
        return stage

    stage = asyncio.run(play())
    assert stage.row() == ("Broken", "JobRefused", 1)
    assert stage.status["gpuHours"] == "0"


def test_a_job_that_cannot_be_created_costs_one_listing_of_all_pods() -> None:
    """A quota may be used up for days: each pass reads the Job by its name and tries to create it, and no more."""

    async def play() -> Operator:
        stage = Stage(searchSpace=ONE_CELL, budget=NO_FAILURE)
        operator = await stage.operator(interference=refusing(403, "Forbidden", DENIED, said="POST jobs"))
        for _ in range(5):
            await operator.try_pass()
            stage.cluster.clock.advance(30)
        return operator

    said = asyncio.run(play()).said()
    assert said.count("POST jobs") == 5
    assert said.count("GET pods") == 2, "one as the operator starts, one for the run"
