"""A best that is measured again on a cluster: its loads are Jobs of their own, and only then is it published."""

import json
from collections import Counter

import pytest

from cluster.place import Place, throughput
from controlplane.behaviours import replay

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("quick_operator")]


def test_a_best_is_published_once_it_is_confirmed(place: Place) -> None:
    """Two Jobs more for the best and one for the baseline; status, ConfigMap and Events have what they measured."""
    with place.kubelet(replay(throughput)) as kubelet:
        place.study(
            searchSpace={"gpuCount": [2], "batchSize": [8, 64]},
            algorithm={"name": "grid", "trialsPerRun": 1},
            budget={"maxTrials": 2, "confirm": True},
            baseline={"gpuCount": 2, "batchSize": 8},
            publish={"configMap": "best"},
        )
        place.wait_until(lambda: place.find("configmap", "best") is not None, what="the published best")
        status = place.wait_for("Succeeded")
        runs = [(run.spec.trials[0].batch_size, run.spec.measurement.mode) for run in kubelet.runs]
    assert Counter(runs[2:]) == {(64, "full"): 2, (8, "full"): 1}
    assert (status["best"]["batchSize"], status["best"]["confirmed"]["loads"]) == (64, 2)
    (pool,) = status["pools"]
    assert (pool["confirmation"]["state"], pool["ended"]) == ("Confirmed", "MaxTrialsReached")
    assert pool["improvementInterval"]
    assert len(status["trials"]) == 2
    found = json.loads(place.get("configmap", "best")["data"]["best.json"])
    assert found["confirmed"] == status["best"]["confirmed"]
    reasons = place.reasons()
    assert reasons.count("Confirmed") == 1
    assert "NotConfirmed" not in reasons
