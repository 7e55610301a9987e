"""Kueue's controller as a process beside a control plane: its own installation, with its rights and its webhooks.

The manifests are those that Kueue ships. What a cluster would do for its Pod is done here: the Service of its webhooks
leads to the process, and the Secret with its certificate lies in a folder. Its aggregated API is left out.
"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from controlplane.cluster import ControlPlane
from controlplane.processes import Process, free_ports
from controlplane.readiness import wait_until_ready
from controlplane.waiting import wait_for
from kueue.binaries import Kueue, find_kueue

Body = dict[str, Any]
SECONDS = 90.0  # of patience with two busy cores
KINDS = ("clusterqueues", "localqueues", "resourceflavors", "workloadpriorityclasses", "workloads")
_HOST = "127.0.0.1"
_NAMESPACE = "kueue-system"
_ACCOUNT = "kueue-controller-manager"
_SERVICE = "kueue-webhook-service"
_SECRET = "kueue-webhook-server-cert"  # noqa: S105 - a name
_WEBHOOKS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
# The Deployment is this process; without a Pod network its aggregated API cannot be reached, nor its metrics.
_LEFT_OUT = {"APIService", "Deployment"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ports:
    health: int
    metrics: int
    webhooks: int


@contextmanager
def running_kueue(cluster: ControlPlane, directory: Path, kueue: Kueue | None = None) -> Iterator[Process]:
    """Install Kueue and run its controller while the block lasts; yield the process.

    Args:
        cluster: where it works.
        directory: an absolute path, empty or missing, for its log, configuration and certificate.
        kueue: the program; by default it is found or built.

    Raises:
        ProcessDiedError: it ended during the start.
        TimeoutError: it was not ready in time.
    """
    kueue = kueue or find_kueue()
    ports = _Ports(**dict(zip(("health", "metrics", "webhooks"), free_ports(3), strict=True)))
    certificates = directory / "certificates"
    certificates.mkdir(parents=True)
    shipped = [each for each in yaml.safe_load_all(cluster.kubectl("kustomize", str(kueue.installation))) if each]
    installed = [_adapted(each, ports.webhooks) for each in shipped if each["kind"] not in _LEFT_OUT]
    # Until the process answers, its webhooks would refuse every Job and Pod, so they come last.
    installed.sort(key=lambda document: document["kind"] in _WEBHOOKS)
    cluster.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(installed))
    wait_for(
        lambda: all(cluster.is_established(f"{kind}.kueue.x-k8s.io") for kind in KINDS),
        seconds=SECONDS,
        what="Kueue's kinds",
    )
    configuration = directory / "configuration.yaml"
    configuration.write_text(yaml.safe_dump(_configuration(shipped, ports, certificates)))
    arguments = (
        "env",
        f"KUBECONFIG={cluster.kubeconfig_for(_NAMESPACE, _ACCOUNT)}",
        str(kueue.program),
        f"--config={configuration}",
    )
    process = Process("kueue", arguments, folder=directory)
    try:
        process.start()
        _mount_certificate(cluster, process, certificates)
        wait_until_ready(process, f"http://{_HOST}:{ports.health}/readyz", seconds=SECONDS)
        yield process
    finally:
        for kind in _WEBHOOKS:
            cluster.kubectl("delete", kind, "--selector=app.kubernetes.io/name=kueue")
        process.end()


def _adapted(document: Body, port: int) -> Body:
    """Return the document with its Service leading to this machine, and its webhooks asking for that port."""
    match document:
        case {"kind": "Service", "metadata": {"name": name}} if name == _SERVICE:
            return {**document, "spec": {"type": "ExternalName", "externalName": _HOST}}
        case {"kind": kind} if kind in _WEBHOOKS:
            clients = [webhook["clientConfig"] for webhook in document["webhooks"]]
        case {"kind": "CustomResourceDefinition", "spec": {"conversion": {"webhook": webhook}}}:
            clients = [webhook["clientConfig"]]
        case _:
            clients = []
    for client in clients:
        client["service"]["port"] = port
    return document


def _configuration(shipped: list[Body], ports: _Ports, certificates: Path) -> Body:
    """Return the shipped configuration with the addresses of this process, and without its aggregated API."""
    (config_map,) = (each for each in shipped if each["kind"] == "ConfigMap")
    (text,) = config_map["data"].values()
    return {
        **yaml.safe_load(text),
        "health": {"healthProbeBindAddress": f"{_HOST}:{ports.health}"},
        "metrics": {"bindAddress": f"{_HOST}:{ports.metrics}"},
        "webhook": {"host": _HOST, "port": ports.webhooks, "certDir": str(certificates)},
        "leaderElection": {"leaderElect": False},
        "featureGates": {"VisibilityOnDemand": False},
    }


def _mount_certificate(cluster: ControlPlane, process: Process, folder: Path) -> None:
    """Write the certificate to the folder as soon as the process has put it into its Secret."""

    def made() -> Body | None:
        process.check()
        found = yaml.safe_load(cluster.kubectl("get", "secret", _SECRET, f"--namespace={_NAMESPACE}", "--output=yaml"))
        data: Body = found.get("data") or {}
        return data if {"tls.crt", "tls.key"} <= data.keys() else None

    for name, content in wait_for(made, seconds=SECONDS, what="Kueue's certificate").items():
        (folder / name).write_bytes(base64.b64decode(content))
