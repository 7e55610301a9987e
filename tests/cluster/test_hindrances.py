"""Unusual hindrances of a study: its journal, its ConfigMap, its spec while it runs, its deletion."""

from collections.abc import Callable
from typing import Any

import pytest

from cluster.place import Place, throughput
from cluster.studies import find_condition
from controlplane.behaviours import HangsLoading, replay

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("quick_operator")]

Body = dict[str, Any]
QUICK = replay(throughput, trial_seconds=0.05)
HELD = "example.org/keep"


def own_config_map(place: Place, study: Body, name: str, content: str, data: dict[str, str], **fields: object) -> None:
    """Create a ConfigMap as the operator would have done it."""
    owner = {
        "apiVersion": study["apiVersion"],
        "kind": study["kind"],
        "name": study["metadata"]["name"],
        "uid": study["metadata"]["uid"],
        "controller": True,
    }
    labels = {
        "app.kubernetes.io/managed-by": "infpop",
        "infpop.io/study": study["metadata"]["name"],
        "infpop.io/content": content,
    }
    metadata = {"name": name, "namespace": place.namespace, "labels": labels, "ownerReferences": [owner]}
    place.create("configmap", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data, **fields})


def no_pods(place: Place) -> Callable[[], bool]:
    """Return what says that no Job and no pod of the place lives."""
    return lambda: not place.objects("job") and not place.running_pods()


def test_a_journal_that_cannot_be_written_is_reported(place: Place) -> None:
    """Invariant 5: a quota that leaves no room for the journal is the study's reason, and lifting it is enough."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "maps", "namespace": place.namespace},
        "spec": {"hard": {"count/configmaps": "0"}},
    }
    place.create("resourcequota", quota)
    place.wait_until(lambda: place.get("resourcequota", "maps").get("status", {}).get("hard"), what="the quota's count")
    with place.kubelet(QUICK):
        place.study(budget={"maxTrials": 2})
        status = place.wait_for("Ready", "False", reason="QuotaExceeded")
        assert "exceeded quota" in find_condition(status, "Ready")["message"]
        assert place.objects("job") == []
        place.delete("resourcequota", "maps")
        place.wait_for("Succeeded")


def test_a_damaged_journal_is_reported(place: Place) -> None:
    """Invariant 5: a journal that cannot be read stops the study with its reason; nothing is measured over it."""
    with place.kubelet(QUICK):
        study = place.study(suspend=True, budget={"maxTrials": 2})
        place.wait_for("Suspended")
        name = f"study-{study['metadata']['uid'][:8]}-journal-0"
        own_config_map(place, study, name, "journal", {"000000": "rubbish"})
        place.change(suspend=False)
        status = place.wait_for("Ready", "False", reason="JournalUnreadable")
        assert "step 000000" in find_condition(status, "Ready")["message"]
        assert place.objects("job") == []


def test_a_config_map_that_cannot_be_changed_is_reported(place: Place) -> None:
    """A refused ConfigMap is an Event, and keeps no Job from being tidied away."""
    with place.kubelet(QUICK):
        study = place.study(suspend=True, budget={"maxTrials": 2}, publish={"configMap": "best"})
        own_config_map(place, study, "best", "best", {"args": "[]"}, immutable=True)
        place.change(suspend=False)
        place.wait_for("Succeeded")
        place.wait_until(lambda: "PublishRefused" in place.reasons(), what="the Event")
        told = lambda: all("ttlSecondsAfterFinished" in job["spec"] for job in place.objects("job"))  # noqa: E731
        place.wait_until(told, what="the time to live of every Job")


def test_an_invalid_study_that_is_suspended_frees_its_gpus(place: Place) -> None:
    """Invariant 6: suspend frees the GPUs at once, whatever else is wrong with the spec."""
    with place.kubelet(lambda _spec, _attempt: HangsLoading()):
        place.study()
        place.wait_for_run("ModelLoading")
        place.change(suspend=True, workload={"source": {"builtin": None, "file": {"path": "relative.jsonl"}}})
        status = place.wait_for("Accepted", "False")
        assert find_condition(status, "Suspended")["status"] == "True"
        place.wait_until(no_pods(place), what="the end of its pods")


def test_a_study_held_by_a_finalizer_frees_its_gpus(place: Place) -> None:
    """Invariant 6: a study that is being deleted frees its GPUs though another's finalizer holds it."""
    with place.kubelet(lambda _spec, _attempt: HangsLoading()):
        place.study()
        place.wait_for_run("ModelLoading")
        place.patch("study", "study", {"metadata": {"finalizers": [HELD]}})
        place.delete("study", "study")
        place.wait_until(no_pods(place), what="the end of its pods")
        assert place.get("study", "study")["metadata"]["finalizers"] == [HELD]
        place.patch("study", "study", {"metadata": {"finalizers": None}})
