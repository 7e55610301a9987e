"""A pool whose hardware changes, on a cluster in memory: one round, whatever becomes of the operator meanwhile."""

import asyncio
from collections import Counter
from collections.abc import Mapping

import pytest

from controlplane.nodes import gpu_node
from infpop_operator.adapters.journal import decode_line
from infpop_operator.core.model import Round
from reconcile.memory_cluster import STUDY
from reconcile.operators import KEY
from reconcile.played_nodes import NODE
from reconcile.stage import ONE_CELL, Stage
from reconcile.succession import Succession
from reconcile.wire import Interference, Trouble, at_request, kill_after, kill_before, let_pass, lose_answer

SETTLES_S = 30.0
STUDY_SPEC: Mapping[str, object] = {
    "budget": {"maxTrials": 2},
    "publish": {"configMap": "best"},
    "retune": {"debounce": "30s"},
}
TOLD = {"HardwareChanged": 1, "RoundStarted": 2, "TrialMeasured": 4, "Published": 2}
OTHER_GPU: Mapping[str, object] = {"product": "NVIDIA-A100-SXM4-80GB", "memory_mb": 81920}


def recorded_rounds(stage: Stage) -> list[tuple[int, int]]:
    """Return the rounds in the journal, each with how often it was resumed, without their later records."""
    steps = [decode_line(line) for journal in stage.journals() for _, line in sorted(journal["data"].items())]
    return list(dict.fromkeys((step.number, step.resumed) for step in steps if isinstance(step, Round)))


def told(stage: Stage) -> Counter[str]:
    """Return how often each Event about rounds and their results was written."""
    wanted = {"HardwareChanged", "RoundStarted", "TrialMeasured", "Published"}
    return Counter(reason for reason in stage.events() if reason in wanted)


def replace_node(stage: Stage, name: str, **gpu: object) -> None:
    """Replace the only node, as a managed node group does."""
    for node in stage.cluster.all("nodes"):
        stage.cluster.delete("nodes", node["metadata"]["name"])
    stage.cluster.create("nodes", gpu_node(name, **gpu))


async def until_round(stage: Stage, operators: Succession, number: int) -> None:
    """Drive the study until this round has finished and nothing is left to do."""
    for _ in range(200):
        await operators.try_pass()
        moved = stage.nodes.step()
        stage.nodes.let_go()
        stage.expire()
        if not moved and stage.is_done() and stage.status["pools"][0]["round"] == number:
            return
        stage.cluster.clock.advance(5.0)
    raise AssertionError(f"round {number} does not end: {stage.status}")


async def retuned_life(interference: Interference = let_pass) -> tuple[Stage, Succession, int]:
    """Return a study whose finished pool got other GPUs, and the number of requests before that."""
    stage = Stage(**STUDY_SPEC)
    operators = Succession(stage, interference)
    await stage.finish(operators)
    before = len(operators.operator.wire.requests)
    replace_node(stage, "n2", **OTHER_GPU)
    await until_round(stage, operators, 2)
    return stage, operators, before


@pytest.mark.parametrize("trouble", [kill_before, kill_after, lose_answer])
def test_an_operator_in_trouble_while_it_retunes(trouble: Trouble) -> None:
    """At every request from the change of hardware on: one new round, each run and each Event once, the same result."""

    async def play() -> None:
        calm, operators, before = await retuned_life()
        expected, requests = calm.outcome(), len(operators.operator.wire.requests)
        assert recorded_rounds(calm) == [(1, 0), (2, 0)]
        assert told(calm) == TOLD
        for number in range(before, requests):
            stage, operators, _ = await retuned_life(at_request(number, trouble))
            await operators.try_pass()  # writes the Events that the API server gave no answer to
            assert told(stage) == TOLD, number
            assert stage.outcome() == expected, number
            assert recorded_rounds(stage) == [(1, 0), (2, 0)], number
            started, ended = stage.recorded()
            assert (started, set(ended.values())) == (ended, {1}), number
            assert stage.created_jobs() == started, number

    asyncio.run(play())


