"""Find the programs of a real control plane, or build them once for this machine.

`KUBEBUILDER_ASSETS` names a folder that has them, as elsewhere in the Kubernetes world; what it lacks is built from the
one Go module beside this file.

`PYTHONPATH=tests python -m controlplane.binaries` builds in advance: about five minutes on two cores.
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
    # Without these the programs call themselves v0.0.0-master, which clients and charts would see.
    linker_flags=f"-s -w -X {_VERSION}.gitVersion=v{KUBERNETES_VERSION} "
    f"-X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor={KUBERNETES_VERSION.split('.')[1]}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """Where the programs lie; those of nodes are None unless they were asked for."""

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
        with_nodes: kubelet, kube-proxy and helm too.
        environment: instead of this process's.

    Raises:
        MissingToolError: there is no Go and none can be installed.
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
