"""Faults of a cluster, caused here: each has its own reason in the status, and a study continues after a repair."""

from collections.abc import Iterator

import pytest

from cluster.place import Body, Place
from cluster.studies import apply_documents, find_condition
from controlplane.waiting import wait_for
from e2e import studies
from e2e.installation import NAMESPACE, Installation
from e2e.stages import Stages
from nodes.real_nodes import RealNodes

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600), pytest.mark.usefixtures("release")]
_SECONDS = 300.0


@pytest.fixture(autouse=True)
def timed(request: pytest.FixtureRequest, stages: Stages) -> Iterator[None]:
    """Note how long each of these tests took."""
    with stages.stage(f"fault: {request.node.name.removeprefix('test_')}"):
        yield


def test_a_killed_operator(place: Place, release: Installation, nodes: RealNodes) -> None:
    """An operator that is killed, and one whose pod is lost, change no number of a study and cost it no attempt."""
    place.study("calm", **studies.SIMULATED)
    calm = studies.wait_for_end(place, name="calm", seconds=_SECONDS)
    place.study("disturbed", **studies.SIMULATED)
    place.wait_for_run("Measuring", name="disturbed")
    kill_operator(release, nodes)
    place.wait(lambda status: len(done(status)) >= 2, what="trials after the first kill", name="disturbed")
    place.wait_for_run("Measuring", name="disturbed")
    release.expect_a_clean_log()
    pod = release.pod()["metadata"]["name"]
    place.cluster.kubectl("delete", "pod", pod, "--namespace", NAMESPACE, "--force", "--grace-period=0")
    disturbed = studies.wait_for_end(place, name="disturbed", seconds=_SECONDS)
    assert studies.numbers(disturbed) == studies.numbers(calm)
    assert studies.best(disturbed) == studies.best(calm)
    assert {row["attempts"] for row in disturbed["trials"]} == {1}


def test_a_killed_shim(place: Place, nodes: RealNodes) -> None:
    """A run whose containerd shim dies has another reason than one whose runner failed."""
    place.study(**studies.ENDLESS)
    pod = place.wait_for_run("ModelLoading") and place.running_pods()[0]
    nodes[pod["spec"]["nodeName"]].kill_shim(pod["metadata"]["uid"])
    row, message = broken(place)
    assert row["reason"] == "ContainerLost"
    assert "exit code 255" in message


def test_a_host_out_of_memory(place: Place) -> None:
    """A real engine that the kernel kills at its container's limit is HostOutOfMemory."""
    amount = {"memory": "256Mi"}
    limits = {"limits": [{"type": "Container", "default": amount, "defaultRequest": amount}]}
    metadata = {"name": "small", "namespace": place.namespace}
    apply_documents(place.cluster, {"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": limits})
    one = {"searchSpace": {"gpuCount": [1], "batchSize": [1]}, "nodePools": [studies.POOLS[0]]}
    place.study(**{**studies.REAL, "engine": {"name": "hf-pipeline"}, **one})
    row, _ = broken(place)
    assert row["reason"] == "HostOutOfMemory", row


def test_a_gpu_without_a_driver(place: Place) -> None:
    """A run that got GPUs whose driver is not in its container says so; its pod was placed by the GPUs' product."""
    pool = {"name": "v100", "gpuProduct": "V100"}
    place.study(**{**studies.QUICK, "nodePools": [pool]})
    row, message = broken(place)
    assert row["reason"] == "GpuMissing"
    assert "NVML" in message
    (pod,) = place.objects("pod")
    assert pod["spec"]["nodeName"] == "n2"
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_a_bad_image(place: Place) -> None:
    """An image that is nowhere is ImagePull, and the right one is enough."""
    engine = studies.simulation()
    place.study(**{**studies.QUICK, "engine": {**engine, "image": "localhost/absent:1"}})
    status = place.wait_for("Ready", "False", reason="ImagePull")
    assert "localhost/absent:1" in find_condition(status, "Ready")["message"]
    place.change(engine={"image": None})
    studies.wait_for_end(place, seconds=_SECONDS)


def test_a_missing_secret(place: Place) -> None:
    """A Secret that is not there is MissingSecret with its name, and creating it is enough."""
    model = {"name": "gated/model", "tokenSecretRef": {"name": "hf-token", "key": "token"}}
    place.study(**{**studies.QUICK, "model": model})
    status = place.wait_for("Ready", "False", reason="MissingSecret")
    assert 'secret "hf-token" not found' in find_condition(status, "Ready")["message"]
    secret = ("create", "secret", "generic", "hf-token", "--from-literal=token=x", "--namespace", place.namespace)
    place.cluster.kubectl(*secret)
    studies.wait_for_end(place, seconds=_SECONDS)


def test_a_quota(place: Place) -> None:
    """A quota without room for the run is QuotaExceeded, and raising it is enough."""
    quota = {"metadata": {"name": "cpus"}, "spec": {"hard": {"requests.cpu": "500m"}}}
    place.create("resourcequota", {"apiVersion": "v1", "kind": "ResourceQuota", **quota})
    place.study(**studies.QUICK)
    place.wait_for("Ready", "False", reason="QuotaExceeded")
    place.patch("resourcequota", "cpus", {"spec": {"hard": {"requests.cpu": "1"}}})
    studies.wait_for_end(place, seconds=_SECONDS)


def broken(place: Place) -> tuple[Body, str]:
    """Return the row of the only trial once nothing runs any more, and the message of the condition Ready."""
    status = place.wait_for("Stalled")
    (row,) = status["trials"]
    assert row["state"] == "Broken"
    return row, find_condition(status, "Ready")["message"]


def kill_operator(release: Installation, nodes: RealNodes) -> None:
    """Kill the operator's process on its node, and wait until the kubelet has started it again."""
    before = release.restarts()
    nodes[release.pod()["spec"]["nodeName"]].run("pkill", "-KILL", "--full", "infpop operator")
    wait_for(lambda: release.restarts() > before, seconds=_SECONDS, what="the operator's next start")
    release.expect_a_clean_log("--previous")


def done(status: Body) -> list[Body]:
    """Return the rows that have a result."""
    return [row for row in status.get("trials", ()) if row["state"] not in ("Running", "Pending")]
