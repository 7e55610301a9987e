"""The configuration files of a node's programs; settings that are not obvious have their reason.

Inside its own mount namespace a node has the usual paths: /var/lib/kubelet, /run/containerd; /etc/infpop-node is this
folder. They are on this machine's disk or in memory, and are removed with the node.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nodes.programs import CNI_FOLDER
from nodes.stand_in_image import PAUSE

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFiles:
    """The content of one node's files, and the folder to which they are written.

    Attributes:
        folder: the folder of the files; it exists.
        cgroup: the name of the node's cgroups.
        pod_range: the addresses of its Pods.
        certificate: the kubelet's server certificate, and its key.
        ca: the authority that the kubelet trusts for its clients.
        proxy_kubeconfig: the kubeconfig of kube-proxy.
        name: the name of the node.
    """

    folder: Path
    name: str
    cgroup: str
    pod_range: str
    certificate: tuple[Path, Path]
    ca: Path
    proxy_kubeconfig: Path

    def write(self) -> None:
        """Write them all."""
        (self.folder / "cni").mkdir(exist_ok=True)
        (self.folder / "cni" / "10-infpop.conflist").write_text(json.dumps(self._cni()))
        (self.folder / "containerd.toml").write_text(self._containerd())
        for name, document in (("kubelet.yaml", self._kubelet()), ("kube-proxy.yaml", self._kube_proxy())):
            (self.folder / name).write_text(yaml.safe_dump(document))
        # The machine's own may be a link into /run, which is a different folder inside.
        (self.folder / "resolv.conf").write_text(Path("/etc/resolv.conf").read_text())

    def _cni(self) -> dict[str, Any]:
        addresses = {
            "type": "host-local",
            "dataDir": "/run/ipam",
            "ranges": [[{"subnet": self.pod_range}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        bridge = {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": False,  # everything that Pods can reach here has a route back to them
            "hairpinMode": True,
            "ipam": addresses,
        }
        portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
        return {"cniVersion": "1.0.0", "name": "infpop", "plugins": [bridge, portmap]}

    def _containerd(self) -> str:
        # The plugin "opt" creates /opt/containerd. Without CAP_SYS_RESOURCE, which a machine may lack, no sandbox
        # starts if its OOM score has to be lowered.
        return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{CNI_FOLDER}"
  conf_dir = "{self.folder / "cni"}"
"""

    def _kubelet(self) -> dict[str, Any]:
        certificate, key = self.certificate
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self.ca)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(certificate),
            "tlsPrivateKeyFile": str(key),
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.cgroup}",
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            "resolvConf": str(self.folder / "resolv.conf"),
            "volumePluginDir": "/var/lib/kubelet/volume-plugins",  # the default would be a folder of this machine
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "evictionPressureTransitionPeriod": "5s",  # a test that triggers an eviction can continue soon
            "imageGCHighThresholdPercent": 100,  # images cannot be pulled again
            "nodeStatusUpdateFrequency": "2s",
        }

    def _kube_proxy(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "hostnameOverride": self.name,
            "clientConnection": {"kubeconfig": str(self.proxy_kubeconfig)},
            "conntrack": {"maxPerCore": 0},  # it is the machine's, and cannot be changed from a network namespace
        }
