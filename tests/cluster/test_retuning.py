"""A rolling replacement of four V100 nodes by A100 nodes: one new round, right numbers, published once.

The nodes are deleted and created one by one, or relabelled one by one; a finished study, one in the middle of a run,
and one whose operator is killed halfway.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.conftest import QUICK
from cluster.operator_process import OperatorProcess, running_operator
from cluster.place import Body, Place
from cluster.studies import find_condition
from controlplane.behaviours import Behaviour, HangsLoading, Succeeds
from controlplane.cluster import ControlPlane
from controlplane.nodes import added_nodes, delete_nodes, gpu_node
from infpop_operator.adapters.journal import decode_line
from infpop_operator.core.model import Round
from infpop_runner.contract import RunSpec

pytestmark = pytest.mark.cluster

NODES = 4
V100: dict[str, Any] = {"product": "Tesla-V100-SXM2-32GB", "memory_mb": 32768}
A100: dict[str, Any] = {"product": "NVIDIA-A100-SXM4-40GB", "memory_mb": 40960}
SPEC: dict[str, Any] = {
    "searchSpace": {"gpuCount": [2], "batchSize": [8, 64, 128]},
    "algorithm": {"name": "grid", "trialsPerRun": 1},
    "budget": {"maxTrials": 3},
    "retune": {"debounce": "3s"},
    "publish": {"configMap": "best"},
}
TOKENS = {1: {8: 100.0, 64: 300.0, 128: 400.0}, 2: {8: 900.0, 64: 800.0, 128: 600.0}}  # by round and batch size


@pytest.fixture
def place(installed: ControlPlane, namespace: str) -> Iterator[Place]:
    """A namespace with four nodes of eight V100s."""
    place = Place(installed, namespace)
    with added_nodes(installed, *(node(place, number, V100) for number in range(NODES))):
        yield place
    place.close()


def node(place: Place, number: int, gpu: dict[str, Any]) -> Body:
    """Return a node of the place."""
    return gpu_node(f"{place.namespace}-{number}", extra_labels={"pool": place.namespace}, **gpu)


@contextmanager
def replaced(place: Place, number: int) -> Iterator[None]:
    """Delete a V100 node and create an A100 node with another name."""
    delete_nodes(place.cluster, (f"{place.namespace}-{number}",))
    with added_nodes(place.cluster, node(place, NODES + number, A100)):
        yield


@contextmanager
def relabelled(place: Place, number: int) -> Iterator[None]:
    """Give a node the labels of an A100."""
    name = f"{place.namespace}-{number}"
    place.patch("node", name, {"metadata": {"labels": node(place, number, A100)["metadata"]["labels"]}})
    yield


def by_round(spec: RunSpec, _attempt: int) -> Behaviour:
    """Play the hardware that a round measures."""
    return Succeeds(throughput=lambda _gpus, batch: TOKENS[spec.round][batch])


def hanging_second(spec: RunSpec, attempt: int) -> Behaviour:
    """Let the second run of the first round hang."""
    return HangsLoading() if (spec.round, spec.trials[0].index) == (1, 1) else by_round(spec, attempt)


def recorded_rounds(place: Place) -> list[tuple[int, int]]:
    """Return the rounds in the journal, with how often each was resumed."""
    journals = [each for each in place.objects("configmap") if each["metadata"]["name"].startswith("study-")]
    lines = [decode_line(text) for journal in journals for _, text in sorted(journal["data"].items())]
    return list(dict.fromkeys((line.number, line.resumed) for line in lines if isinstance(line, Round)))


def published(versions: list[Body]) -> list[str]:
    """Return the contents that the published ConfigMap had, without repetitions."""
    found = (event["object"] for event in versions if event["object"]["metadata"]["name"] == "best")
    return list(dict.fromkeys(json.dumps(each["data"], sort_keys=True) for each in found))


@pytest.mark.parametrize(
    ("state", "replace_node", "is_killed"),
    [
        ("finished", replaced, False),
        ("finished", relabelled, True),
        ("running", relabelled, False),
        ("running", replaced, True),
    ],
)
def test_a_rolling_replacement_starts_one_round(
    place: Place,
    tmp_path: Path,
    state: str,
    replace_node: Callable[[Place, int], Any],
    is_killed: bool,  # noqa: FBT001 - both ways
) -> None:
    """The old best is measured first on the new GPUs, no run of a round gets the other's, and nothing is lost."""
    play = by_round if state == "finished" else hanging_second
    pool = {"name": "gpus", "nodeSelector": {"pool": place.namespace}}
    with (
        running_operator(place.cluster, tmp_path, namespace=place.namespace, environment=QUICK) as operator,
        place.watched("configmaps", tmp_path / "maps.json") as versions,
        place.kubelet(play) as kubelet,
    ):
        place.study(nodePools=[pool], **SPEC)
        if state == "finished":
            place.wait(_is_published, what="the first result")
        else:
            place.wait_for_run("ModelLoading")
        with _replaced_nodes(place, replace_node, operator if is_killed else None):
            status = place.wait(lambda status: status["pools"][0]["round"] == 2, what="another round")
            status = place.wait(_is_published, what="the second result")
    assert recorded_rounds(place) == [(1, 0), (2, 0)]
    rows = [(row["round"], row["batchSize"], row["state"], row.get("throughput")) for row in status["trials"]]
    assert [row for row in rows if row[0] == 2] == [
        (2, *row) for row in _second_round(first=128 if state == "finished" else 8)
    ]
    first = [row[2:] for row in rows if row[0] == 1]
    assert first == (
        [("Measured", "100"), ("Measured", "300"), ("Measured", "400")]
        if state == "finished"
        else [("Measured", "100"), ("Broken", None)]
    )
    (only,) = status["pools"]
    assert (only["gpu"], only["improvementPercent"]) == (
        "NVIDIA-A100-SXM4-40GB",
        "50.0" if state == "finished" else "0.0",
    )
    assert (status["best"]["round"], status["best"]["batchSize"]) == (2, 8)
    assert len(published(versions())) == (2 if state == "finished" else 1)
    assert find_condition(status, "ResultStale")["status"] == "False"
    assert len({run.spec.run for run in kubelet.runs}) == len(kubelet.runs) == len(rows)


def _second_round(*, first: int) -> list[tuple[int, str, str]]:
    order = [first, *(batch for batch in (8, 64, 128) if batch != first)]
    return [(batch, "Measured", f"{TOKENS[2][batch]:g}") for batch in order]


def _is_published(status: Body) -> bool:
    done = find_condition(status, "Succeeded").get("status") == "True"
    return done and find_condition(status, "Published").get("status") == "True"


@contextmanager
def _replaced_nodes(
    place: Place, replace_node: Callable[[Place, int], Any], killed: OperatorProcess | None
) -> Iterator[None]:
    """Replace the nodes one by one; the operator sees each step, or is killed in the middle and started at the end."""
    first, second, third, fourth = (replace_node(place, number) for number in range(NODES))
    with first, second:
        place.wait(lambda status: status["pools"][0].get("reason") == "MixedGPUs", what="a mix of GPUs")
        if killed is not None:
            killed.kill()
        with third, fourth:
            if killed is not None:
                killed.start()
            yield
