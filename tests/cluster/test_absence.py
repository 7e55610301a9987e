"""What happens while there is no operator: nothing of ours holds a deletion, and results wait for the next one."""

from pathlib import Path

import pytest

from cluster.conftest import QUICK
from cluster.operator_process import OperatorProcess, running_operator
from cluster.place import Body, Place, throughput
from controlplane.behaviours import HangsLoading, replay

pytestmark = pytest.mark.cluster

SPACE = {"gpuCount": [2], "batchSize": [8, 64]}


def test_uninstalling_never_hangs(place: Place, tmp_path: Path) -> None:
    """Invariant 2: with the operator gone, a study in the middle of a run is deleted at once, and so is a namespace."""
    process = OperatorProcess(place.cluster, tmp_path, namespace=place.namespace, environment=QUICK)
    process.start()
    with place.kubelet(lambda _spec, _attempt: HangsLoading()):
        for name in ("one", "two"):
            place.study(name, searchSpace=SPACE)
        place.wait_until(lambda: len(place.running_pods()) == 2, what="two live runs")
        assert process.stop() == 0
        place.cluster.kubectl("delete", "tstudy", "one", "--namespace", place.namespace, "--timeout=30s")
        place.wait_until(lambda: len(place.objects("job")) == 1, what="the end of the Job")
        place.cluster.kubectl("delete", "namespace", place.namespace, "--timeout=60s")
    assert process.complaints() == []


def test_a_namespace_can_be_deleted_under_the_operator(place: Place, tmp_path: Path) -> None:
    """Invariant 2: with the operator at work a namespace goes too, and the log has nothing to complain of."""
    with (
        running_operator(place.cluster, tmp_path, namespace=place.namespace, environment=QUICK),
        place.kubelet(lambda _spec, _attempt: HangsLoading()),
    ):
        place.study(searchSpace=SPACE)
        place.wait_until(place.running_pods, what="a live run")
        place.cluster.kubectl("delete", "namespace", place.namespace, "--timeout=60s")


def test_jobs_go_only_when_their_rows_are_safe(place: Place, tmp_path: Path) -> None:
    """Jobs that ended while no operator ran get their time to live, and go, after the status has their results."""
    process = OperatorProcess(place.cluster, tmp_path, namespace=place.namespace, environment=QUICK)
    process.start()
    with (
        place.watched("tstudy", tmp_path / "studies.json") as study_versions,
        place.watched("jobs", tmp_path / "jobs.json") as job_versions,
    ):
        place.study(
            searchSpace={"gpuCount": [1, 2], "batchSize": [8, 64]},
            budget={"maxTrials": 4, "parallelTrials": 2},
            ttlSecondsAfterFinished=0,
        )
        place.wait_until(lambda: len(place.running_pods()) == 2, what="two live runs")
        process.kill()
        with place.kubelet(replay(throughput)) as kubelet:
            place.wait_until(lambda: len(_completed(place)) == 2, what="two ended Jobs")
            process.start()
            status = place.wait_for("Succeeded")
            place.wait_until(lambda: place.objects("job") == place.objects("pod") == [], what="the end of all Jobs")
            names = {run.spec.run for run in kubelet.runs}
        place.wait_until(lambda: _released(job_versions()).keys() == names, what="what was watched")
        told, released = _told(study_versions()), _released(job_versions())
    assert {row["run"] for row in status["trials"]} == names
    assert [name for name in names if told[name] >= released[name]] == []
    assert (process.stop(), process.complaints()) == (0, [])


def _completed(place: Place) -> list[Body]:
    return [job for job in place.objects("job") if job["status"].get("completionTime")]


def _released(versions: list[Body]) -> dict[str, int]:
    """Return by Job the resource version at which it had a time to live."""
    found: dict[str, int] = {}
    for version in versions:
        job = version["object"]
        if "ttlSecondsAfterFinished" in job["spec"]:
            found.setdefault(job["metadata"]["name"], int(job["metadata"]["resourceVersion"]))
    return found


def _told(versions: list[Body]) -> dict[str, int]:
    """Return by run the resource version of the study whose status first had its result."""
    found: dict[str, int] = {}
    for version in versions:
        study = version["object"]
        for row in study.get("status", {}).get("trials", ()):
            if row["state"] != "Running":
                found.setdefault(row["run"], int(study["metadata"]["resourceVersion"]))
    return found
