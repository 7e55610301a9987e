"""Watches that are not in step: what one of them has not told is asked for before anything is decided for good."""

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

# No listing helps, and nobody waits for long for what is never heard.
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
def test_what_ended_unheard_is_found(place: Place, tmp_path: Path, kind: str) -> None:
    """Jobs are seen to end whose Pods were never heard of, or the other way round: every result counts, once."""
    with deaf(place, tmp_path, kind), place.kubelet(replay(throughput, trial_seconds=0.3)) as kubelet:
        place.study(searchSpace={"gpuCount": [1, 2], "batchSize": [8, 16]})
        trials = place.wait_for("Succeeded")["trials"]
    assert [(row["state"], row["attempts"]) for row in trials] == [("Measured", 1)] * 4
    assert len(kubelet.runs) == 4


def test_a_result_that_was_not_heard_of_outlives_the_stop(place: Place, tmp_path: Path) -> None:
    """A study is suspended whose run has ended meanwhile: its number is kept."""
    with deaf(place, tmp_path, "pod", "job"), place.kubelet(replay(throughput)):
        place.study(searchSpace=CELL)
        place.wait_until(lambda: phases(place) == ["Succeeded"], what="the end of the run")
        assert place.status()["runs"]
        place.change(suspend=True)
        (row,) = place.wait(lambda status: not status["runs"], what="no live runs")["trials"]
    assert row["state"] == "Measured"


def test_devices_that_were_not_heard_of_are_paid_for(place: Place, tmp_path: Path) -> None:
    """A study is suspended whose run has a Pod by now: the run is ending until that is gone, and has used GPUs."""
    with deaf(place, tmp_path, "pod", "job"), place.kubelet(lambda _spec, _attempt: HangsLoading()):
        place.study(searchSpace=CELL)
        place.wait_until(lambda: phases(place) == ["Running"], what="a run at work")
        place.change(suspend=True)
        status = place.wait(lambda status: status["runs"] == [], what="no live runs")
    assert float(status["gpuHours"]) > 0
    assert place.running_pods() == []


def test_a_queue_that_was_not_heard_of_costs_no_failure(place: Place, tmp_path: Path) -> None:
    """What looks like a Pod that somebody deleted is the work of whoever suspended its Job: no budget is used."""
    hanging = HangsLoading()
    with deaf(place, tmp_path, "job"), place.kubelet(lambda _spec, _attempt: hanging) as kubelet:
        place.study(searchSpace=CELL, budget={"maxTrials": 1, "maxFailedTrials": 0})
        run = place.wait_for_run("ModelLoading")
        kubelet.play = replay(throughput)
        place.patch("job", run["name"], {"spec": {"suspend": True}})
        (row,) = place.wait_for("Succeeded")["trials"]
    assert (row["state"], row["attempts"]) == ("Measured", 2)
