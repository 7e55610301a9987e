"""The ConfigMaps that `spec.publish` names: written when a search has ended, and never one of another owner."""

import json

import pytest

from cluster.place import Body, Place, throughput
from cluster.studies import apply_documents, find_condition
from controlplane.behaviours import replay

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("quick_operator")]

RISING = {"searchSpace": {"gpuCount": [1], "batchSize": [8, 64]}, "algorithm": {"name": "grid", "trialsPerRun": 1}}


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
    flat = place.get("configmap", "best-vars")["data"]
    assert (flat["BATCH_SIZE"], flat["MAX_NUM_SEQS"], flat["GPU_RESOURCE"]) == (
        str(other),
        str(other),
        "nvidia.com/gpu",
    )
    place.wait_until(lambda: why_published(place) == "Better", what="the status, written after the ConfigMap")
    assert place.reasons().count("Published") == 2


def why_published(place: Place) -> str | None:
    """Return why the status says that the best was published, None before it says that."""
    reason: str | None = place.status().get("published", {}).get("reason")
    return reason


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


def messages(place: Place, reason: str) -> list[str]:
    """Return the messages of the Events with a reason."""
    return [event["message"] for event in place.objects("event") if event["reason"] == reason]


def test_what_was_published_comes_back(place: Place) -> None:
    """A published ConfigMap that a user deletes or changes is restored with the next listing, which names the user."""
    place.study(**RISING, budget={"maxTrials": 1}, publish={"configMap": "best"})
    with place.kubelet(replay(throughput)):
        best = place.wait_for("Succeeded")["best"]["batchSize"]
        place.wait_until(lambda: all(map(has_ttl, place.objects("job"))), what="a TTL of the Job")
    place.wait_for_listings(2)  # from then on nothing but a listing has the study looked at
    place.delete("configmap", "best")
    place.wait_until(lambda: published(place, best), what="the best again")
    place.patch("configmap", "best", {"data": {"args.txt": "--something-else\n", "mine": "yes"}})
    place.wait_until(
        lambda: "something" not in place.get("configmap", "best")["data"]["args.txt"], what="the arguments again"
    )
    assert place.get("configmap", "best")["data"]["mine"] == "yes"
    place.wait_until(lambda: place.reasons().count("PublishRestored") == 2, what="both Events")
    deleted, changed = sorted(messages(place, "PublishRestored"), key=lambda text: "deleted" not in text)
    assert deleted == "ConfigMap best was deleted: restored to what the study publishes"
    assert changed.startswith("ConfigMap best was changed by ")
    assert "changed by infpop" not in changed
    assert changed.endswith(" (args.txt): restored to what the study publishes")
    assert place.reasons().count("Published") == 1


def test_labels_and_annotations_follow_the_study(place: Place) -> None:
    """The API server takes them, both ConfigMaps have them, and one that the study no longer sets is gone."""
    watched = {"reconcile.fluxcd.io/watch": "Enabled"}
    place.study(
        **RISING,
        budget={"maxTrials": 1},
        publish={"configMap": "best", "labels": watched, "annotations": {"reloader.stakater.com/match": "true"}},
    )
    with place.kubelet(replay(throughput)):
        place.wait_for("Published")
    for name in ("best", "best-vars"):
        metadata = place.get("configmap", name)["metadata"]
        assert metadata["labels"].items() >= watched.items()
        assert metadata["annotations"]["reloader.stakater.com/match"] == "true"
    place.change(publish={"labels": None, "annotations": {"reloader.stakater.com/match": "false"}})

    def follows(name: str) -> bool:
        metadata = place.get("configmap", name)["metadata"]
        wanted = metadata["annotations"]["reloader.stakater.com/match"] == "false"
        return wanted and not metadata["labels"].keys() & watched.keys()

    place.wait_until(lambda: follows("best") and follows("best-vars"), what="both ConfigMaps as the study says")


