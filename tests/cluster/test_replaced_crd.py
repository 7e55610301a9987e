"""The CustomResourceDefinition is deleted and created again under a running operator."""

import time
from pathlib import Path

import pytest

from cluster.operator_process import OperatorProcess, install_operator
from cluster.place import Place, throughput
from controlplane.behaviours import replay
from infpop_operator.api.resource import NAME

pytestmark = pytest.mark.cluster

# As by default, except for a status that is written at once: nothing but a watch shows a new study soon.
USUAL = {"INFPOP_STATUS_PAUSE_SECONDS": "0.2"}
ONE_CELL = {"gpuCount": [1], "batchSize": [8]}
MOST_SECONDS = 30.0


@pytest.mark.parametrize("is_scoped", [False, True], ids=["all namespaces", "one namespace"])
def test_a_study_after_a_new_crd_is_seen_soon(place: Place, tmp_path: Path, *, is_scoped: bool) -> None:
    """The operator watches studies again, or ends without a traceback for its kubelet to start it again."""
    namespace = place.namespace if is_scoped else None
    process = OperatorProcess(place.cluster, tmp_path, namespace=namespace, environment=USUAL)
    process.start()
    with place.kubelet(replay(throughput)):
        try:
            place.study("first", searchSpace=ONE_CELL)
            place.wait_for("Succeeded", name="first")
            place.cluster.kubectl("delete", "crd", NAME)
            install_operator(place.cluster)
            place.wait_until(lambda: create(place, "second"), what="a second study")
            began_s = time.monotonic()
            place.wait_until(lambda: is_seen(place, process, "second"), what="the second study to be seen")
            assert time.monotonic() - began_s < MOST_SECONDS
            place.wait_for("Succeeded", name="second")
        finally:
            if process.is_running():
                process.stop()
    assert process.complaints() == []


def create(place: Place, name: str) -> bool:
    """Create a study; say whether the API server takes it already."""
    try:
        place.study(name, searchSpace=ONE_CELL)
    except AssertionError:
        return False
    return True


def is_seen(place: Place, process: OperatorProcess, name: str) -> bool:
    """Say whether the operator has written a status; start it again if it has ended, as a kubelet does."""
    if not process.is_running():
        assert process.wait(1) == 1
        process.start()
    return bool(place.status(name).get("conditions"))
