"""Invariant 5 on real kubelets: what blocks a run becomes the study's reason, in the words of the refusing component.

`tests/cluster/test_waiting.py` tests the same with a simulated kubelet; here real kubelets produce the messages.
"""

import pytest

from cluster.place import Body, Place
from cluster.studies import apply_documents, find_condition
from nodes import cgroups
from nodes.real_nodes import RealNodes
from nodes.stand_in_image import CRASHES, EATS_MEMORY, HANGS, HOLDS_MEMORY, RUNNER

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("quick_operator")]

_GIB = 2**30
_TRIES = 3


def start(place: Place, behaviour: str, *, name: str = "study", image: str = RUNNER, **model: object) -> None:
    """Create a study of one trial whose stand-in behaves in this way; keywords are extra fields of its model."""
    place.study(
        name,
        model={"name": behaviour, **model},
        engine={"name": "vllm", "image": image},
        nodePools=[{"name": "a100", "gpuProduct": "A100"}],
        searchSpace={"gpuCount": [2], "batchSize": [8]},
        budget={"maxTrials": 1, "maxFailedTrials": 0},
    )


def limit_memory(place: Place, amount: str) -> None:
    """Give every container in the namespace a memory limit unless it sets one itself."""
    limits = [{"type": "Container", "default": {"memory": amount}, "defaultRequest": {"memory": amount}}]
    metadata = {"name": "small", "namespace": place.namespace}
    apply_documents(
        place.cluster, {"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": {"limits": limits}}
    )


def broken(place: Place, name: str = "study") -> tuple[Body, str]:
    """Return the row of the only trial after the study has stopped, and the message of the condition Ready."""
    status = place.wait_for("Stalled", name=name)
    (row,) = status["trials"]
    assert row["state"] == "Broken"
    return row, find_condition(status, "Ready")["message"]


def test_memory_of_the_container(place: Place) -> None:
    """A runner that the kernel kills at its container's limit is HostOutOfMemory."""
    limit_memory(place, "64Mi")
    start(place, EATS_MEMORY)
    row, message = broken(place)
    assert row["reason"] == "HostOutOfMemory"
    assert "OOMKilled" in message


def test_memory_of_the_node(place: Place, nodes: RealNodes) -> None:
    """A runner that its kubelet evicts because the node is low on memory is HostOutOfMemory, and its Job is ended."""
    for _ in range(_TRIES):
        threshold = cgroups.available_memory() - _GIB
        with nodes["n1"].evicting_below(threshold):
            if abs(cgroups.available_memory() - _GIB - threshold) > _GIB / 2:
                continue  # other processes took or freed memory while the kubelet started
            start(place, HOLDS_MEMORY)
            row, message = broken(place)
            place.wait_until(lambda: not place.objects("pod"), what="the end of its Job, which would make another pod")
            break
    else:
        pytest.fail("the memory that this machine has left changes too much for this test")
    assert (row["reason"], row["attempts"]) == ("HostOutOfMemory", 1)
    assert "The node was low on resource: memory." in message


def test_missing_secret(place: Place) -> None:
    """A missing Secret is MissingSecret with its name, and creating it resolves the wait."""
    start(place, HANGS, tokenSecretRef={"name": "hf-token", "key": "token"})
    status = place.wait_for("Ready", "False", reason="MissingSecret")
    assert 'secret "hf-token" not found' in find_condition(status, "Ready")["message"]
    place.cluster.kubectl(
        *("create", "secret", "generic", "hf-token", "--from-literal=token=x", "--namespace", place.namespace)
    )
    place.wait_until(lambda: _phases(place) == ["Running"], what="the container, once its Secret is there")


def test_image_that_is_nowhere(place: Place) -> None:
    """An image that does not exist is ImagePull, in containerd's words."""
    start(place, HANGS, image="localhost/absent:1")
    status = place.wait_for("Ready", "False", reason="ImagePull")
    assert "localhost/absent:1" in find_condition(status, "Ready")["message"]


def test_quota(place: Place) -> None:
    """A quota without room for the GPUs is QuotaExceeded, and raising it resolves the wait."""
    quota = {"hard": {"requests.nvidia.com/gpu": "1"}}
    place.create(
        "resourcequota", {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "gpus"}, "spec": quota}
    )
    start(place, HANGS)
    place.wait_for("Ready", "False", reason="QuotaExceeded")
    place.patch("resourcequota", "gpus", {"spec": {"hard": {"requests.nvidia.com/gpu": "2"}}})
    place.wait_until(lambda: _phases(place) == ["Running"], what="the pod, once there is room")


def test_crash(place: Place) -> None:
    """A runner that ends without a result is RunnerError with the end of its log, which the kubelet provides."""
    start(place, CRASHES)
    row, message = broken(place)
    assert row["reason"] == "RunnerError"
    assert "exit code 3; its last output: crashed as it was told to" in message


def test_killed_shim(place: Place, nodes: RealNodes) -> None:
    """A run whose containerd shim dies neither appears to continue nor counts as ended by its runner."""
    start(place, HANGS)
    place.wait_until(lambda: _phases(place) == ["Running"], what="a run to disturb")
    (pod,) = place.objects("pod")
    nodes["n1"].kill_shim(pod["metadata"]["uid"])
    row, message = broken(place)
    assert row["reason"] == "ContainerLost"
    assert "exit code 255" in message  # as containerd reports it if the end was not observed


def test_restarted_kubelet(place: Place, nodes: RealNodes) -> None:
    """A kubelet that dies and restarts disturbs no run, and its node continues to accept others."""
    start(place, HANGS)
    place.wait_until(lambda: _phases(place) == ["Running"], what="a run that is not to be disturbed")
    (before,) = place.objects("pod")
    nodes["n1"].kill_kubelet()
    start(place, CRASHES, name="other")
    assert broken(place, "other")[0]["attempts"] == 1
    after = place.get("pod", before["metadata"]["name"])
    assert (after["status"]["phase"], after["status"]["containerStatuses"][0]["restartCount"]) == ("Running", 0)
    assert len(place.status()["runs"]) == 1


def _phases(place: Place) -> list[str]:
    return [pod["status"]["phase"] for pod in place.objects("pod")]
