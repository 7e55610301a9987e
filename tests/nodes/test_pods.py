"""What a run's Pod may do, and what it returns, on real kubelets: the settings of `job_manifest` in effect."""

import json
from collections.abc import Callable
from functools import partial

import pytest

from cluster.place import Body, Place
from cluster.studies import apply_documents, read_objects
from controlplane.cluster import ControlPlane
from controlplane.waiting import wait_for
from infpop_operator.adapters.kube.job_manifest import Owner, PodSettings, build_job
from infpop_operator.adapters.kube.record_parsing import parse_pod
from infpop_operator.adapters.kube.records import PodRecord
from infpop_operator.adapters.kube.scale_up import NodeLabels
from infpop_operator.api.spec_pod_template import PodTemplate
from infpop_operator.core.model import PlannedTrial, Run
from infpop_operator.core.study import Configuration
from infpop_runner.contract import (
    EngineSpec,
    MeasurementSpec,
    ModelSpec,
    RunSpec,
    SyntheticSource,
    TrialSpec,
    WorkloadSpec,
)
from nodes.node import Node
from nodes.programs import run
from nodes.real_nodes import A100, V100, RealNodes
from nodes.stand_in_image import LISTENS, REPORTS, RUNNER

pytestmark = pytest.mark.e2e

_GIB = 2**30
_SECONDS = 60.0


def make_job(place: Place, model: str, *, product: str = A100, template: PodTemplate | None = None) -> Body:
    """Return the Job of a run on two GPUs, whose stand-in does what `model` says, on nodes with these GPUs."""
    study = place.study(suspend=True)  # only as the owner; no operator reconciles it
    owner = Owner(name="study", namespace=place.namespace, uid=study["metadata"]["uid"])
    trial = PlannedTrial(index=0, configuration=Configuration(gpu_count=2, batch_size=8))
    planned = Run(name="study-0123456789", pool="a100", round=1, attempt=1, trials=(trial,))
    spec = RunSpec(
        namespace=place.namespace,
        study="study",
        pool="a100",
        round=1,
        run=planned.name,
        model=ModelSpec(name=model),
        engine=EngineSpec(name="vllm"),
        workload=WorkloadSpec(source=SyntheticSource(prompt_tokens=8), samples=8, max_new_tokens=5),
        device="cuda",
        gpu_count=2,
        trials=(TrialSpec(index=0, batch_size=8),),
        measurement=MeasurementSpec(),
    )
    settings = PodSettings(
        image=RUNNER,
        node_labels=NodeLabels(any_of=(("nvidia.com/gpu.product", (product,)),)),
        template=template or PodTemplate(),
    )
    return build_job(owner, planned, spec, settings, deadline_seconds=600)


def await_pod(place: Place, phase: str) -> PodRecord:
    """Return the only Pod of the namespace once it is in the phase."""

    def reached() -> PodRecord | None:
        pods = [parse_pod(body) for body in place.objects("pod")]
        return pods[0] if pods and pods[0].phase == phase else None

    return wait_for(reached, seconds=_SECONDS, what=f"a pod that is {phase}")


