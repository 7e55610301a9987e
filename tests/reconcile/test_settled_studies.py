"""What a settled study depends on beside its own objects, and what statuses and journals have to hold."""

import asyncio

from controlplane.nodes import gpu_node
from reconcile.operators import Operator
from reconcile.stage import ONE_CELL, Stage, at_work


def test_a_pool_that_still_cannot_be_tuned_is_reported_with_its_new_reason() -> None:
    """The study is stalled for another reason, and its status follows the Nodes all the same."""

    async def play() -> tuple[list[str | None], list[str | None]]:
        pools = [{"name": "a100", "gpuProduct": "A100"}, {"name": "any", "nodeSelector": {"pool": "mixed"}}]
        stage, operator, run = await at_work(spec={"nodePools": pools})
        stage.nodes.crash(run)
        await operator.settle()
        await operator.settle()
        assert stage.condition("Stalled") == ("True", "TooManyFailures")
        before = [pool.get("reason") for pool in stage.status["pools"]]
        for name, product in (("m1", "Tesla-V100-SXM2-32GB"), ("m2", "NVIDIA-H100-80GB-HBM3")):
            stage.cluster.create("nodes", gpu_node(name, product=product, extra_labels={"pool": "mixed"}))
        await operator.settle()
        return before, [pool.get("reason") for pool in stage.status["pools"]]

    assert asyncio.run(play()) == ([None, "NoMatchingNodes"], [None, "MixedGPUs"])


def test_a_round_that_begins_while_a_study_is_suspended_is_recorded() -> None:
    """The study has begun before: what is measured from now on is compared with nothing that came before."""

    async def play() -> int:
        stage, operator, _ = await at_work()
        stage.cluster.change(suspend=True, workload={"maxNewTokens": 64})
        await operator.settle()
        stage.nodes.let_go()
        await stage.later(operator)
        return int(stage.status["pools"][0]["round"])

    assert asyncio.run(play()) == 2


def test_a_status_has_all_pools_and_trials() -> None:
    """Each pool has its Nodes, and what is not known is left out; a source that answers at once wakes no study."""

    async def play() -> tuple[Stage, Operator]:
        stage = Stage(searchSpace=ONE_CELL)
        operator = await stage.operator()
        await stage.finish(operator)
        return stage, operator

    stage, operator = asyncio.run(play())
    (pool,) = stage.status["pools"]
    assert (pool["nodes"], pool["gpusPerNode"]) == (1, 8)
    assert None not in [*pool.values(), *stage.status["trials"][0].values(), *stage.status["best"].values()]
    assert operator.woken == []


def test_a_status_is_written_again_without_watch_events_of_the_last_write() -> None:
    """The answer to the last write has the version that the next write replaces."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL)
        operator = await stage.operator()
        operator.deaf = {"throughputstudies"}
        stage.nodes.finish(await stage.work(operator))
        await operator.settle()
        return stage

    assert asyncio.run(play()).condition("Succeeded") == ("True", "SpaceExhausted")
