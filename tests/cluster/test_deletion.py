"""What goes when a study is deleted, and what stays."""

import pytest

from cluster.place import Place, throughput
from controlplane.behaviours import HangsLoading, replay

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("quick_operator")]

SPACE = {"gpuCount": [2], "batchSize": [8, 64]}


def nothing_is_left(place: Place) -> bool:
    """Say whether the garbage collector has removed all that the studies of the place owned."""
    journals = [item for item in place.objects("configmap") if item["metadata"].get("ownerReferences")]
    return place.objects("job") == place.objects("pod") == journals == []


def test_a_deleted_study_takes_everything_with_it_but_its_result(place: Place) -> None:
    """Invariant 6: Jobs, pods and journal of a deleted study go, live ones too; the published result stays."""
    place.study(searchSpace=SPACE, budget={"maxTrials": 1}, publish={"configMap": "best"})
    with place.kubelet(replay(throughput)) as kubelet:
        place.wait_for("Succeeded")
        place.wait_until(lambda: place.find("configmap", "best"), what="the ConfigMap")
        kubelet.play = lambda _spec, _attempt: HangsLoading()
        place.change(budget={"maxTrials": 2})
        place.wait_until(place.running_pods, what="a live run")
        place.delete("study", "study")
        place.wait_until(lambda: nothing_is_left(place), what="the end of all that is the study's")
    published = place.get("configmap", "best")
    assert published["metadata"].get("ownerReferences") is None


def test_a_study_of_the_same_name_starts_from_the_beginning(place: Place) -> None:
    """A study that is created again right after its deletion never meets what the one before has left."""
    with place.kubelet(replay(throughput)) as kubelet:
        before = place.study(searchSpace=SPACE, budget={"maxTrials": 1})
        place.wait_for("Succeeded")
        kubelet.play = lambda _spec, _attempt: HangsLoading()
        place.change(budget={"maxTrials": 2})
        place.wait_until(place.running_pods, what="a live run")
        kubelet.play = replay(throughput)
        place.delete("study", "study")
        after = place.study(searchSpace=SPACE, budget={"maxTrials": 2})
        status = place.wait_for("Succeeded")
        runs = [run.spec.run for run in kubelet.runs]
    assert before["metadata"]["uid"] != after["metadata"]["uid"]
    assert len(set(runs)) == len(runs) == 4
    assert [(row["state"], row["attempts"]) for row in status["trials"]] == [("Measured", 1)] * 2
    owners = {job["metadata"]["ownerReferences"][0]["uid"] for job in place.objects("job")}
    place.wait_until(lambda: len(place.objects("job")) == 2, what="the end of the older Jobs")
    assert after["metadata"]["uid"] in owners
