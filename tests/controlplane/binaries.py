"""Find the programs of a real control plane, or build them once on this machine.

`KUBEBUILDER_ASSETS` names a folder with them, as in other Kubernetes projects; missing ones are built from the one Go
module in this folder.

`PYTHONPATH=tests python -m controlplane.binaries` builds them in advance: about five minutes on two cores.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gobuild import GoModule

KUBERNETES_VERSION = "1.34.4"

_CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
_NODES = ("kubelet", "kube-proxy", "helm")
_VERSION = "k8s.io/component-base/version"
MODULE = GoModule(
    folder=Path(__file__).parent,
    name="testcluster",
    packages={
        "etcd": "go.etcd.io/etcd/server/v3",
        "helm": "helm.sh/helm/v3/cmd/helm",
        **{name: f"k8s.io/kubernetes/cmd/{name}" for name in (*_CONTROL_PLANE, *_NODES) if name.startswith("kube")},
    },
    # Without these the programs report version v0.0.0-master, which clients and charts would see.
    linker_flags=f"-s -w -X {_VERSION}.gitVersion=v{KUBERNETES_VERSION} "
    f"-X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor={KUBERNETES_VERSION.split('.')[1]}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """The paths of the programs; those for nodes are None unless requested."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kube_scheduler: Path
    kubectl: Path
    kubelet: Path | None = None
    kube_proxy: Path | None = None
    helm: Path | None = None


def find_binaries(*, with_nodes: bool = False, environment: Mapping[str, str] | None = None) -> Binaries:
    """Return the programs, building those that are neither in `KUBEBUILDER_ASSETS` nor built yet.

    Args:
        with_nodes: also kubelet, kube-proxy and helm.
        environment: replaces this process's environment.

    Raises:
        MissingToolError: Go is missing and cannot be installed.
        subprocess.CalledProcessError: a build failed; its output is on standard error.
    """
    environment = dict(os.environ) if environment is None else environment  # noqa: TID251 - the edge of the tests
    wanted = _CONTROL_PLANE + (_NODES if with_nodes else ())
    found = _given(wanted, environment)
    found |= MODULE.programs(tuple(name for name in wanted if name not in found), environment)
    return Binaries(**{name.replace("-", "_"): path for name, path in found.items()})


def _given(wanted: tuple[str, ...], environment: Mapping[str, str]) -> dict[str, Path]:
    assets = environment.get("KUBEBUILDER_ASSETS")
    if not assets:
        return {}
    return {name: path for name in wanted if (path := Path(assets) / name).exists()}


if __name__ == "__main__":
    binaries = find_binaries(with_nodes="--with-nodes" in sys.argv[1:])
    sys.stdout.write(f"{binaries.kube_apiserver.parent}\n")
