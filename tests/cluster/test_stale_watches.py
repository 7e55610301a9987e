"""Watches that are out of step: the operator reads what a watch has not reported before it makes a final decision."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from cluster.conftest import QUICK
from cluster.faulty_operators import deafen
from cluster.operator_process import OperatorProcess
from cluster.place import Place, throughput
from controlplane.behaviours import HangsLoading, replay

pytestmark = pytest.mark.cluster

# No listing helps, and no test waits long for what is never heard.
ALONE = {**QUICK, "INFPOP_RESYNC_SECONDS": "86400", "INFPOP_STOP_SECONDS": "5"}
CELL = {"gpuCount": [2], "batchSize": [8]}


@contextmanager
def deaf(place: Place, directory: Path, *kinds: str) -> Iterator[None]:
    """Run an operator for this place that hears nothing of these kinds."""
    deafened = partial(deafen, kinds)
    process = OperatorProcess(place.cluster, directory, namespace=place.namespace, prepare=deafened, environment=ALONE)
    process.start()
    try:
        yield
    finally:
        assert process.stop() == 0
    assert process.complaints() == []


def phases(place: Place) -> list[str]:
    """Return how the Pods are."""
    return [pod["status"]["phase"] for pod in place.objects("pod")]


@pytest.mark.parametrize("kind", ["pod", "job"])
def test_an_end_without_watch_events_is_found(place: Place, tmp_path: Path, kind: str) -> None:
    """Only the Jobs or only the Pods of ended runs are reported by a watch: every result counts, once."""
    with deaf(place, tmp_path, kind), place.kubelet(replay(throughput, trial_seconds=0.3)) as kubelet:
        place.study(searchSpace={"gpuCount": [1, 2], "batchSize": [8, 16]})
        trials = place.wait_for("Succeeded")["trials"]
    assert [(row["state"], row["attempts"]) for row in trials] == [("Measured", 1)] * 4
    assert len(kubelet.runs) == 4


def test_a_result_without_watch_events_survives_the_stop(place: Place, tmp_path: Path) -> None:
    """A study is suspended whose run has ended meanwhile: its number is kept."""
    with deaf(place, tmp_path, "pod", "job"), place.kubelet(replay(throughput)):
        place.study(searchSpace=CELL)
        place.wait_until(lambda: phases(place) == ["Succeeded"], what="the end of the run")
        place.wait(lambda status: bool(status.get("runs")), what="the run in the status")
        place.change(suspend=True)
        (row,) = place.wait(lambda status: not status["runs"], what="no live runs")["trials"]
    assert row["state"] == "Measured"


def test_devices_without_watch_events_are_charged(place: Place, tmp_path: Path) -> None:
    """A study is suspended whose run has a Pod by now: the run is ending until that is gone, and has used GPUs."""
    with deaf(place, tmp_path, "pod", "job"), place.kubelet(lambda _spec, _attempt: HangsLoading()):
        place.study(searchSpace=CELL)
        place.wait_until(lambda: phases(place) == ["Running"], what="a run at work")
        place.change(suspend=True)
        status = place.wait(lambda status: status["runs"] == [], what="no live runs")
    assert float(status["gpuHours"]) > 0
    assert place.running_pods() == []


def test_a_queue_without_watch_events_costs_no_failure(place: Place, tmp_path: Path) -> None:
    """A Pod that seems deleted by a user was deleted because its Job was suspended: no budget is used."""
    hanging = HangsLoading()
    with deaf(place, tmp_path, "job"), place.kubelet(lambda _spec, _attempt: hanging) as kubelet:
        place.study(searchSpace=CELL, budget={"maxTrials": 1, "maxFailedTrials": 0})
        run = place.wait_for_run("ModelLoading")
        kubelet.play = replay(throughput)
        place.patch("job", run["name"], {"spec": {"suspend": True}})
        (row,) = place.wait_for("Succeeded")["trials"]
    assert (row["state"], row["attempts"]) == ("Measured", 2)
