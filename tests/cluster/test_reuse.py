"""A study that takes over what another one of its namespace measured, on a real API server."""

import json

import pytest

from cluster.place import Place, throughput
from controlplane.behaviours import replay

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("quick_operator")]


def test_known_cells_are_taken_over_and_stay_when_their_study_is_deleted(place: Place) -> None:
    """Only the unknown cells get runs; what is published names the study and the run that measured it."""
    place.study(searchSpace={"gpuCount": [2], "batchSize": [8, 64]}, budget={"maxTrials": 2})
    with place.kubelet(replay(throughput)) as kubelet:
        first = place.wait_for("Succeeded")
        space = {"gpuCount": [1, 2], "batchSize": [8, 64]}
        place.study("second", reuse="SameIdentity", searchSpace=space, publish={"configMap": "best-of-second"})
        place.wait(lambda status: status["pools"][0]["trials"]["reused"] == 2, what="reused trials", name="second")
        place.delete("study", "study")
        second = place.wait_for("Succeeded", name="second")
        runs = [run.spec.run for run in kubelet.runs if run.spec.run.startswith("second-")]
    theirs = {row["batchSize"]: (row["throughput"], row["run"], "study") for row in first["trials"]}
    taken = {
        row["batchSize"]: (row["throughput"], row["run"], row.get("reusedFrom"))
        for row in second["trials"]
        if row["gpuCount"] == 2
    }
    assert taken == theirs
    assert len(runs) == 2
    assert (second["progress"], second["best"]["reusedFrom"]) == ("4/4", "study")
    published = place.get("configmap", "best-of-second")["data"]
    assert (json.loads(published["best.json"])["reusedFrom"], published["REUSED_FROM"]) == ("study", "study")
    assert place.reasons("second").count("TrialsReused") == 1
