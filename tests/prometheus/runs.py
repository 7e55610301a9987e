"""Runs on the control plane, started as the operator starts them, without an operator."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from controlplane.behaviours import Play
from controlplane.cluster import ControlPlane
from controlplane.kubelet import SimulatedKubelet
from controlplane.nodes import added_nodes, gpu_node
from controlplane.waiting import wait_for
from engines.specs import make_simulated_spec
from factories.kube_objects import make_planned_run
from infpop_operator.adapters.kube.job_manifest import Owner, PodSettings, build_job
from infpop_runner.contract import RunResult, decode_result

Document = dict[str, Any]
RUN = make_planned_run()
KEEP = "example.com/keep"  # a finalizer: the Pod can be read after it was deleted
SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A namespace with one Node of eight GPUs, whose Pods the simulated kubelet runs."""

    cluster: ControlPlane
    namespace: str
    kubelet: SimulatedKubelet

    def start_run(self, *, scrape_grace_seconds: float = 0.0) -> None:
        """Start the one run, on two GPUs with batch sizes 8 and 16."""
        spec = make_simulated_spec(
            namespace=self.namespace,
            study="study",
            pool=RUN.pool,
            run=RUN.name,
            device="cuda",
            gpu_count=RUN.gpu_count,
            batches=tuple(trial.configuration.batch_size for trial in RUN.trials),
            scrape_grace_seconds=scrape_grace_seconds,
        )
        owner = Owner(name="study", namespace=self.namespace, uid="none")
        settings = PodSettings(image="runner:1", node_selector={"pool": self.namespace})
        job = build_job(owner, RUN, spec, settings, deadline_seconds=3600)
        del job["metadata"]["ownerReferences"]  # without a study it would be garbage-collected
        job["spec"]["template"]["metadata"]["finalizers"] = [KEEP]
        self.cluster.admin.create(f"/apis/batch/v1/namespaces/{self.namespace}/jobs", job)

    def wait_for_pod(self, phase: str) -> Document:
        """Return the run's Pod as soon as it is in the phase."""

        def found() -> Document | None:
            pod = self.find_pod()
            return pod if pod is not None and pod["status"]["phase"] == phase else None

        return wait_for(found, seconds=SECONDS, what=f"a pod that is {phase}")

    def find_pod(self) -> Document | None:
        """Return the run's Pod, None if it does not exist yet."""
        return next(iter(self.cluster.admin.get(self._pods)["items"]), None)

    def wait_for_result(self) -> RunResult:
        """Wait until the Pod has succeeded, and return its result."""
        return decode_result(
            self.wait_for_pod("Succeeded")["status"]["containerStatuses"][0]["state"]["terminated"]["message"]
        )

    def delete_pod(self) -> None:
        """Request the deletion of the run's Pod, as the operator does when it stops a run."""
        pod = self.find_pod()
        assert pod is not None
        self.cluster.admin.delete(f"{self._pods}/{pod['metadata']['name']}")

    @property
    def _pods(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods"


@contextmanager
def run_site(cluster: ControlPlane, namespace: str, play: Play) -> Iterator[Site]:
    """Run a Node and a kubelet for a namespace for the duration of the block; its Pods may be removed afterwards."""
    node = gpu_node(f"{namespace}-0", extra_labels={"pool": namespace})
    with added_nodes(cluster, node), SimulatedKubelet(cluster.kubeconfig, play, namespace=namespace) as kubelet:
        site = Site(cluster=cluster, namespace=namespace, kubelet=kubelet)
        try:
            yield site
        finally:
            pod = site.find_pod()
            if pod is not None:
                name, patch = pod["metadata"]["name"], '{"metadata": {"finalizers": null}}'
                cluster.kubectl("patch", "pod", name, "--namespace", namespace, "--type=merge", "--patch", patch)
