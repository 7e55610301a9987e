"""The CustomResourceDefinition is deleted and created again under a running operator."""

import time
from pathlib import Path

import pytest
import yaml

from cluster.operator_process import CRD, OperatorProcess, install_operator, running_operator
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


def test_an_operator_warns_of_a_definition_that_is_older_than_itself(place: Place, tmp_path: Path) -> None:
    """The API server drops fields without a word, so the log names them and the command that helps."""
    older = yaml.safe_load(CRD.read_text())
    schema = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    del schema["status"]["properties"]["pareto"]
    apply = ("apply", "--server-side", "--force-conflicts", "--filename=-")
    place.cluster.kubectl(*apply, input=yaml.safe_dump(older))
    try:
        with running_operator(place.cluster, tmp_path, namespace=place.namespace) as process:
            place.wait_until(lambda: "is older than this operator" in process.text(), what="the warning")
    finally:
        place.cluster.kubectl(*apply, input=CRD.read_text())
    assert "the API server drops status.pareto from every study." in process.text()
    assert "infpop crds | kubectl apply --server-side" in process.text()
