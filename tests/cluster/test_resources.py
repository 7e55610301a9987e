"""What a run's Pod asks of its node besides devices, and what a namespace that counts or bounds it says to that."""

import pytest

from cluster.place import Body, Place, throughput
from cluster.studies import apply_documents, find_condition
from controlplane.behaviours import HangsLoading, replay

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("quick_operator")]

ONE_TRIAL = {"searchSpace": {"gpuCount": [2], "batchSize": [8]}, "budget": {"maxTrials": 1}}
SHARE = {"cpu": 8, "memory": "64Gi"}


def bound(place: Place, kind: str, spec: Body) -> None:
    """Create a ResourceQuota or a LimitRange in the place."""
    metadata = {"name": "bound", "namespace": place.namespace}
    apply_documents(place.cluster, {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec})


def message(status: Body) -> str:
    """Return the sentence that goes with the study's state."""
    return str(find_condition(status, "Ready")["message"])


@pytest.mark.parametrize(
    ("pool", "resources", "service"),
    [
        (
            {"resources": SHARE},
            {
                "requests": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "2"},
                "limits": {"memory": "64Gi", "nvidia.com/gpu": "2"},
            },
            "Burstable",
        ),
        (
            {"gpuProduct": None, "gpuResource": "cpu", "resources": {"memory": "16Gi"}},
            {"requests": {"cpu": "2", "memory": "16Gi"}, "limits": {"cpu": "2", "memory": "16Gi"}},
            "Guaranteed",
        ),
        ({}, {"requests": {"nvidia.com/gpu": "2"}, "limits": {"nvidia.com/gpu": "2"}}, "BestEffort"),
    ],
    ids=["gpus", "cpus", "nothing"],
)
def test_a_pod_has_the_resources_of_its_pool(place: Place, pool: Body, resources: Body, service: str) -> None:
    """CPUs are requested and not limited, memory is both; Kubernetes itself says which class of service that is."""
    place.study(nodePools=[place.pool(**pool)], **ONE_TRIAL)
    with place.kubelet(lambda _spec, _attempt: HangsLoading()):
        place.wait_for_run("ModelLoading")
        (pod,) = place.running_pods()
    assert pod["spec"]["containers"][0]["resources"] == resources
    assert pod["status"]["qosClass"] == service


def test_a_quota_of_cpus_and_memory_is_kept_to(place: Place) -> None:
    """A namespace that counts them refuses a run without, says what it lacks, and takes one of a pool that has them."""
    hard = {"requests.cpu": "16", "requests.memory": "128Gi", "limits.memory": "128Gi"}
    bound(place, "ResourceQuota", {"hard": hard})
    place.wait_until(
        lambda: place.get("resourcequota", "bound").get("status", {}).get("hard"), what="the quota's count"
    )
    place.study(**ONE_TRIAL)
    status = place.wait_for("Ready", "False", reason="PodRefused")
    assert "must specify limits.memory for: runner" in message(status)
    with place.kubelet(replay(throughput)):
        place.change(nodePools=[place.pool(resources=SHARE)])
        place.wait_for("Succeeded")


def test_a_default_limit_of_cpus_below_the_request_is_reported(place: Place) -> None:
    """A LimitRange limits what has no limit; where that is less than a run asks for, the study says so."""
    bound(place, "LimitRange", {"limits": [{"type": "Container", "default": {"cpu": "1"}}]})
    place.study(nodePools=[place.pool(resources=SHARE)], **ONE_TRIAL)
    status = place.wait_for("Ready", "False", reason="PodRefused")
    assert "must be less than or equal to cpu limit of 1" in message(status)


def test_a_node_without_the_memory_is_reported(place: Place) -> None:
    """Free GPUs are no room for a run whose memory no node has; a smaller request continues the round."""
    place.study(nodePools=[place.pool(resources={"memory": "2Ti"})], **ONE_TRIAL)
    assert "Insufficient memory" in message(place.wait_for("Ready", "False", reason="Unschedulable"))
    place.change(nodePools=[place.pool(resources={"memory": "64Gi"})], suspend=True)
    place.wait_until(lambda: not place.objects("job"), what="the end of the run that was made before")
    place.change(suspend=False)
    with place.kubelet(replay(throughput)):
        status = place.wait_for("Succeeded")
    assert [(row["round"], row["state"]) for row in status["trials"]] == [(1, "Measured")]
