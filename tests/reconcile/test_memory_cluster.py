"""The cluster in memory is what the tests of the reconciler take it for; tests/cluster asks a real one the same."""

import asyncio

import pytest

from infpop_operator.adapters.kube.errors import (
    KubeConflictError,
    KubeExistsError,
    KubeNotFoundError,
    KubeUnavailableError,
)
from infpop_operator.cluster.service import SELECTOR
from reconcile.memory_cluster import NAMESPACE, MemoryCluster
from reconcile.stage import Stage, at_work
from reconcile.wire import Wire, at_request, connect, lose_answer


def test_a_status_is_written_alone_and_into_the_version_that_was_read() -> None:
    """It changes no spec and no generation; an older version, or another object of that name, is a conflict."""

    async def play() -> None:
        stage = Stage()
        client = connect(Wire(stage.cluster))
        ((before,), _) = await client.list_studies()
        written = await client.replace_study_status({**before, "spec": {}}, {"progress": "1/4"})
        assert (written["spec"], written["status"]) == (before["spec"], {"progress": "1/4"})
        assert written["metadata"]["generation"] == 1
        with pytest.raises(KubeConflictError):
            await client.replace_study_status(before, {})
        other = {**written, "metadata": {**written["metadata"], "uid": "other"}}
        with pytest.raises(KubeConflictError):
            await client.replace_study_status(other, {})
        stage.cluster.change(suspend=True)
        assert stage.cluster.get("throughputstudies")["metadata"]["generation"] == 2

    asyncio.run(play())


def test_a_job_that_is_deleted_in_the_foreground_stays_until_its_pods_are_gone() -> None:
    """And one of another uid is not deleted."""

    async def play() -> None:
        stage, _, run = await at_work()
        client = connect(Wire(stage.cluster))
        uid = stage.cluster.get("jobs", run)["metadata"]["uid"]
        assert await client.delete_job(NAMESPACE, run, uid="other")
        assert "deletionTimestamp" not in stage.cluster.get("jobs", run)["metadata"]
        assert await client.delete_job(NAMESPACE, run, uid=uid)
        (pod,) = stage.nodes.pods(run)
        for each in (pod, stage.cluster.get("jobs", run)):
            assert "deletionTimestamp" in each["metadata"]
        stage.nodes.let_go()
        assert (stage.runs, stage.cluster.all("pods")) == ([], [])
        with pytest.raises(KubeNotFoundError):
            await client.get_job(NAMESPACE, run)

    asyncio.run(play())


def test_a_deleted_study_takes_what_it_owns_with_it() -> None:
    """Its Jobs and its journal go, and its Pods as soon as they have let go; a result that it published stays."""

    async def play() -> MemoryCluster:
        stage, _, _ = await at_work(spec={"publish": {"configMap": "best"}})
        metadata = {"name": "best", "namespace": NAMESPACE, "labels": {}}
        stage.cluster.create("configmaps", {"metadata": metadata})
        stage.cluster.delete("throughputstudies")
        stage.nodes.let_go()
        return stage.cluster

    cluster = asyncio.run(play())
    assert [cluster.all(plural) for plural in ("throughputstudies", "jobs", "pods")] == [[], [], []]  # type: ignore[arg-type]
    assert [each["metadata"]["name"] for each in cluster.all("configmaps")] == ["best"]


def test_an_answer_can_be_lost() -> None:
    """The request was carried out all the same; selectors find what was created."""

    async def play() -> None:
        cluster = MemoryCluster()
        client = connect(Wire(cluster, at_request(0, lose_answer)))
        labels = {"infpop.io/run": "run"}
        job = {"metadata": {"name": "run", "namespace": NAMESPACE, "labels": labels}, "spec": {}}
        with pytest.raises(KubeUnavailableError):
            await client.create_job(job)
        with pytest.raises(KubeExistsError):
            await client.create_job(job)
        (found,), _ = await client.list_jobs(SELECTOR)
        assert found.name == "run"
        assert (await client.list_jobs("app=other"))[0] == []

    asyncio.run(play())
