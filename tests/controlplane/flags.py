"""The command lines of the control plane's programs; flags that are not obvious have their reason."""

import json
from dataclasses import dataclass
from pathlib import Path

from controlplane.audit import POLICY
from controlplane.pki import Pki

LOOPBACK = "127.0.0.1"
# The defaults (20 requests a second, 30 in parallel) make a one-user control plane wait for itself: a start takes twice
# as long, and two hundred Jobs a minute.
_QPS, _BURST = 500, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Folder, certificates, ports and `host`, the API server's address, of one control plane."""

    directory: Path
    pki: Pki
    host: str
    etcd_port: int
    etcd_peer_port: int
    apiserver_port: int
    controller_manager_port: int
    scheduler_port: int
    audit_log: Path | None

    def kubeconfig(self, name: str) -> Path:
        """Return the path of the kubeconfig `name`."""
        return self.directory / f"{name}.kubeconfig"

    @property
    def etcd_url(self) -> str:
        """The address at which the API server finds etcd."""
        return f"http://{LOOPBACK}:{self.etcd_port}"


def etcd_flags(layout: Layout) -> list[str]:
    """Return the flags of etcd: one member that does not sync to disk."""
    peer = f"http://{LOOPBACK}:{layout.etcd_peer_port}"
    return [
        "--name=test",
        f"--data-dir={layout.directory / 'etcd'}",
        f"--listen-client-urls={layout.etcd_url}",
        f"--advertise-client-urls={layout.etcd_url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=test={peer}",
        "--unsafe-no-fsync",  # the data lives only as long as the test
        "--log-level=warn",
    ]


def apiserver_flags(layout: Layout) -> list[str]:
    """Return the flags of kube-apiserver: RBAC and the Node authorizer, as on a real cluster."""
    pki = layout.pki
    flags = [
        f"--etcd-servers={layout.etcd_url}",
        f"--bind-address={layout.host}",
        f"--advertise-address={layout.host}",
        f"--secure-port={layout.apiserver_port}",
        f"--tls-cert-file={pki.certificate('apiserver')}",
        f"--tls-private-key-file={pki.key('apiserver')}",
        f"--client-ca-file={pki.ca}",
        f"--kubelet-client-certificate={pki.certificate('apiclient')}",
        f"--kubelet-client-key={pki.key('apiclient')}",
        f"--kubelet-certificate-authority={pki.ca}",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={pki.key('sa')}",
        f"--service-account-key-file={layout.directory / 'pki' / 'sa.pub'}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
    ]
    if layout.host == LOOPBACK:
        flags.append("--endpoint-reconciler-type=none")  # loopback addresses are no endpoints, and no Pod needs one
    if layout.audit_log is not None:
        policy = layout.directory / "audit-policy.json"
        policy.write_text(POLICY)
        # A size in MB that is never reached: by default the log is rotated at 100 MB.
        flags += [f"--audit-policy-file={policy}", f"--audit-log-path={layout.audit_log}", "--audit-log-maxsize=100000"]
    return flags


def controller_manager_flags(layout: Layout) -> list[str]:
    """Return the flags of kube-controller-manager."""
    kubeconfig = layout.kubeconfig("kube-controller-manager")
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={layout.controller_manager_port}",
        f"--cert-dir={layout.directory / 'kcm-certs'}",
        "--leader-elect=false",
        f"--service-account-private-key-file={layout.pki.key('sa')}",
        f"--root-ca-file={layout.pki.ca}",
        "--use-service-account-credentials",
        "--node-monitor-grace-period=24h",  # nodes without a kubelet send no heartbeat and must stay Ready
        f"--kube-api-qps={_QPS}",
        f"--kube-api-burst={_BURST}",
    ]


def scheduler_flags(layout: Layout) -> list[str]:
    """Return the flags of kube-scheduler, after writing its configuration: the flags for the rate are deprecated."""
    kubeconfig = layout.kubeconfig("kube-scheduler")
    configuration = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig), "qps": _QPS, "burst": _BURST},
        "leaderElection": {"leaderElect": False},
    }
    path = layout.directory / "kube-scheduler.yaml"
    path.write_text(f"# a brace as the first byte would be read as JSON and refused\n{json.dumps(configuration)}\n")
    return [
        f"--config={path}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={layout.scheduler_port}",
        f"--cert-dir={layout.directory / 'scheduler-certs'}",
    ]
