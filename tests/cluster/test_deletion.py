"""What goes when a study is deleted or its Jobs grow old, and what stays."""

from pathlib import Path

import pytest

from cluster.place import Body, Place, throughput
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


def test_a_study_of_the_same_name_starts_anew(place: Place) -> None:
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


def test_jobs_go_only_when_their_rows_are_safe(place: Place, tmp_path: Path) -> None:
    """A Job gets its time to live after the status has the result of its run, and may then be gone at once."""
    studies, jobs = tmp_path / "studies.json", tmp_path / "jobs.json"
    with (
        place.watched("tstudy", studies) as study_versions,
        place.watched("jobs", jobs) as job_versions,
        place.kubelet(replay(throughput)) as kubelet,
    ):
        place.study(searchSpace={"gpuCount": [1, 2], "batchSize": [8, 64]}, ttlSecondsAfterFinished=0)
        status = place.wait_for("Succeeded")
        place.wait_until(lambda: place.objects("job") == place.objects("pod") == [], what="the end of all Jobs")
        names = {run.spec.run for run in kubelet.runs}
        place.wait_until(lambda: _first_versions(job_versions(), _has_ttl).keys() == names, what="what was watched")
        told = _first_told(study_versions())
        released = _first_versions(job_versions(), _has_ttl)
    assert {row["run"] for row in status["trials"]} == names
    assert [name for name in names if told[name] >= released[name]] == []
    place.change(budget={"maxTrials": 19})
    assert place.status()["trials"] == status["trials"]


def _has_ttl(job: Body) -> bool:
    return "ttlSecondsAfterFinished" in job["spec"]


def _first_versions(versions: list[Body], holds: object) -> dict[str, int]:
    """Return by name the resource version at which something first held of an object."""
    assert callable(holds)
    found: dict[str, int] = {}
    for version in versions:
        metadata = version["object"]["metadata"]
        if holds(version["object"]):
            found.setdefault(metadata["name"], int(metadata["resourceVersion"]))
    return found


def _first_told(versions: list[Body]) -> dict[str, int]:
    """Return by run the resource version of the study whose status first had its result."""
    found: dict[str, int] = {}
    for version in versions:
        study = version["object"]
        for row in study.get("status", {}).get("trials", ()):
            if row["state"] != "Running":
                found.setdefault(row["run"], int(study["metadata"]["resourceVersion"]))
    return found
