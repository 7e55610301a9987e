"""Runs that are taken away: by a person, by an eviction, with their node. No data point is lost or made up."""

import pytest

from cluster.place import Body, Place, throughput
from cluster.studies import find_condition
from controlplane.behaviours import Behaviour, Evicted, HangsLoading, Succeeds, replay
from controlplane.kubelet import SimulatedKubelet
from infpop_runner.contract import RunSpec

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("quick_operator")]

ONE_CELL = {"gpuCount": [8], "batchSize": [8]}


def hangs(_spec: RunSpec, _attempt: int) -> Behaviour:
    """Never come to an end."""
    return HangsLoading()


def start(place: Place, kubelet: SimulatedKubelet, number: int) -> Body:
    """Return the pod of the study's run of this number when it runs."""

    def running() -> Body | None:
        if len(kubelet.runs) < number:
            return None
        pod = place.find("pod", kubelet.runs[number - 1].pod)
        return pod if pod is not None and pod["status"]["phase"] == "Running" else None

    place.wait_until(running, what=f"run {number}")
    return place.get("pod", kubelet.runs[number - 1].pod)


def delete_job(place: Place, pod: Body) -> None:
    """Delete the Job of the pod as a person does."""
    place.delete("job", pod["metadata"]["labels"]["infpop.io/run"])


def test_a_deleted_job_runs_once_more(place: Place) -> None:
    """A Job that a user deletes is run again, under another name, and its trial is measured."""
    place.study(searchSpace=ONE_CELL, budget={"maxTrials": 1})
    with place.kubelet(hangs) as kubelet:
        first = start(place, kubelet, 1)
        kubelet.play = replay(throughput)
        delete_job(place, first)
        (row,) = place.wait_for("Succeeded")["trials"]
    assert (row["state"], row["attempts"]) == ("Measured", 2)
    assert row["run"] != first["metadata"]["labels"]["infpop.io/run"]


def test_what_a_deleted_job_had_measured_is_kept(place: Place) -> None:
    """The final result of a pod whose Job a user deleted is read, and only what it lacks is measured again."""
    place.study(
        searchSpace={"gpuCount": [2], "batchSize": [8, 64]},
        algorithm={"name": "grid", "trialsPerRun": "auto"},
        budget={"maxTrials": 2},
    )
    with place.kubelet(replay(throughput, trial_seconds=2)) as kubelet:
        pod = start(place, kubelet, 1)
        place.wait_until(place.shows_a_number, what="the number of the first trial")
        kubelet.play = replay(throughput)
        delete_job(place, pod)
        rows = place.wait_for("Succeeded")["trials"]
        assert [[trial.batch_size for trial in run.spec.trials] for run in kubelet.runs] == [[8, 64], [64]]
    assert [(row["state"], row["attempts"]) for row in rows] == [("Measured", 1), ("Measured", 2)]


def test_a_job_that_is_deleted_twice_stays_away(place: Place) -> None:
    """A user who deletes the Jobs of a trial twice means it: the trial stays Deleted, and the study continues."""
    place.study(searchSpace={"gpuCount": [8], "batchSize": [8, 64]}, budget={"maxTrials": 2})
    with place.kubelet(hangs) as kubelet:
        delete_job(place, start(place, kubelet, 1))
        delete_job(place, start(place, kubelet, 2))
        kubelet.play = replay(throughput)
        rows = place.wait_for("Succeeded")["trials"]
        assert len(kubelet.runs) == 3
    assert [(row["state"], row["attempts"], row.get("reason")) for row in rows] == [
        ("Broken", 2, "Deleted"),
        ("Measured", 1, None),
    ]
    assert place.reasons().count("RunBroken") == 2


def test_a_deleted_pod_runs_once_more(place: Place) -> None:
    """A pod that a user deletes leaves no number; its run is started again."""
    place.study(searchSpace=ONE_CELL, budget={"maxTrials": 1})
    with place.kubelet(hangs) as kubelet:
        first = start(place, kubelet, 1)
        kubelet.play = replay(throughput)
        place.delete("pod", first["metadata"]["name"])
        (row,) = place.wait_for("Succeeded")["trials"]
        assert len(kubelet.runs) == 2
    assert (row["state"], row["attempts"]) == ("Measured", 2)


