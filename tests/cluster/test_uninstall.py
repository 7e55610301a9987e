"""Invariant 2: nothing of ours keeps an object from being deleted, whether the operator runs or is long gone."""

from pathlib import Path

import pytest

from cluster import kit
from cluster.conftest import QUICK
from cluster.place import Place
from controlplane.behaviours import HangsLoading

pytestmark = pytest.mark.cluster

SPACE = {"gpuCount": [2], "batchSize": [8, 64]}


def test_uninstalling_never_hangs(place: Place, tmp_path: Path) -> None:
    """Invariant 2: with the operator gone, a study in the middle of a run is deleted at once, and so is a namespace."""
    process = kit.OperatorProcess(place.cluster, tmp_path, namespace=place.namespace, environment=QUICK)
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
        kit.operator(place.cluster, tmp_path, namespace=place.namespace, environment=QUICK),
        place.kubelet(lambda _spec, _attempt: HangsLoading()),
    ):
        place.study(searchSpace=SPACE)
        place.wait_until(place.running_pods, what="a live run")
        place.cluster.kubectl("delete", "namespace", place.namespace, "--timeout=60s")