def test_the_operator_wakes_itself_when_the_hardware_has_settled() -> None:
    """The study has ended and is out of memory: until the debounce is over its result stays, and nothing runs."""

    async def play() -> tuple[Stage, float | None, float | None]:
        stage = Stage(searchSpace=ONE_CELL, retune={"debounce": "30s"})
        operator = await stage.operator()
        await stage.finish(operator)
        await operator.settle()
        replace_node(stage, "n2", **OTHER_GPU)
        first = await operator.settle()
        assert operator.reconciler.unfinished() == (KEY,)
        assert (stage.condition("Succeeded") or ("",))[0] == "True"
        stage.cluster.clock.advance(SETTLES_S - 1)
        second = await operator.settle()
        assert len(stage.created_jobs()) == 1
        stage.cluster.clock.advance(1)
        await operator.settle()
        return stage, first, second

    stage, first, second = asyncio.run(play())
    assert (first, second) == (SETTLES_S, 1.0)
    assert len(stage.created_jobs()) == 2
    assert stage.status["pools"][0]["round"] == 2


def test_a_relabelled_node_does_not_get_the_runs_of_the_old_round() -> None:
    """A run whose Pod waits is stopped; its round starts none on other GPUs, and goes on if the label comes back."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, retune={"debounce": "30s"})
        operator = await stage.operator()
        await operator.settle()
        before = gpu_node(NODE)["metadata"]["labels"]
        labels = gpu_node(NODE, **OTHER_GPU)["metadata"]["labels"]
        stage.cluster.patch("nodes", NODE, {"metadata": {"labels": labels}})
        await operator.settle()
        assert stage.runs == []
        stage.cluster.clock.advance(SETTLES_S - 1)
        await operator.settle()
        assert stage.runs == []
        stage.cluster.patch("nodes", NODE, {"metadata": {"labels": before}})
        stage.cluster.clock.advance(60)
        await operator.settle()
        assert len(stage.runs) == 1
        await stage.finish(operator)
        return stage

    stage = asyncio.run(play())
    assert recorded_rounds(stage) == [(1, 0)]
    assert [row["state"] for row in stage.status["trials"]] == ["Measured"]


def test_the_annotation_starts_a_round() -> None:
    """Its value is data: one line of bounded size in the journal. The operator neither writes nor removes it."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, retune={"policy": "Never"})
        operator = await stage.operator()
        await stage.finish(operator)
        await operator.settle()
        hostile = "now\n\x1b[31m" + "x" * 5000
        stage.cluster.patch("throughputstudies", STUDY, {"metadata": {"annotations": {"infpop.io/retune": hostile}}})
        await operator.settle()
        assert stage.status["pools"][0]["round"] == 2
        await stage.finish(operator)
        await operator.settle()
        assert stage.cluster.get("throughputstudies")["metadata"]["annotations"] == {"infpop.io/retune": hostile}
        return stage

    stage = asyncio.run(play())
    assert recorded_rounds(stage) == [(1, 0), (2, 0)]
    newest = [decode_line(line) for journal in stage.journals() for line in journal["data"].values()]
    (requested,) = {step.requested for step in newest if isinstance(step, Round) and step.number == 2}
    assert requested is not None
    assert requested.isprintable()
    assert len(requested) < 100


def test_old_nodes_that_return_continue_their_round() -> None:
    """V100, A100, V100: the first round's results are there again, and only what is in use is measured there."""

    async def play() -> Stage:
        stage = Stage(**{**STUDY_SPEC, "retune": {"debounce": "30s"}})
        operators = Succession(stage, let_pass)
        await stage.finish(operators)
        replace_node(stage, "n2", **OTHER_GPU)
        await until_round(stage, operators, 2)
        replace_node(stage, NODE)
        await until_round(stage, operators, 1)
        return stage

    stage = asyncio.run(play())
    assert recorded_rounds(stage) == [(1, 0), (2, 0), (1, 1)]
    assert stage.condition("ResultStale") == ("False", "Current")
    assert stage.status["best"]["round"] == 1


def test_a_flap_and_a_held_change_are_reported() -> None:
    """The user reads what changed, that it changed back, and why no round starts, each of them once."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, retune={"policy": "Manual"})
        operator = await stage.operator()
        await stage.finish(operator)
        for name, gpu in (("n2", OTHER_GPU), ("n3", {})):
            replace_node(stage, name, **gpu)
            stage.cluster.clock.advance(60.0)
            await operator.settle()
            again = await stage.operator()
            stage.forge({}, whole=True)
            await again.settle()
        return stage

    stage = asyncio.run(play())
    course = [each for each in stage.events() if each not in {"Valid", "Succeeded", "TrialMeasured"}]
    assert course == ["RoundStarted", "HardwareChanged", "RetuneHeld", "HardwareRestored", "Current"]
    assert stage.condition("ResultStale") == ("False", "Current")