def test_what_is_taken_away_costs_no_failure(place: Place) -> None:
    """Runs that lose their node, are drained or end with its shutdown are measured without using the failure budget."""
    troubles: dict[str, Behaviour] = {
        "node": Evicted(reason="DeletionByPodGC", after_seconds=3600),  # by the garbage collector itself, long before
        "drained": Evicted(reason="EvictionByEvictionAPI"),
        "drained-gently": Evicted(reason="EvictionByEvictionAPI", graceful=True),
        "shut-down": Evicted(
            reason="TerminationByKubelet",
            pod_reason="Terminated",
            pod_message="Pod was terminated in response to imminent node shutdown.",
        ),
    }

    def play(spec: RunSpec, attempt: int) -> Behaviour:
        return troubles[spec.study] if attempt == 1 else Succeeds(throughput=throughput)

    with place.nodes("NVIDIA-A100-SXM4-40GB", first=1), place.kubelet(play) as kubelet:
        space, budget = {"gpuCount": [2], "batchSize": [8]}, {"maxTrials": 1, "maxFailedTrials": 0}
        place.study("node", searchSpace=space, budget=budget)
        pod = start(place, kubelet, 1)
        place.delete("node", pod["spec"]["nodeName"])
        for name in list(troubles)[1:]:
            place.study(name, searchSpace=space, budget=budget)
        ended = {name: place.wait_for("Succeeded", name=name) for name in reversed(troubles)}
        moved = [run.node for run in kubelet.runs if run.spec.study == "node"]
    assert len(moved) == len(set(moved)) == 2
    attempts = {name: status["trials"][0]["attempts"] for name, status in ended.items()}
    # Where the runner had the time to end well its Job is over, and the run is made again; else the Job makes a pod.
    assert attempts == {"node": 1, "drained": 1, "drained-gently": 2, "shut-down": 1}


def is_over(job: Body) -> bool:
    """Say whether a Job has ended."""
    conditions = job.get("status", {}).get("conditions", ())
    return any((each["type"], each["status"]) in (("Complete", "True"), ("Failed", "True")) for each in conditions)


@pytest.mark.parametrize(
    ("words", "reason", "graceful"),
    [
        (
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 24Mi. ",
            "HostOutOfMemory",
            False,
        ),
        ("The node was low on resource: memory. ", "HostOutOfMemory", True),
        ("The node was low on resource: ephemeral-storage. ", "Evicted", False),
    ],
)
def test_a_run_that_is_too_large_for_its_node_is_not_tried_for_ever(
    place: Place, words: str, reason: str, *, graceful: bool
) -> None:
    """Each eviction by its kubelet uses the failure budget, and none of its Jobs makes a second pod."""
    place.study(searchSpace=ONE_CELL, budget={"maxTrials": 1, "maxFailedTrials": 1})
    evicted = Evicted(reason="TerminationByKubelet", pod_message=words, graceful=graceful)
    with place.kubelet(lambda _spec, _attempt: evicted) as kubelet:
        status = place.wait_for("Stalled", reason="TooManyFailures")
        # Deleted by the operator, or completed by the controller, where the runner had the time to end well.
        place.wait_until(lambda: all(map(is_over, place.objects("job"))), what="no Job that would make further pods")
        runs = [run.spec.run for run in kubelet.runs]
    (row,) = status["trials"]
    assert (row["state"], row["reason"], row["attempts"]) == ("Broken", reason, 2)
    assert len(runs) == len(set(runs)) == 2
    assert words.strip() in find_condition(status, "Ready")["message"]


def test_a_preempted_run_says_so_while_it_waits(place: Place) -> None:
    """Between the eviction and the next pod the study says that its run was preempted, and by whom."""
    place.study(searchSpace=ONE_CELL, budget={"maxTrials": 1})
    with place.kubelet(lambda _spec, _attempt: Evicted(reason="PreemptionByScheduler")):
        message = find_condition(place.wait_for("Ready", "False", reason="Preempted"), "Ready")["message"]
    assert "PreemptionByScheduler" in message
