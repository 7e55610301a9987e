"""The closed loop of docs/gitops.md with Flux itself: other GPUs and other images change what serves, with no person.

Flux's source-controller and kustomize-controller, the API server, the scheduler and the operator are the real ones, and
so are the files: those of deploy/flux/serving.yaml and deploy/repository, with another address of the repository and a
debounce of two seconds. Nodes and what a Pod measures are simulated.
"""

import json
import operator
from collections.abc import Iterator
from contextlib import ExitStack
from functools import reduce
from pathlib import Path

import pytest

from cluster.operator_process import ROOT, OperatorProcess
from cluster.place import Body, Place
from controlplane.behaviours import Throughput, replay
from controlplane.cluster import ControlPlane
from controlplane.nodes import added_nodes, gpu_node
from fluxcd.controllers import running_flux
from fluxcd.git_server import Repository, served

pytestmark = pytest.mark.gitops
NAMESPACE = "serving"  # the repository's own
NAME = "codellama-7b"  # of the study, of the Deployment, and of the Kustomization that applies it
NODES = ("serving-0", "serving-1")
IMAGE = "registry.example.com/infpop-runner"
STUDY_FILE = "studies/base/codellama-7b.yaml"
V100, A100 = "Tesla-V100-SXM2-32GB", "NVIDIA-A100-SXM4-40GB"


def peak(gpu_count: int, batch_size: int, *, value: float = 2000.0) -> Throughput:
    """Return a landscape with its best at this configuration."""

    def throughput(gpus: int, batch: int) -> float:
        return value if (gpus, batch) == (gpu_count, batch_size) else 100.0 + gpus + batch / 1000

    return throughput


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """The example repository, with a debounce for impatient people."""
    repository = Repository(tmp_path / "repository", ROOT / "deploy" / "repository")
    study = repository.files / STUDY_FILE
    text = study.read_text()
    assert "debounce: 10m" in text
    study.write_text(text.replace("debounce: 10m", "debounce: 2s"))
    repository.commit("do not wait for so long")
    return repository


@pytest.fixture
def loop(
    installed: ControlPlane, quick_operator: OperatorProcess, repository: Repository, tmp_path: Path
) -> Iterator[Place]:
    """Flux with the repository, and two nodes of eight V100s that are labelled as the studies' nodes."""
    assert quick_operator.is_running()
    nodes = [gpu_node(name, product=V100, memory_mb=32768, extra_labels={"team": "serving"}) for name in NODES]
    with ExitStack() as stack:
        stack.enter_context(running_flux(installed, tmp_path / "flux"))
        url = stack.enter_context(served(repository))
        stack.enter_context(added_nodes(installed, *nodes))
        text = (ROOT / "deploy" / "flux" / "serving.yaml").read_text()
        assert "https://git.example.com/serving.git" in text
        installed.kubectl("apply", "-f", "-", input=text.replace("https://git.example.com/serving.git", url))
        place = Place(installed, NAMESPACE)
        stack.callback(place.close)
        yield place
        installed.kubectl("delete", "kustomization.kustomize.toolkit.fluxcd.io", "--all", "-n", NAMESPACE)
        installed.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_a_change_ends_in_what_serves(loop: Place, repository: Repository, tmp_path: Path) -> None:
    """V100s become A100s, then a commit names another image: each time one round, one publication, one Pod template."""
    with ExitStack() as stack:
        seen_maps = stack.enter_context(loop.watched("configmaps", tmp_path / "configmaps"))
        seen_deployments = stack.enter_context(loop.watched("deployments", tmp_path / "deployments"))
        serving_pod(loop, gpu_count="1")  # before there is a result

        kubelet = stack.enter_context(loop.kubelet(replay(peak(4, 32))))
        container = serving_pod(loop, gpu_count="4")
        assert {"--tensor-parallel-size=4", "--max-num-seqs=32"} <= set(container["args"])
        assert container["image"] == f"{IMAGE}:1"
        measured = len(kubelet.runs)

        kubelet.play = replay(peak(2, 128))
        for name in NODES:
            labels = gpu_node(name, product=A100)["metadata"]["labels"]
            loop.patch("node", name, {"metadata": {"labels": labels}})
        container = serving_pod(loop, gpu_count="2")
        assert {"--tensor-parallel-size=2", "--max-num-seqs=128"} <= set(container["args"])
        (pool,) = loop.wait_for("Succeeded", name=NAME)["pools"]
        assert (pool["round"], float(pool["improvementPercent"]) > 0) == (2, True)
        first = kubelet.runs[measured].spec
        assert (first.round, first.gpu_count, first.trials[0].batch_size) == (2, 4, 32)  # what serves comes first

        kubelet.play = replay(peak(8, 128, value=3000.0))
        overlay = repository.files / "studies" / "production" / "kustomization.yaml"
        overlay.write_text(overlay.read_text().replace('newTag: "1"', 'newTag: "2"'))
        repository.commit("a newer engine")
        reconcile(loop, "gitrepository", "serving")
        container = serving_pod(loop, gpu_count="8")
        assert container["image"] == f"{IMAGE}:2"

        variables = versions(seen_maps(), f"{NAME}-best-vars", "data")
        published = [(each["GPU_COUNT"], each["MAX_NUM_SEQS"], each["ENGINE_IMAGE"]) for each in variables]
        assert published == [("4", "32", f"{IMAGE}:1"), ("2", "128", f"{IMAGE}:1"), ("8", "128", f"{IMAGE}:2")]
        assert json.loads(variables[-1]["ARGS_JSON"]) == container["args"]
        served_by = versions(seen_deployments(), NAME, "spec", "template", "spec", "containers")
        assert [gpus(container) for (container,) in served_by] == ["1", "4", "2", "8"]

        reconcile(loop, "kustomization", "studies")
        reconcile(loop, "kustomization", NAME)
        assert (writes(loop.cluster, "throughputstudies"), loop.get("study", NAME)["metadata"]["generation"]) == (2, 2)
        assert writes(loop.cluster, "deployments") == 4

        loop.cluster.kubectl("delete", "kustomization.kustomize.toolkit.fluxcd.io", "studies", "-n", NAMESPACE)
        loop.wait_until(lambda: loop.find("study", NAME) is None, what="the study pruned")
        assert loop.get("configmap", f"{NAME}-best-vars")["data"] == variables[-1]
        reconcile(loop, "kustomization", NAME, asked="after the study")
        assert versions(seen_deployments(), NAME, "spec", "template", "spec", "containers") == served_by