def serve(place: Place, selector: dict[str, str]) -> str:
    """Create a Service on port 9400 and return its address."""
    metadata = {"name": "runner", "namespace": place.namespace}
    spec = {"selector": selector, "ports": [{"port": 9400}]}
    apply_documents(place.cluster, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    return str(read_objects(place.cluster, place.namespace, "service", "runner")["spec"]["clusterIP"])


def test_the_pod_of_a_run_may_do_little(place: Place) -> None:
    """A run's Pod passes Pod Security "restricted", and its settings hold inside it on a real kubelet."""
    place.create("job", make_job(place, REPORTS))
    pod = await_pod(place, "Succeeded")
    assert pod.container is not None
    assert (pod.node, pod.container.exit_code, pod.container.terminated_reason) == ("n1", 0, "Completed")
    facts = json.loads(pod.container.terminated_message or "")
    assert facts == {
        "uid": 65532,
        "gid": 65532,
        "status": {"Seccomp": "2", "CapBnd": "0000000000000000", "CapEff": "0000000000000000", "NoNewPrivs": "1"},
        "writable": {"/": False, "/usr/local/bin": False, "/tmp": True, "/cache": True, "/dev/shm": True},
        "shmBytes": 4 * _GIB,
        "node": "n1",
        "hasApiToken": False,
        "variables": {},
        "certificate": "",
    }


def test_the_pod_of_a_run_has_what_its_template_asks_for(place: Place) -> None:
    """Under Pod Security "restricted" a run has its runtime class, user, variables, files and token, and no more."""
    apply_documents(
        place.cluster,
        # A handler that every containerd has.
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "plain"}, "handler": "runc"},
        *(
            {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": place.namespace}, **content}
            for kind, name, content in (
                ("ConfigMap", "company-ca", {"data": {"ca.crt": "a certificate"}}),
                ("Secret", "hub", {"stringData": {"password": "a password"}}),
                ("ServiceAccount", "runs", {}),
            )
        ),
    )
    password = {"secretKeyRef": {"name": "hub", "key": "password"}}
    container = {
        "name": "runner",
        "env": [
            {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
            {"name": "HUB_PASSWORD", "valueFrom": password},
            {"name": "NODE_ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
        ],
        "volumeMounts": [{"name": "certs", "mountPath": "/certs", "readOnly": True}],
    }
    spec = {
        "runtimeClassName": "plain",
        "serviceAccountName": "runs",
        "automountServiceAccountToken": True,
        "securityContext": {"runAsUser": 1000650000, "runAsGroup": 0, "fsGroup": 1000650000},
        "containers": [container],
        "volumes": [{"name": "certs", "configMap": {"name": "company-ca"}}],
    }
    place.create("job", make_job(place, REPORTS, template=PodTemplate.model_validate({"spec": spec})))
    pod = await_pod(place, "Succeeded")
    assert pod.container is not None
    facts = json.loads(pod.container.terminated_message or "")
    (body,) = place.objects("pod")
    assert body["spec"]["runtimeClassName"] == "plain"
    assert (facts["uid"], facts["gid"], facts["certificate"]) == (1000650000, 0, "a certificate")
    assert facts["hasApiToken"]
    assert facts["variables"] == {
        "HTTPS_PROXY": "http://proxy:3128",
        "HUB_PASSWORD": "a password",
        "NODE_ADDRESS": body["status"]["hostIP"],
    }
    assert facts["status"] == {
        "Seccomp": "2",
        "CapBnd": "0000000000000000",
        "CapEff": "0000000000000000",
        "NoNewPrivs": "1",
    }
    assert facts["writable"] == {"/": False, "/usr/local/bin": False, "/tmp": True, "/cache": True, "/dev/shm": True}


def test_a_pod_goes_where_its_gpus_are(place: Place, nodes: RealNodes) -> None:
    """A run lands on the node with its pool's GPUs and is reachable there from this machine and from another node."""
    place.create("job", make_job(place, LISTENS, product=V100))
    pod = await_pod(place, "Running")
    assert pod.node == "n2"
    address = serve(place, {"infpop.io/run": "study-0123456789"})
    answers = {
        "this machine": lambda: ask(run, pod.ip),
        "another node": lambda: ask(nodes["n1"].run, pod.ip),
        "another node, through the Service": lambda: ask(nodes["n1"].run, address),
    }
    for who, answer in answers.items():
        wait_for(partial(_is_answered, answer), seconds=_SECONDS, what=f"the pod's answer to {who}")


def ask(run: Callable[..., str], address: str | None) -> str:
    """Return the answer of port 9400 to a program that `run` runs, empty if nothing listens."""
    try:
        return run("bash", "-c", f"cat < /dev/tcp/{address}/9400").strip()
    except AssertionError:  # the rules of a new Service take about a second to reach a node
        return ""


def test_nodes_reach_the_api_server(control_plane: ControlPlane, nodes: RealNodes) -> None:
    """Every node reaches the API server at the address of its Service, which Pods use."""
    address = control_plane.kubectl("get", "service", "kubernetes", "--output=jsonpath={.spec.clusterIP}")
    for node in nodes:
        wait_for(partial(connects, node, address), seconds=_SECONDS, what=f"{address}:443 at {node.name}")


def connects(node: Node, address: str) -> bool:
    """Return whether the node can connect to port 443 there."""
    try:
        node.run("bash", "-c", f"exec 3<>/dev/tcp/{address}/443")
    except AssertionError:
        return False
    return True


def _is_answered(answer: Callable[[], str]) -> bool:
    return answer() == "n2"
