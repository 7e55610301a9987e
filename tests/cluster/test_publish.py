"""The ConfigMap that `spec.publish` names: written when a search has ended, and never one of another owner."""

import json

import pytest

from cluster.place import Body, Place, throughput
from cluster.studies import apply_documents
from controlplane.behaviours import replay

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("quick_operator")]

RISING = {"searchSpace": {"gpuCount": [1], "batchSize": [8, 64]}, "algorithm": {"name": "grid"}}


def published(place: Place, batch: int) -> bool:
    """Say whether the ConfigMap recommends the batch size."""
    found = place.find("configmap", "best")
    return found is not None and json.loads(found["data"]["best.json"])["batchSize"] == batch


def has_ttl(job: Body) -> bool:
    """Say whether the operator is done with the Job."""
    return "ttlSecondsAfterFinished" in job["spec"]


def test_a_new_best_is_published(place: Place) -> None:
    """A later, better result replaces what was published."""
    place.study(**RISING, budget={"maxTrials": 1}, publish={"configMap": "best"})
    with place.kubelet(replay(throughput)):
        first = place.wait_for("Succeeded")["best"]["batchSize"]
        place.wait_until(lambda: published(place, first), what="the first best")
    other = 72 - first
    with place.kubelet(replay(lambda gpus, batch: 1000.0 if batch == other else float(gpus))):
        place.change(budget={"maxTrials": 2})
        place.wait_until(lambda: published(place, other), what="the better one")
    assert f"--max-num-seqs={other}" in place.get("configmap", "best")["data"]["args.txt"].splitlines()
    assert place.reasons().count("Published") == 2


def test_a_foreign_config_map_is_left_alone(place: Place) -> None:
    """A ConfigMap of that name that is not ours is not written; a Warning says so, and when it is gone ours comes."""
    foreign = {"metadata": {"name": "best", "namespace": place.namespace}, "data": {"mine": "yes"}}
    apply_documents(place.cluster, {"apiVersion": "v1", "kind": "ConfigMap", **foreign})
    before = place.get("configmap", "best")
    place.study(**RISING, budget={"maxTrials": 1}, publish={"configMap": "best"})
    with place.kubelet(replay(throughput)):
        place.wait_for("Succeeded")
        place.wait_until(lambda: "PublishRefused" in place.reasons(), what="the Warning")
        assert place.get("configmap", "best") == before
        place.delete("configmap", "best")
        place.wait_until(lambda: published(place, place.status()["best"]["batchSize"]), what="ours")
    assert place.reasons().count("PublishRefused") == 1


def test_what_was_published_comes_back(place: Place) -> None:
    """A published ConfigMap that a user deletes or changes is restored with the next listing."""
    place.study(**RISING, budget={"maxTrials": 1}, publish={"configMap": "best"})
    with place.kubelet(replay(throughput)):
        best = place.wait_for("Succeeded")["best"]["batchSize"]
        place.wait_until(lambda: all(map(has_ttl, place.objects("job"))), what="a TTL of the Job")
    place.wait_for_listings(2)  # from then on nothing but a listing has the study looked at
    place.delete("configmap", "best")
    place.wait_until(lambda: published(place, best), what="the best again")
    place.patch("configmap", "best", {"data": {"args.txt": "--something-else\n"}})
    place.wait_until(
        lambda: "something" not in place.get("configmap", "best")["data"]["args.txt"], what="the arguments again"
    )
