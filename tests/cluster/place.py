"""A separate place for one test: a namespace, nodes that no other test uses, and quick reads of its objects.

Looking goes over one kept connection, because a test looks some hundred times, and kubectl would take a core for that.
"""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx

from cluster.studies import find_condition
from controlplane.admin import open_client
from controlplane.audit import AuditEntry
from controlplane.behaviours import Play
from controlplane.cluster import ControlPlane
from controlplane.kubelet import SimulatedKubelet
from controlplane.nodes import added_nodes, gpu_node
from controlplane.waiting import wait_for
from factories.study_documents import make_study_document
from infpop_operator.api.resource import API_PATH, PLURAL

Body = dict[str, Any]
SECONDS = 90.0  # of patience with two busy cores; nothing waits that long where it works
MEMORY = 64  # the largest batch that fits, by GPU
_MERGE = {"Content-Type": "application/merge-patch+json"}
_PATHS = {
    "study": f"/{API_PATH}/namespaces/{{}}/{PLURAL}",
    "job": "/apis/batch/v1/namespaces/{}/jobs",
    "pod": "/api/v1/namespaces/{}/pods",
    "configmap": "/api/v1/namespaces/{}/configmaps",
    "event": "/api/v1/namespaces/{}/events",
    "resourcequota": "/api/v1/namespaces/{}/resourcequotas",
    "node": "/api/v1/nodes",
    "deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "gitrepository": "/apis/source.toolkit.fluxcd.io/v1/namespaces/{}/gitrepositories",
    "kustomization": "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{}/kustomizations",
    "workload": "/apis/kueue.x-k8s.io/v1beta2/namespaces/{}/workloads",
}


def throughput(gpus: int, batch: int) -> float | Literal["GpuOutOfMemory"]:
    """Return the landscape that most tests replay: more of either is faster, until the memory is full."""
    return "GpuOutOfMemory" if batch > MEMORY * gpus else 100.0 * gpus**0.7 * batch**0.4


