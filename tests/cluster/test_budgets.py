"""Invariants 4 and 6: what a study may spend, on the way and when it is raised, and a pause that frees the GPUs."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from cluster.place import Body, Place, throughput
from cluster.studies import find_condition
from controlplane.behaviours import Behaviour, Crashes, HangsLoading, Succeeds, replay
from controlplane.kubelet import PlayedRun
from infpop_runner.contract import RunSpec

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("quick_operator")]

ONE_CELL = {"gpuCount": [8], "batchSize": [8]}


def cells(runs: Iterable[PlayedRun]) -> list[tuple[int, int]]:
    """Return GPU count and batch size of every trial of the runs."""
    return [(run.spec.gpu_count, trial.batch_size) for run in runs for trial in run.spec.trials]


def most_at_once(versions: Iterable[Body]) -> tuple[int, int]:
    """Return how many pods lived at the same time at most, and how many GPUs they asked for."""
    live: dict[str, int] = {}
    most_pods = most_gpus = 0
    for version in versions:
        pod = version["object"]
        name, limits = pod["metadata"]["name"], pod["spec"]["containers"][0]["resources"]["limits"]
        live.pop(name, None)
        if version["type"] != "DELETED" and pod["status"]["phase"] in ("Pending", "Running"):
            live[name] = int(limits["nvidia.com/gpu"])
        most_pods, most_gpus = max(most_pods, len(live)), max(most_gpus, sum(live.values()))
    return most_pods, most_gpus


@pytest.mark.parametrize(
    ("gpu_count", "most_gpus", "expected"),
    [pytest.param(2, 16, (3, 6), id="parallelTrials"), pytest.param(4, 8, (2, 8), id="maxConcurrentGPUs")],
)
def test_runs_at_the_same_time(
    place: Place, tmp_path: Path, gpu_count: int, most_gpus: int, expected: tuple[int, int]
) -> None:
    """Invariant 6: at no time do more runs live, or hold more GPUs, than the budget allows, and no less if they can."""
    with place.nodes("NVIDIA-A100-SXM4-40GB", first=1), place.watched("pods", tmp_path / "pods.json") as versions:
        place.study(
            searchSpace={"gpuCount": [gpu_count], "batchSize": [1, 2, 4, 8, 16, 32]},
            budget={"maxTrials": 6, "parallelTrials": 3, "maxConcurrentGPUs": most_gpus},
        )
        with place.kubelet(replay(throughput, trial_seconds=0.5)) as kubelet:
            place.wait_for("Succeeded")
            place.wait_until(lambda: len(_ended(versions())) == 6, what="the ends of all pods")
            assert len(set(cells(kubelet.runs))) == len(kubelet.runs) == 6
    assert most_at_once(versions()) == expected


def _ended(versions: Iterable[Body]) -> set[str]:
    pods = (version["object"] for version in versions)
    return {pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] == "Succeeded"}


def test_gpu_hours(place: Place) -> None:
    """Invariant 6: when the GPU-hours are spent the live run ends, its GPUs are free, and the best so far is shown."""

    def play(spec: RunSpec, _attempt: int) -> Behaviour:
        return HangsLoading() if spec.trials[0].index == 1 else Succeeds(throughput=throughput)

    # 4.5 s of eight GPUs
    place.study(searchSpace={"gpuCount": [8], "batchSize": [8, 64]}, budget={"maxGPUHours": "0.01"})
    with place.kubelet(play):
        status = place.wait_for("Succeeded", reason="GPUHoursSpent")
        place.wait_until(lambda: place.running_pods() == [], what="free GPUs")
    assert status["best"]["run"] == status["trials"][0]["run"]
    assert 0.01 <= float(status["gpuHours"]) < 0.05
    assert [(row["state"], row.get("reason")) for row in status["trials"]] == [
        ("Measured", None),
        ("Broken", "GPUHoursSpent"),
    ]
    assert "RunBroken" not in place.reasons()


def test_deadline(place: Place) -> None:
    """Invariant 6: at the deadline the live run ends; a study that found nothing until then says so."""
    place.study(budget={"deadline": "3s"})
    with place.kubelet(lambda _spec, _attempt: HangsLoading()) as kubelet:
        status = place.wait_for("Stalled")
        place.wait_until(lambda: place.running_pods() == [], what="free GPUs")
        assert len(kubelet.runs) == 1
    ready = find_condition(status, "Ready")
    assert ready["reason"] == "NothingEligible"
    assert "the deadline of 0:00:03 has passed" in ready["message"]


def test_a_study_with_only_failures_stops_and_can_go_on(place: Place) -> None:
    """Invariant 4: broken runs are retried within the budget; beyond it the study stalls until the budget is raised."""
    place.study(searchSpace=ONE_CELL, budget={"maxTrials": 1, "maxFailedTrials": 1})
    with place.kubelet(lambda _spec, _attempt: Crashes(message="RuntimeError: NCCL error")) as kubelet:
        status = place.wait_for("Stalled", reason="TooManyFailures")
        assert len(kubelet.runs) == 2
        message = find_condition(status, "Stalled")["message"]
        assert "2 runs broke, more than spec.budget.maxFailedTrials 1" in message
        assert "RuntimeError: NCCL error" in message
        assert "best" not in status
        kubelet.play = replay(throughput)
        place.change(budget={"maxFailedTrials": 2})
        status = place.wait_for("Succeeded")
        assert len(kubelet.runs) == 3
    (row,) = status["trials"]
    assert (row["state"], row["attempts"], row["round"]) == ("Measured", 3, 1)
    assert find_condition(status, "Stalled")["status"] == "False"


def test_suspend_frees_the_gpus_and_keeps_what_was_measured(place: Place) -> None:
    """Invariant 6: a suspended study has no Jobs and no pods, keeps partial results, and repeats nothing later."""
    place.study(
        searchSpace={"gpuCount": [2], "batchSize": [8, 64, 128]},
        algorithm={"name": "grid", "trialsPerRun": 3},
        budget={"maxTrials": 3, "maxFailedTrials": 0},
    )
    with place.kubelet(replay(throughput, trial_seconds=2)) as kubelet:
        place.wait_until(place.shows_a_number, what="the number of the first trial")
        place.change(suspend=True)
        status = place.wait_for("Suspended")
        place.wait_until(lambda: place.objects("job") == place.objects("pod") == [], what="no Jobs and no pods")
        place.wait(lambda status: not status["runs"], what="no live runs")
        status = place.status()
        assert find_condition(status, "Ready")["reason"] == "Suspended"
        states = {row["batchSize"]: (row["state"], row.get("reason")) for row in status["trials"]}
        assert states == {8: ("Measured", None), 64: ("Broken", "Stopped"), 128: ("Broken", "Stopped")}
        assert len(kubelet.runs) == 1
        kubelet.play = replay(throughput)
        place.change(suspend=False)
        status = place.wait_for("Succeeded")
        later = cells(kubelet.runs[1:])
    assert sorted(later) == [(2, 64), (2, 128)]
    assert find_condition(status, "Suspended")["status"] == "False"


def test_a_study_that_is_born_suspended_takes_no_gpu(place: Place) -> None:
    """Invariant 6: a study that is suspended from its first moment makes no Job until it is let go."""
    place.study(suspend=True, searchSpace=ONE_CELL, budget={"maxTrials": 1})
    status = place.wait_for("Suspended")
    assert find_condition(status, "Accepted")["status"] == "True"
    assert place.objects("job") == []
    place.change(suspend=False)
    with place.kubelet(replay(throughput)):
        place.wait_for("Succeeded")


def test_a_raised_budget_continues_the_search(place: Place) -> None:
    """Invariant 6: a raised maxTrials continues an ended study in the same round, and repeats nothing."""
    place.study(searchSpace={"gpuCount": [1, 2], "batchSize": [8, 64]}, budget={"maxTrials": 2})
    with place.kubelet(replay(throughput)) as kubelet:
        status = place.wait_for("Succeeded", reason="MaxTrialsReached")
        assert (len(kubelet.runs), status["progress"]) == (2, "2/2")
        place.change(budget={"maxTrials": 4})
        status = place.wait(lambda status: status["progress"] == "4/4", what="two more trials")
        place.wait_for("Succeeded")
        assert sorted(cells(kubelet.runs)) == [(1, 8), (1, 64), (2, 8), (2, 64)]
    assert {row["round"] for row in place.status()["trials"]} == {1}
    assert place.status()["observedGeneration"] == 2
