"""Nodes that keep refusing runs are found in the history, for a while, and never all of a long list."""

from dataclasses import replace

import pytest

from factories.runs import make_ended, make_history, make_loss, make_run
from factories.studies import at
from infpop_operator.core.model import NODE_REFUSED, EndedRun, History
from infpop_operator.core.refusals import refusing_nodes


def refused(node: str | None, *, ended: float, reason: str = NODE_REFUSED) -> EndedRun:
    """Return a run that a node refused at this second."""
    run = replace(make_run(), name=f"run-{node}-{ended}")
    return make_ended(run, make_loss(reason, ended=ended, counts=False, node=node))


def history(*ended: EndedRun) -> History:
    """Return a history of these runs."""
    return make_history(ended=ended)


@pytest.mark.parametrize(
    ("ended", "nodes"),
    [
        ([], ()),
        ([("a", 10)], ()),
        ([("a", 10), ("a", 20)], ("a",)),
        ([("a", 10), ("b", 20), ("a", 30), ("b", 40)], ("b", "a")),
        ([("a", 10), ("b", 20), ("b", 30), ("a", 40)], ("a", "b")),
        ([(None, 10), (None, 20)], ()),
    ],
)
def test_a_node_is_avoided_if_it_refuses_again(ended: list[tuple[str | None, float]], nodes: tuple[str, ...]) -> None:
    """One refusal may be a race; the newest refusal comes first."""
    runs = [refused(node, ended=second) for node, second in ended]
    assert refusing_nodes(history(*runs), at(100)) == nodes


def test_a_node_gets_another_chance() -> None:
    """An hour later it may have been repaired; if it refuses again, one older refusal does not count."""
    runs = history(refused("a", ended=0), refused("a", ended=60))
    assert refusing_nodes(runs, at(3599)) == ("a",)
    assert refusing_nodes(runs, at(3600)) == ()


def test_other_losses_are_not_the_nodes_refusal() -> None:
    """A preemption says nothing about its node."""
    runs = [refused("a", ended=second, reason="Preempted") for second in (10, 20)]
    assert refusing_nodes(history(*runs), at(100)) == ()


def test_no_more_than_eight_nodes_are_avoided() -> None:
    """A Job's affinity stays readable, and a cluster with a general fault is not excluded node by node."""
    runs = [refused(f"n{number}", ended=number) for number in range(20) for _ in range(2)]
    assert refusing_nodes(history(*runs), at(100)) == tuple(f"n{number}" for number in range(19, 11, -1))