class Place:
    """One namespace, seen by its administrator; `name` is also the label `pool` of its nodes."""

    def __init__(self, cluster: ControlPlane, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self._client = open_client(cluster.kubeconfig)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def objects(self, kind: str) -> list[Body]:
        """Return the objects of a kind."""
        items: list[Body] = self._answer(self._client.get(_PATHS[kind].format(self.namespace)))["items"]
        return items

    def find(self, kind: str, name: str) -> Body | None:
        """Return an object, None where there is none of that name."""
        answer = self._client.get(self._path(kind, name))
        return None if answer.status_code == 404 else self._answer(answer)

    def get(self, kind: str, name: str) -> Body:
        """Return an object that is there."""
        return self._answer(self._client.get(self._path(kind, name)))

    def create(self, kind: str, body: Mapping[str, Any]) -> Body:
        """Create an object."""
        return self._answer(self._client.post(_PATHS[kind].format(self.namespace), json=body))

    def patch(self, kind: str, name: str, changes: Mapping[str, Any]) -> Body:
        """Merge changes into an object; a dictionary's None removes a key."""
        return self._answer(self._client.patch(self._path(kind, name), content=json.dumps(changes), headers=_MERGE))

    def delete(self, kind: str, name: str, *, force: bool = False) -> None:
        """Ask for the deletion of an object, as kubectl does it by default, or with --force."""
        options = {"propagationPolicy": "Background", **({"gracePeriodSeconds": 0} if force else {})}
        self._answer(self._client.request("DELETE", self._path(kind, name), json=options))

    def study(self, name: str = "study", **spec: object) -> Body:
        """Create a study on this place's nodes; keywords replace parts of the spec."""
        return self.create("study", self.document(name, **spec))

    def document(self, name: str = "study", **spec: object) -> Body:
        """Return such a study without creating it."""
        return make_study_document(name, self.namespace, **{"nodePools": [self.pool()], **spec})

    def pool(self, name: str = "a100", **fields: object) -> Body:
        """Return a node pool of this place."""
        return {"name": name, "gpuProduct": name.upper(), "nodeSelector": {"pool": self.namespace}, **fields}

    def change(self, name: str = "study", **spec: object) -> Body:
        """Merge changes into the spec of a study."""
        return self.patch("study", name, {"spec": spec})

    def status(self, name: str = "study") -> Body:
        """Return the status of a study, empty while there is none."""
        found: Body = self.get("study", name).get("status", {})
        return found

    def wait(self, holds: Callable[[Body], object], *, what: str, name: str = "study") -> Body:
        """Return the first status of which `holds` is true."""

        def reached() -> Body | None:
            status = self.status(name)
            return status if status and holds(status) else None

        try:
            return wait_for(reached, seconds=SECONDS, what=what)
        except TimeoutError as error:
            shown = json.dumps(self.status(name), indent=1)
            raise TimeoutError(f"{what}: not within {SECONDS:g} s; the status is {shown}") from error

    def wait_for(self, kind: str, value: str = "True", *, reason: str | None = None, name: str = "study") -> Body:
        """Return the first status of which a condition has the value and, if given, the reason."""

        def holds(status: Body) -> bool:
            found = find_condition(status, kind)
            return found.get("status") == value and reason in (None, found["reason"])

        return self.wait(holds, what=f"{kind}={value} ({reason or 'for any reason'})", name=name)

    def wait_for_run(self, state: str, *, name: str = "study") -> Body:
        """Return the first live run of the study that is in the state."""

        def found(status: Body) -> bool:
            return any(run["state"] == state for run in status.get("runs", ()))

        status = self.wait(found, what=f"a run that is {state}", name=name)
        return next(run for run in status["runs"] if run["state"] == state)

    def wait_until(self, holds: Callable[[], object], *, what: str) -> None:
        """Wait until something is true."""
        wait_for(holds, seconds=SECONDS, what=what)

    def running_pods(self) -> list[Body]:
        """Return the pods that hold devices or wait for them."""
        return [pod for pod in self.objects("pod") if pod["status"]["phase"] in ("Pending", "Running")]

    def shows_a_number(self) -> bool:
        """Say whether a running pod has measured a trial."""
        addresses = (pod["status"].get("podIP") for pod in self.running_pods())
        pages = (httpx.get(f"http://{address}:9400/metrics", trust_env=False).text for address in addresses if address)
        return any("infpop_trial_throughput_tokens_per_second{" in page for page in pages)

    def reasons(self, name: str = "study") -> list[str]:
        """Return the reasons of the Events about the study of this name, oldest first."""
        about = [event for event in self.objects("event") if event["involvedObject"]["name"] == name]
        return [event["reason"] for event in sorted(about, key=lambda event: event["metadata"]["creationTimestamp"])]

    def wait_for_listings(self, number: int) -> None:
        """Wait until the operator has listed all studies so often from now on."""
        before = len(self._listings())
        self.wait_until(lambda: len(self._listings()) >= before + number, what=f"{number} listings")

    def _listings(self) -> list[AuditEntry]:
        entries = self.cluster.audit_entries(about="throughputstudies")
        return [entry for entry in entries if entry.verb == "list" and entry.user_agent.startswith("infpop/")]

    def kubelet(self, play: Play) -> SimulatedKubelet:
        """Return a kubelet for the pods of this namespace."""
        return SimulatedKubelet(self.cluster.kubeconfig, play, namespace=self.namespace)

    @contextmanager
    def nodes(self, *products: str, first: int = 0) -> Iterator[Sequence[str]]:
        """Have a node of eight GPUs for each product while the block lasts, numbered from `first`; give their names."""
        nodes = (
            gpu_node(f"{self.namespace}-{number}", product=product, extra_labels={"pool": self.namespace})
            for number, product in enumerate(products, start=first)
        )
        with added_nodes(self.cluster, *nodes) as names:
            yield names

    @contextmanager
    def watched(self, plural: str, file: Path) -> Iterator[Callable[[], list[Body]]]:
        """Note each version of the objects of a kind; call what is given for those that were seen so far."""
        command = [str(self.cluster._binaries.kubectl), "--kubeconfig", str(self.cluster.kubeconfig), "get", plural]
        options = ["--namespace", self.namespace, "--watch", "--output-watch-events", "--output=json"]
        with file.open("wb") as stream, subprocess.Popen([*command, *options], stdout=stream) as process:
            try:
                yield lambda: list(_documents(file.read_text()))
            finally:
                process.terminate()

    def _path(self, kind: str, name: str) -> str:
        return f"{_PATHS[kind].format(self.namespace)}/{name}"

    def _answer(self, response: httpx.Response) -> Body:
        assert response.is_success, f"{response.request.method} {response.request.url}: {response.text}"
        body: Body = response.json()
        return body


def _documents(text: str) -> Iterator[Body]:
    """Yield concatenated JSON documents; the last one may be half written."""
    decoder, position = json.JSONDecoder(), 0
    while (start := text.find("{", position)) >= 0:
        try:
            document, position = decoder.raw_decode(text, start)
        except ValueError:
            return
        yield document
