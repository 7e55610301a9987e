"""Invariant 5: whatever a study waits for, its status says so within a minute, in one word and in a sentence.

The operator looks every second here, every 15 s by default: the reasons are the same. Each test reads what a person
reads first: the reason of the condition Ready, the state of the live run, the row of the trial.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from cluster.place import Body, Place, throughput
from cluster.studies import apply_documents, find_condition
from controlplane.behaviours import (
    Behaviour,
    ConfigError,
    Crashes,
    HangsLoading,
    HostOom,
    PullFails,
    Succeeds,
    replay,
)
from infpop_runner.contract import RunSpec

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("quick_operator")]


def told(status: Mapping[str, Any]) -> tuple[str, str]:
    """Return what `kubectl get` shows as the state, and the sentence that goes with it."""
    ready = find_condition(status, "Ready")
    return (ready["reason"], ready["message"])


def quota(**hard: str) -> Body:
    """Return a ResourceQuota."""
    spec = {"hard": {name.replace("_", "/"): amount for name, amount in hard.items()}}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "gpus"}, "spec": spec}


def test_unschedulable(place: Place) -> None:
    """Invariant 5: a run that no node has room for waits as Unschedulable, with the scheduler's own words."""
    taken = {"name": "other", "image": "example.org/other", "resources": {"limits": {"nvidia.com/gpu": "7"}}}
    pod = {"containers": [taken], "nodeSelector": {"pool": place.namespace}}
    place.create("pod", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other"}, "spec": pod})
    place.wait_until(lambda: place.get("pod", "other")["spec"].get("nodeName"), what="the other pod on the node")
    place.study(searchSpace={"gpuCount": [8], "batchSize": [8]}, budget={"maxTrials": 1})
    status = place.wait_for("Ready", "False", reason="Unschedulable")
    assert "Insufficient nvidia.com/gpu" in told(status)[1]
    with place.kubelet(replay(throughput)):
        place.delete("pod", "other", force=True)
        place.wait_for("Succeeded")


def test_image_pull(place: Place) -> None:
    """Invariant 5: an image that does not come is ImagePull, with the kubelet's own words."""
    place.study()
    with place.kubelet(lambda _spec, _attempt: PullFails(message="manifest unknown")):
        run = place.wait_for_run("ImagePull")
        assert run["message"] == "ImagePullBackOff: manifest unknown"
        assert told(place.wait_for("Ready", "False", reason="ImagePull"))[1].endswith("manifest unknown")


def test_a_failed_image_pull_ends_in_a_pause_with_a_reason(place: Place) -> None:
    """Invariant 5: after the time limit of a pull the status still has the reason, and when the study continues."""
    place.study(measurement={"timeouts": {"pull": "1s"}})
    with place.kubelet(lambda _spec, _attempt: PullFails(message="manifest unknown")):
        status = place.wait(lambda status: not status["runs"] and status["trials"], what="a pause")
    reason, message = told(status)
    assert (reason, status["trials"][0]["reason"]) == ("ImagePull", "ImagePull")
    assert message.startswith("the next attempt is at ")
    assert message.endswith("container not started within 1 s: ImagePullBackOff: manifest unknown")


def test_quota_of_gpus(place: Place) -> None:
    """Invariant 5: a quota that refuses the pod is QuotaExceeded, and the run continues when there is room."""
    place.create("resourcequota", quota(**{"requests.nvidia.com_gpu": "1"}))
    place.study(searchSpace={"gpuCount": [2], "batchSize": [8]}, budget={"maxTrials": 1})
    status = place.wait_for("Ready", "False", reason="QuotaExceeded")
    assert "exceeded quota: gpus, requested: requests.nvidia.com/gpu=2" in told(status)[1]
    with place.kubelet(replay(throughput)):
        place.patch("resourcequota", "gpus", {"spec": {"hard": {"requests.nvidia.com/gpu": "2"}}})
        status = place.wait_for("Succeeded")
    assert status["trials"][0]["attempts"] == 1


def test_quota_below_the_largest_gpu_count(place: Place) -> None:
    """Two GPUs never fit into the quota: one GPU is measured all the same, and the status says what waits and why."""
    place.create("resourcequota", quota(**{"requests.nvidia.com_gpu": "1"}))
    place.study(
        searchSpace={"gpuCount": [2, 1], "batchSize": [8]},
        algorithm={"name": "grid", "trialsPerRun": 1},
        measurement={"timeouts": {"schedule": "15s"}},
    )
    with place.kubelet(replay(throughput)):
        status = place.wait(
            lambda status: (
                any(row["state"] == "Measured" for row in status.get("trials", [])) and "setAside" in status["pools"][0]
            ),
            what="a measured trial while two GPUs are set aside",
        )
    assert {row["gpuCount"]: row["state"] for row in status["trials"]}[1] == "Measured"
    (aside,) = status["pools"][0]["setAside"]
    assert (aside["gpuCount"], aside["reason"]) == (2, "QuotaExceeded")
    assert "requested: requests.nvidia.com/gpu=2" in aside["message"]


def test_quota_of_jobs(place: Place) -> None:
    """Invariant 5: a quota that refuses the Job is QuotaExceeded, costs no failure, and is asked again later."""
    place.create("resourcequota", quota(**{"count_jobs.batch": "0"}))
    place.study(searchSpace={"gpuCount": [2], "batchSize": [8]}, budget={"maxTrials": 1, "maxFailedTrials": 0})
    status = place.wait_for("Ready", "False", reason="QuotaExceeded")
    assert "exceeded quota: gpus, requested: count/jobs.batch=1" in told(status)[1]
    with place.kubelet(replay(throughput)):
        place.patch("resourcequota", "gpus", {"spec": {"hard": {"count/jobs.batch": "4"}}})
        place.wait_for("Succeeded")


def test_missing_secret(place: Place) -> None:
    """Invariant 5: a secret that is not there is MissingSecret, with its name."""
    place.study(model={"name": "example/model", "tokenSecretRef": {"name": "hf-token", "key": "token"}})
    with place.kubelet(lambda _spec, _attempt: ConfigError(message='secret "hf-token" not found')):
        assert place.wait_for_run("MissingSecret")["message"] == 'secret "hf-token" not found'
        assert 'secret "hf-token" not found' in told(place.wait_for("Ready", "False", reason="MissingSecret"))[1]


def test_a_container_that_cannot_be_made(place: Place) -> None:
    """Invariant 5: any other mistake in a pod is said in the kubelet's words, not as a missing secret."""
    place.study()
    with place.kubelet(lambda _spec, _attempt: ConfigError(message='configmap "prompts" not found')):
        assert 'configmap "prompts" not found' in place.wait_for_run("InvalidContainerConfig")["message"]


def test_model_loading(place: Place) -> None:
    """Invariant 5: while a runner loads its model, run and study are ModelLoading."""
    place.study()
    with place.kubelet(lambda _spec, _attempt: HangsLoading()):
        place.wait_for_run("ModelLoading")
        place.wait_for("Ready", "False", reason="ModelLoading")


def test_measuring(place: Place) -> None:
    """Invariant 5: a runner that measures is Measuring."""
    place.study()
    with place.kubelet(replay(throughput, trial_seconds=3600)):
        place.wait_for_run("Measuring")
        place.wait_for("Ready", "False", reason="Measuring")


def test_gpu_out_of_memory(place: Place) -> None:
    """Invariant 5: a configuration that does not fit is an infeasible trial, GpuOutOfMemory, and breaks nothing."""
    place.study(searchSpace={"gpuCount": [1], "batchSize": [8, 128]}, algorithm={"name": "grid", "trialsPerRun": 1})
    with place.kubelet(replay(throughput)):
        rows = {row["batchSize"]: row for row in place.wait_for("Succeeded")["trials"]}
    assert (rows[128]["state"], rows[128]["reason"]) == ("Infeasible", "GpuOutOfMemory")
    assert rows[8]["state"] == "Measured"


def test_host_out_of_memory(place: Place) -> None:
    """Invariant 5: a container that the kernel killed for memory broke, HostOutOfMemory, which says nothing of GPUs."""
    place.study(searchSpace={"gpuCount": [1], "batchSize": [8]}, budget={"maxTrials": 1, "maxFailedTrials": 0})
    with place.kubelet(lambda _spec, _attempt: HostOom()):
        status = place.wait_for("Stalled")
    assert (status["trials"][0]["state"], status["trials"][0]["reason"]) == ("Broken", "HostOutOfMemory")
    assert "memory limit" in told(status)[1]


def test_incompatible_gpu(place: Place) -> None:
    """Invariant 5: a GPU that the engine does not support ends the search on that pool, not on the others."""

    def play(spec: RunSpec, _attempt: int) -> Behaviour:
        return Succeeds(throughput=throughput if spec.pool == "a100" else lambda _gpus, _batch: "IncompatibleGPU")

    with place.nodes("Tesla-V100-SXM2-32GB", first=1), place.kubelet(play) as kubelet:
        place.study(nodePools=[place.pool("a100"), place.pool("v100")], budget={"maxTrials": 3})
        status = place.wait_for("Succeeded")
        tried = [run.spec.pool for run in kubelet.runs]
    ended = {pool["name"]: pool["ended"] for pool in status["pools"]}
    assert ended == {"a100": "MaxTrialsReached", "v100": "IncompatibleGPU"}
    assert tried.count("v100") == 1
    assert status["best"]["pool"] == "a100"


def test_no_matching_nodes(place: Place) -> None:
    """Invariant 5: a pool without nodes is NoMatchingNodes, says what nodes there are, and is tuned when they come."""
    place.study(nodePools=[place.pool("v100")], budget={"maxTrials": 1})
    status = place.wait_for("Ready", "False", reason="NoMatchingNodes")
    status = place.wait(lambda status: "NVIDIA-A100-SXM4-40GB" in told(status)[1], what="the name of the other GPUs")
    assert (told(status)[0], status["pools"][0]["reason"]) == ("NoMatchingNodes", "NoMatchingNodes")
    assert place.objects("job") == []
    with place.nodes("Tesla-V100-SXM2-32GB", first=1), place.kubelet(replay(throughput)):
        place.wait_for("Succeeded")


def test_one_pool_without_nodes(place: Place) -> None:
    """Invariant 5: while one pool waits for nodes the others are tuned; then the study says what it waits for."""
    place.study(nodePools=[place.pool("a100"), place.pool("v100")], budget={"maxTrials": 1})
    with place.kubelet(replay(throughput)):
        status = place.wait_for("Ready", "False", reason="NoMatchingNodes")
        status = place.wait(lambda status: status.get("progress") == "1/2", what="the trial of the other pool")
    assert status["best"]["pool"] == "a100"


def test_nodes_that_leave_between_runs(place: Place) -> None:
    """Invariant 5: when a pool's nodes are cordoned away in the middle, the study waits for them, not for a retry."""
    (node,) = (node for node in place.objects("node") if node["metadata"]["name"].startswith(place.namespace))
    place.study()
    with place.kubelet(lambda _spec, _attempt: Crashes(message="boom")):
        place.wait(lambda status: any(row["attempts"] == 2 for row in status["trials"]), what="a second attempt")
        place.patch("node", node["metadata"]["name"], {"spec": {"unschedulable": True}})
        status = place.wait_for("Ready", "False", reason="NoMatchingNodes")
    assert "cordoned" in told(status)[1]


def test_mixed_gpus(place: Place) -> None:
    """Invariant 5: a pool of unlike GPUs is MixedGPUs, and nothing is measured on it."""
    with place.nodes("Tesla-V100-SXM2-32GB", first=1):
        # The watch of nodes may be behind that of studies: another study shows that the operator knows the new node.
        place.study("other", suspend=True, nodePools=[place.pool("v100")])
        place.wait(lambda status: (status.get("pools") or [{}])[0].get("nodes"), what="the new node", name="other")
        place.study(nodePools=[{"name": "any", "nodeSelector": {"pool": place.namespace}}])
        status = place.wait_for("Ready", "False", reason="MixedGPUs")
    assert "NVIDIA-A100-SXM4-40GB" in told(status)[1]
    assert "Tesla-V100-SXM2-32GB" in told(status)[1]
    assert place.objects("job") == []


def test_queued(place: Place) -> None:
    """Invariant 5: a Job that Kueue has not let go is Queued however long, and measures when it is let go."""
    place.study(
        scheduling={"queueName": "gpus"},
        searchSpace={"gpuCount": [2], "batchSize": [8]},
        measurement={"timeouts": {"schedule": "1s"}},
    )
    run = place.wait_for_run("Queued")
    place.wait_for("Ready", "False", reason="Queued")
    job = place.get("job", run["name"])
    assert (job["spec"]["suspend"], job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]) == (True, "gpus")
    with place.kubelet(replay(throughput)):
        place.patch("job", run["name"], {"spec": {"suspend": False}})
        assert place.wait_for("Succeeded")["trials"][0]["attempts"] == 1


def test_a_policy_that_refuses_pods(place: Place) -> None:
    """Invariant 5: a pod that admission refuses is PodRefused, in the words of who refused it."""
    limits = {"limits": [{"type": "Container", "max": {"nvidia.com/gpu": "1"}}]}
    body = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small"}, "spec": limits}
    apply_documents(place.cluster, {**body, "metadata": {"name": "small", "namespace": place.namespace}})
    place.study(searchSpace={"gpuCount": [2], "batchSize": [8]})
    status = place.wait_for("Ready", "False", reason="PodRefused")
    assert "maximum nvidia.com/gpu usage per Container is 1" in told(status)[1]
