"""The release's own life: `helm test`, `helm upgrade` in the middle of a study, `helm uninstall`, and what is left."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from charts.history import chart_of
from cluster.place import Place
from controlplane.cluster import ControlPlane
from controlplane.waiting import wait_for
from e2e import studies
from e2e.installation import Installation
from e2e.stages import Stages

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]
_SECONDS = 300.0
_DEFINITION = "throughputstudies.infpop.io"


def test_helm_test(release: Installation, stages: Stages) -> None:
    """`helm test` is green on real kubelets, and leaves nothing."""
    before = release.objects()
    with stages.stage("helm test"):
        answer = release.test()
    assert "Phase:          Succeeded" in answer
    wait_for(lambda: set(release.objects()) <= set(before), seconds=_SECONDS, what="the end of what the test made")


def test_an_upgrade_in_the_middle_of_a_study(
    release: Installation, place: Place, stages: Stages, tmp_path: Path
) -> None:
    """`helm upgrade` from the last commit's chart replaces the operator in a run; no trial is lost or done twice."""
    release.upgrade(chart=chart_of("HEAD^", tmp_path))
    old = release.pod()["metadata"]["uid"]
    place.study(**studies.SIMULATED)
    place.wait_for_run("Measuring")
    release.expect_a_clean_log()
    with stages.stage("helm upgrade --wait"):
        release.upgrade("--set=podLabels.upgraded=yes")
    assert release.pod()["metadata"]["uid"] != old
    status = studies.wait_for_end(place, seconds=_SECONDS)
    assert studies.best(status) == (2, 64)
    assert [(row["state"], row["attempts"]) for row in status["trials"]] == [("Measured", 1)] * 8


def test_nothing_is_left(release: Installation, place: Place, stages: Stages) -> None:
    """`helm uninstall` keeps studies and results; without an operator they go when asked, and all of InfPop too."""
    place.study("finished", **studies.QUICK, publish={"configMap": "best"})
    finished = studies.wait_for_end(place, name="finished", seconds=_SECONDS)
    place.study("unfinished", **studies.ENDLESS)
    place.wait_for_run("ModelLoading", name="unfinished")
    assert marks_on_others(place.cluster, "nodes,namespaces,serviceaccounts,throughputstudies") == []
    release.expect_a_clean_log()
    with stages.stage("helm uninstall --wait, and the end of the operator's pod"):
        release.uninstall()
        place.wait_until(lambda: release.objects() == [], what="the end of the operator's pod")
    assert place.status("finished") == finished
    published = ("best", "best-vars")
    assert all(place.find("configmap", name) is not None for name in published)
    with stages.stage("deletion of studies without an operator"):
        place.cluster.kubectl("delete", "tstudy", "--all", "--namespace", place.namespace, "--timeout=50s")
        place.wait_until(lambda: not (place.objects("job") or place.objects("pod")), what="the end of Jobs and pods")
    for name in published:
        place.delete("configmap", name)
    place.cluster.kubectl("delete", "crd", _DEFINITION, "--timeout=50s")
    wait_for(lambda: not traces(place.cluster), seconds=_SECONDS, what="the end of every object of InfPop")
    assert marks_on_others(place.cluster, "nodes,namespaces,serviceaccounts") == []


def marks_on_others(cluster: ControlPlane, kinds: str) -> list[str]:
    """Return objects of these kinds, none of which InfPop makes, with an annotation or a finalizer of ours."""
    found = everything(cluster, kinds)
    return [name_of(each) for each in found if "infpop" in json.dumps(foreign_marks(each["metadata"]))]


def foreign_marks(metadata: Mapping[str, Any]) -> list[object]:
    """Return an object's finalizers and annotations, but for those that kubectl and helm write for the user."""
    kept = ("kubectl.kubernetes.io/", "meta.helm.sh/")
    annotations = {name: text for name, text in metadata.get("annotations", {}).items() if not name.startswith(kept)}
    return [metadata.get("finalizers", []), annotations]


def traces(cluster: ControlPlane) -> list[str]:
    """Return every object of the cluster whose metadata mentions InfPop, other than namespaces and Events."""
    names = cluster.kubectl("api-resources", "--verbs=list", "--output=name").split()
    kinds = [name for name in names if not name.startswith(("events", "namespaces"))]
    return [
        name_of(each)
        for each in everything(cluster, ",".join(kinds))
        if "infpop" in json.dumps({key: text for key, text in each["metadata"].items() if key != "namespace"})
    ]


def everything(cluster: ControlPlane, kinds: str) -> Iterator[Mapping[str, Any]]:
    """Give the objects of these kinds in all namespaces."""
    options = ("--all-namespaces", "--output=json", "--ignore-not-found")
    answer = cluster.kubectl("get", kinds, *options)
    yield from json.loads(answer)["items"] if answer else ()


def name_of(document: Mapping[str, Any]) -> str:
    """Return kind, namespace and name of an object."""
    metadata = document["metadata"]
    return f"{document['kind']} {metadata.get('namespace', '')}/{metadata['name']}"
