"""The Job controller, the scheduler and the kubelets of a cluster in memory: plain calls, which play one move each.

A run is named as its Job is. The calls act on its newest Pod.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from controlplane.behaviours import Throughput, run_result, trial_result
from controlplane.pod_status import Ending, Times, disruption, ended_status, running_status, waiting_status
from factories.played_order import is_left_out, skipped
from infpop_runner.contract import Broken, RunSpec, TrialResult
from reconcile.memory_cluster import NAMESPACE, Body, Json, MemoryCluster

NODE = "n1"
OUT_OF_MEMORY_ABOVE = 64  # the largest batch that fits, by GPU


def landscape(gpus: int, batch: int) -> Any:  # noqa: ANN401 - a number, or the reason why there is none
    """Return tokens/s of a made-up landscape: more of either is faster, until the memory is full."""
    return "GpuOutOfMemory" if batch > OUT_OF_MEMORY_ABOVE * gpus else 100.0 * gpus**0.7 * batch**0.4


class PlayedNodes:
    """Moves the Jobs and Pods of a cluster.

    Attributes:
        throughput: what each trial finds.
        holds: says which runs do not come to an end by themselves.
        clock_ahead_s: by how much the clocks of the nodes are ahead.
    """

    def __init__(self, cluster: MemoryCluster, throughput: Throughput = landscape) -> None:
        self.throughput = throughput
        self.holds: Callable[[RunSpec], bool] = lambda _: False
        self.clock_ahead_s = 0.0
        self._cluster = cluster
        self._pods = 0

    def step(self) -> bool:
        """Move each Job by one phase: to a Pod at work, and then to its end; say whether anything moved."""
        moved = False
        for job in self._cluster.all("jobs"):
            run = job["metadata"]["name"]
            if _is_over(job) or job["spec"]["suspend"] or "deletionTimestamp" in job["metadata"]:
                continue
            moved = self._move(run) or moved
        return moved

    def _move(self, run: str) -> bool:
        pods = self.pods(run)
        if not pods:
            self.start(run)
        elif pods[-1]["status"]["phase"] == "Pending":
            self.bind(run)
            self.work(run)
        elif self.holds(self.spec(run)):
            return False
        else:
            self.finish(run)
        return True

    def suspend(self, run: str) -> None:
        """Say that a Job is suspended, as the Job controller does."""
        suspended = {"type": "Suspended", "status": "True", "lastTransitionTime": self._cluster.clock.stamp()}
        self._cluster.patch("jobs", run, {"spec": {"suspend": True}, "status": {"conditions": [suspended]}})

    def release(self, run: str) -> None:
        """Let a suspended Job go, as its queue does; the Job controller makes its Pod before it says so."""
        self._cluster.patch("jobs", run, {"spec": {"suspend": False}})
        self.make_pod(run)
        self._cluster.patch("jobs", run, {"status": {"conditions": None}})

    def let_go(self, message: str | None = None) -> None:
        """Have every Pod that is being deleted end, killed or with a last message, and be gone."""
        killed = Ending(exit_code=137, reason="Error")
        ending = killed if message is None else Ending(exit_code=0, reason="Completed", message=message)
        for pod in self._cluster.all("pods"):
            if "deletionTimestamp" in pod["metadata"]:
                self._end(pod, ending)
                self._cluster.remove("pods", pod["metadata"]["name"])

    def let_go_of(self, run: str) -> None:
        """Have the Pods of a run, which have ended, be gone."""
        for pod in self.pods(run):
            self._cluster.remove("pods", pod["metadata"]["name"])

    def delete_pod(self, name: str) -> None:
        """Ask for the end of a Pod, as a user or the Job controller does."""
        self._cluster.patch("pods", name, {"metadata": {"deletionTimestamp": self._cluster.clock.stamp()}})

    def pods(self, run: str) -> list[Body]:
        """Return the Pods of a run that exist."""
        uid = self._cluster.get("jobs", run)["metadata"]["uid"]
        owners = [(pod, pod["metadata"].get("ownerReferences", ())) for pod in self._cluster.all("pods")]
        return [pod for pod, references in owners if any(each["uid"] == uid for each in references)]

    def spec(self, run: str) -> RunSpec:
        """Return what the runner of a run is to do."""
        (container,) = self._cluster.get("jobs", run)["spec"]["template"]["spec"]["containers"]
        text = next(each["value"] for each in container["env"] if each["name"] == "INFPOP_RUN_SPEC")
        return RunSpec.model_validate_json(text.replace("$$", "$"))

    def start(self, run: str) -> None:
        """Have a Pod at work for a run."""
        self.make_pod(run)
        self.bind(run)
        self.work(run)

    def make_pod(self, run: str) -> None:
        """Make a Pod for a Job, and say so afterwards, as the Job controller does."""
        job = self._cluster.get("jobs", run)
        self._pods += 1
        template = job["spec"]["template"]
        owner = {"kind": "Job", "name": run, "uid": job["metadata"]["uid"], "controller": True}
        metadata = {**template["metadata"], "name": f"{run}-{self._pods}", "namespace": NAMESPACE}
        metadata |= {"ownerReferences": [owner], "generateName": f"{run}-"}
        self._cluster.create(
            "pods", {"metadata": metadata, "spec": dict(template["spec"]), "status": {"phase": "Pending"}}
        )
        self._cluster.patch("jobs", run, {"status": {"active": 1, "startTime": self._cluster.clock.stamp()}})

    def find_no_node(self, run: str, message: str) -> None:
        """Make the Pod, and say that no node can take it, as the scheduler does."""
        self.make_pod(run)
        stamp = self._cluster.clock.stamp()
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        self._change(run, {"status": {"conditions": [{**condition, "lastTransitionTime": stamp}]}})

    def say_of(self, run: str, reason: str, message: str, *, reporter: str) -> None:
        """Write an Event about the Pod, as an autoscaler does."""
        pod, stamp = self._newest(run)["metadata"], self._cluster.clock.stamp()
        event = {"metadata": {"name": f"{pod['name']}.{reason}", "namespace": NAMESPACE}, "reason": reason}
        event |= {"involvedObject": {"kind": "Pod", "uid": pod["uid"]}, "source": {"component": reporter}}
        self._cluster.create("events", {**event, "message": message, "lastTimestamp": stamp})

    def bind(self, run: str, node: str = NODE) -> None:
        """Give the Pod a node, as the scheduler does."""
        stamp = self._cluster.clock.stamp()
        scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp}
        self._change(run, {"spec": {"nodeName": node}, "status": {"conditions": [scheduled]}})
        self._show(run, waiting_status(self._newest(run), self._times(), reason="ContainerCreating"))

    def fail_pull(self, run: str) -> None:
        """Say that the image cannot be pulled, as the kubelet does."""
        status = waiting_status(self._newest(run), self._times(), reason="ImagePullBackOff", message="manifest unknown")
        self._show(run, status)

    def work(self, run: str) -> None:
        """Start the Pod's container, as the kubelet does."""
        self._show(run, running_status(self._newest(run), self._times(), pod_ip="10.0.0.1"))

    def finish(self, run: str, *, broken: Broken | None = None, most: int | None = None) -> None:
        """End a run by itself, with the results of its trials, at most so many; its Job is complete."""
        self.exit(run, message=self.message(run, broken=broken, most=most))
        self.end_job(run, complete=True)

    def linger(self, run: str, container: str = "mesh-proxy") -> None:
        """End the runner of a run, with its result, while a sidecar of its Pod goes on."""
        self.exit(run, message=self.message(run))
        pod = self._newest(run)
        sidecar = {"name": container, "state": {"running": {"startedAt": self._cluster.clock.stamp()}}}
        statuses = [*pod["status"]["containerStatuses"], sidecar]
        self._change(run, {"status": {"phase": "Running", "containerStatuses": statuses}})

    def held_gpus(self) -> int:
        """Return the GPUs of the Pods that are on a node and have not ended."""
        pods = [pod for pod in self._cluster.all("pods") if "nodeName" in pod["spec"]]
        live = [pod for pod in pods if pod["status"]["phase"] not in ("Succeeded", "Failed")]
        return sum(int(pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]) for pod in live)

    def crash(self, run: str, message: str = "RuntimeError: NCCL error") -> None:
        """End a run by a crash of its container; its Job has failed."""
        self.exit(run, code=1, message=message)
        self.end_job(run, complete=False)

    def exit(self, run: str, *, code: int = 0, message: str = "") -> None:
        """End the Pod's container; the Job controller has not seen it yet."""
        reason = "Completed" if code == 0 else "Error"
        self._end(self._newest(run), Ending(exit_code=code, reason=reason, message=message))

    def end_job(self, run: str, *, complete: bool) -> None:
        """End the Job, as the Job controller does."""
        kind, reason = ("Complete", "CompletionsReached") if complete else ("Failed", "BackoffLimitExceeded")
        condition = {"type": kind, "status": "True", "reason": reason, "message": "its Pod has ended"}
        condition["lastTransitionTime"] = self._cluster.clock.stamp()
        self._cluster.patch("jobs", run, {"status": {"active": 0, "conditions": [condition]}})

    def drain(self, run: str) -> None:
        """Take the Pod away, as `kubectl drain` does; the Job controller makes another one."""
        gone = disruption("EvictionByEvictionAPI", "Eviction API: evicting", self._cluster.clock())
        pod = self._newest(run)
        self._cluster.patch("pods", pod["metadata"]["name"], {"status": gone})
        self._end(self._newest(run), Ending(exit_code=137, reason="Error"))
        self._cluster.remove("pods", pod["metadata"]["name"])

    def evict(self, run: str) -> None:
        """End the Pod for want of memory on its node, as its kubelet does."""
        words = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 1Mi."
        ending = Ending(
            exit_code=137,
            reason="Error",
            pod_reason="Evicted",
            pod_message=words,
            disrupted="TerminationByKubelet",
        )
        self._end(self._newest(run), ending)

    def refuse(self, run: str, reason: str, words: str) -> None:
        """Fail the bound Pod without starting its container, as its kubelet does when it does not admit it."""
        status = {"phase": "Failed", "reason": reason, "message": words, "containerStatuses": None}
        self._cluster.patch("pods", self._newest(run)["metadata"]["name"], {"status": status})
        self.end_job(run, complete=False)

    def vanish(self, run: str) -> None:
        """Have the Pod gone without a word, as with its node."""
        self._cluster.remove("pods", self._newest(run)["metadata"]["name"])

    def message(self, run: str, *, broken: Broken | None = None, most: int | None = None) -> str:
        """Return the result that the runner of a run leaves."""
        spec, now = self.spec(run), self._cluster.clock()
        results: list[TrialResult] = []
        for trial in spec.trials[:most]:
            if not is_left_out(trial, results):
                result = skipped(trial, results) or trial_result(spec, trial, self.throughput, (0.0, 1.0))
                results.append(result)
        return run_result(
            spec,
            tuple(results),
            node=NODE,
            load_seconds=1.0,
            broken=broken,
            started_at=now,
            ended_at=None if broken is not None and broken.reason == "Stopped" else now,
            held_seconds=None,
        ).model_dump_json()

    def _newest(self, run: str) -> Json:
        return dict(self.pods(run)[-1])

    def _times(self) -> Times:
        now = self._cluster.clock() + timedelta(seconds=self.clock_ahead_s)
        return Times(seen_at=now, started_at=now, ended_at=now)

    def _end(self, pod: Body, ending: Ending) -> None:
        began = (pod["status"].get("containerStatuses") or [{"state": {}}])[0]["state"].get("running", {})
        times = self._times()
        status = ended_status(dict(pod), times, ending)
        if began:
            status["containerStatuses"][0]["state"]["terminated"]["startedAt"] = began["startedAt"]
        self._show_of(pod, status)

    def _show(self, run: str, status: Json) -> None:
        self._show_of(self._newest(run), status)

    def _show_of(self, pod: Body, status: Json) -> None:
        """Write a status as a kubelet does, who leaves the conditions of others alone."""
        kinds = {condition["type"] for condition in status["conditions"]}
        kept = [each for each in pod["status"].get("conditions", ()) if each["type"] not in kinds]
        stored = {"manager": "kubelet", "subresource": "status", "time": self._cluster.clock.stamp()}
        changes = {
            "metadata": {"managedFields": [stored]},
            "status": {**status, "conditions": [*kept, *status["conditions"]]},
        }
        self._cluster.patch("pods", pod["metadata"]["name"], changes)

    def _change(self, run: str, changes: Mapping[str, Any]) -> None:
        self._cluster.patch("pods", self._newest(run)["metadata"]["name"], changes)


def _is_over(job: Body) -> bool:
    conditions = job.get("status", {}).get("conditions", ())
    return any(each["type"] in ("Complete", "Failed") for each in conditions)