def serving_pod(place: Place, *, gpu_count: str) -> Body:
    """Return the container of the Deployment's Pod with so many GPUs, as soon as the Pod is on a node.

    No kubelet ends its Pods here: those that are to go are removed at once.
    """
    found: list[Body] = []

    def on_a_node() -> bool:
        pods = [pod for pod in place.objects("pod") if pod["metadata"]["labels"].get("app") == NAME]
        for pod in pods:
            if "deletionTimestamp" in pod["metadata"]:
                place.delete("pod", pod["metadata"]["name"], force=True)
        containers = [pod["spec"]["containers"][0] for pod in pods if pod["spec"].get("nodeName")]
        found[:] = [container for container in containers if gpus(container) == gpu_count]
        return bool(found)

    place.wait_until(on_a_node, what=f"a Pod of Deployment {NAME} with {gpu_count} GPUs")
    return found[0]


def gpus(container: Body) -> str:
    """Return the GPU limit of a container."""
    limit: str = container["resources"]["limits"]["nvidia.com/gpu"]
    return limit


def versions(seen: list[Body], name: str, *path: str) -> list[Body]:
    """Return the values that a part of an object had, one after the other."""
    found: list[Body] = []
    for event in seen:
        if event["object"]["metadata"]["name"] == name:
            part = reduce(operator.getitem, path, event["object"])
            if not found or part != found[-1]:
                found.append(part)
    return found


def reconcile(place: Place, kind: str, name: str, *, asked: str = "once more") -> None:
    """Do what `flux reconcile` does, and return when it is done and ready."""
    changes = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": asked}}}
    place.patch(kind, name, changes)

    def done() -> bool:
        return bool(place.get(kind, name)["status"].get("lastHandledReconcileAt") == asked)

    place.wait_until(done, what=f"{kind} {name} reconciled")
    conditions = place.get(kind, name)["status"]["conditions"]
    assert [each["status"] for each in conditions if each["type"] == "Ready"] == ["True"]


def writes(cluster: ControlPlane, plural: str) -> int:
    """Return how often the kustomize-controller has written objects of a kind, dry runs aside."""
    entries = cluster.audit_entries(about="kustomize-controller")
    return len(
        [
            entry
            for entry in entries
            if (entry.user, entry.resource) == ("kustomize-controller", plural)
            and entry.verb not in ("get", "list", "watch")
            and "dryRun" not in entry.uri
        ]
    )
