"""Flux's source-controller and kustomize-controller as processes beside a control plane."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from controlplane.cluster import ControlPlane
from controlplane.processes import Process, free_ports
from controlplane.readiness import wait_until_ready
from controlplane.waiting import wait_for
from fluxcd.binaries import Flux, find_flux

SECONDS = 60.0  # of patience with two busy cores
_HOST = "127.0.0.1"
_KINDS = (
    "kustomizations.kustomize.toolkit.fluxcd.io",
    *(
        f"{plural}.source.toolkit.fluxcd.io"
        for plural in ("buckets", "externalartifacts", "gitrepositories", "helmcharts", "helmrepositories")
    ),
    "ocirepositories.source.toolkit.fluxcd.io",
)
NAMESPACE = "flux-system"


@contextmanager
def running_flux(cluster: ControlPlane, directory: Path, flux: Flux | None = None) -> Iterator[tuple[Process, Process]]:
    """Install Flux's kinds and run its two controllers while the block lasts; yield their processes.

    Each has the rights of an administrator, as Flux's own installation gives them to the kustomize-controller, and its
    own name in the audit log.

    Args:
        cluster: where they work.
        directory: an absolute path, empty or missing, for logs and artifacts.
        flux: the programs; by default they are found or built.

    Raises:
        ProcessDiedError: one of them ended during the start.
        TimeoutError: one of them was not ready in time.
    """
    flux = flux or find_flux()
    artifacts = directory / "artifacts"
    artifacts.mkdir(parents=True)
    for folder in flux.crds:
        cluster.kubectl("apply", "--server-side", "-f", str(folder))
    wait_for(lambda: all(map(cluster.is_established, _KINDS)), seconds=SECONDS, what="Flux's kinds")
    storage, *ports = free_ports(5)
    address = f"{_HOST}:{storage}"
    stores = (f"--storage-path={artifacts}", f"--storage-addr={address}", f"--storage-adv-addr={address}")
    programs = (
        ("source-controller", flux.source_controller, stores),
        ("kustomize-controller", flux.kustomize_controller, ()),
    )
    with ExitStack() as stack:
        processes = []
        for name, program, flags in programs:
            health, metrics = ports.pop(), ports.pop()
            arguments = (
                "env",
                f"KUBECONFIG={cluster.user_kubeconfig(name, groups=('system:masters',))}",
                f"RUNTIME_NAMESPACE={NAMESPACE}",
                str(program),
                "--watch-all-namespaces",
                "--enable-leader-election=false",
                f"--health-addr={_HOST}:{health}",
                f"--metrics-addr={_HOST}:{metrics}",
                *flags,
            )
            process = Process(name, arguments, folder=directory)
            stack.callback(process.end)
            process.start()
            wait_until_ready(process, f"http://{_HOST}:{health}/readyz", seconds=SECONDS)
            processes.append(process)
        yield processes[0], processes[1]