def test_an_immutable_config_map_is_refused_and_written_again_when_it_is_gone(place: Place) -> None:
    """The new best cannot be written: the study says so and what to do, and does it when a user has deleted it."""
    place.study(**RISING, budget={"maxTrials": 1}, publish={"configMap": "best"})
    with place.kubelet(replay(throughput)):
        place.wait_for("Published")
        first = place.status()["best"]["batchSize"]
    place.patch("configmap", "best", {"immutable": True})
    other = 72 - first
    with place.kubelet(replay(lambda gpus, batch: 1e6 if batch == other else float(gpus))):
        place.change(budget={"maxTrials": 2})
        status = place.wait_for("Published", "False", reason="PublishRefused")
    (condition,) = [each for each in status["conditions"] if each["type"] == "Published"]
    assert condition["message"].startswith("ConfigMap best is immutable, and its content is out of date: delete it")
    place.wait_until(
        lambda: place.get("configmap", "best-vars")["data"]["BATCH_SIZE"] == str(other), what="the other one"
    )
    place.wait_for_listings(2)
    place.delete("configmap", "best")
    place.wait_for("Published")
    assert published(place, other)
    assert place.reasons().count("PublishRefused") == 1


def test_the_second_of_two_studies_with_one_config_map_says_whose_it_is(place: Place) -> None:
    """The first one's result stays, also when the second searches again."""
    for name in ("first", "second"):
        place.study(name, **RISING, budget={"maxTrials": 1}, publish={"configMap": "best"})
        with place.kubelet(replay(throughput)):
            place.wait_for("Published", "True" if name == "first" else "False", name=name)
    before = place.get("configmap", "best")
    (message,) = messages(place, "PublishRefused")
    assert "ConfigMap best belongs to study first, which publishes to it" in message
    place.wait_for_listings(2)
    assert place.get("configmap", "best") == before


def refusal(place: Place) -> str:
    """Return why the study's ConfigMap is refused, once it is."""
    status = place.wait_for("Published", "False", reason="PublishRefused")
    return str(find_condition(status, "Published")["message"])


def test_a_quota_of_config_maps_is_named_and_its_end_is_seen(place: Place) -> None:
    """The study has its result all the same, and its ConfigMaps come when the quota has room."""
    place.study(**RISING, budget={"maxTrials": 1})
    with place.kubelet(replay(throughput)):
        place.wait_for("Succeeded")
    used = str(len(place.objects("configmap")))
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"count/configmaps": used}}}
    place.create("resourcequota", {"apiVersion": "v1", "kind": "ResourceQuota", **quota})
    place.wait_until(
        lambda: place.get("resourcequota", "few").get("status", {}).get("used", {}).get("count/configmaps") == used,
        what="the quota to be counted",
    )
    place.change(publish={"configMap": "best"})
    text = refusal(place)
    assert text.startswith(f"a quota of namespace {place.namespace} has no room for ConfigMap best; raise the quota")
    assert "exceeded quota: few, requested: count/configmaps=1" in text
    assert find_condition(place.status(), "Ready")["status"] == "True"
    place.delete("resourcequota", "few")
    place.wait_for("Published")


def test_a_config_map_without_room_is_refused_with_the_remedy(place: Place) -> None:
    """Others have filled it to the limit of 1 MiB: the API server's words for that are known."""
    place.study(**RISING, budget={"maxTrials": 1}, publish={"configMap": "best"})
    with place.kubelet(replay(throughput)):
        place.wait_for("Published")
    found = place.get("configmap", "best")["data"]
    theirs = 1024 * 1024 - sum(map(len, found.values()))
    place.patch("configmap", "best", {"data": {"theirs": "x" * theirs}})
    place.change(model={"name": f"example/{'long' * 10}"})
    with place.kubelet(replay(throughput)):
        text = refusal(place)
    assert text.startswith("ConfigMap best would be larger than 1 MiB; remove the keys of others from it")
