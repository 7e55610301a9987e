"""One real node: containerd, kubelet and kube-proxy in their own namespaces, and its removal."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from controlplane.binaries import Binaries
from controlplane.cluster import ControlPlane
from controlplane.processes import Process
from controlplane.waiting import wait_for
from nodes import cgroups
from nodes.image_store import ImageStore
from nodes.network import Network
from nodes.node_files import NodeFiles
from nodes.programs import run

HIDDEN = ("/run", "/var/lib", "/var/log")  # folders of this machine that are hidden from a node: it has its own
_SCRIPT = Path(__file__).parent / "node.sh"
_START_SECONDS = 30.0
_RESTART_SECONDS = 60.0
_KIB = {"Ki": 1, "Mi": 1024}
_LOGS = ("containerd.log", "kubelet.log", "kube-proxy.log")


class Node:
    """A node that does not exist before `start`, and of which only its logs remain after `end`."""

    def __init__(self, control_plane: ControlPlane, network: Network, *, name: str, index: int) -> None:
        self.name = name
        self.index = index
        self.address = network.node_address(index)
        self.folder = control_plane.directory / f"node-{name}"
        self._control_plane = control_plane
        self._network = network
        self._cgroup = f"{network.name}-{name}"
        self._left = ExitStack()
        self._process: Process | None = None
        self._first_pid: int | None = None

    def start(self, binaries: Binaries, images: ImageStore, *, peers: tuple["Node", ...]) -> None:
        """Start it; it is not Ready on return, and its object may not exist yet.

        Args:
            binaries: programs, including those for nodes.
            images: its images, including the pause container's.
            peers: the other nodes, whose Pods its own Pods reach.
        """
        self.folder.mkdir()
        self._left.callback(self._remove_disk)
        images.link_to(self.folder / "containerd")
        self._write_files()
        self._left.callback(cgroups.remove_all, self._cgroup)
        cgroups.create(self._cgroup)
        self._process = self._make_process(binaries, peers)
        self._left.callback(self._kill)
        self._process.start()
        self._first_pid = wait_for(self._find_first_pid, seconds=_START_SECONDS, what=f"the namespaces of {self.name}")
        self._left.callback(self._network.unplug, self.index)
        self._network.plug_in(self.index, self._first_pid)

    def end(self) -> None:
        """End all its processes immediately, as a power failure does, and remove what it had on this machine."""
        self._left.close()

    def run(self, *command: str, seconds: float = 60.0) -> str:
        """Run a program of this machine inside the node: with its processes, network, mounts and containers.

        Raises:
            AssertionError: the program failed; the message has its output.
        """
        assert self._first_pid is not None, "not started"
        return run("nsenter", f"--target={self._first_pid}", "-m", "-n", "-u", "-p", "--", *command, seconds=seconds)

    def kill_shim(self, pod_uid: str) -> None:
        """Kill the containerd shim of a Pod's containers, as a bug in the shim does."""
        sandboxes = self.run("ctr", "--namespace", "k8s.io", "containers", "list", "--quiet", _of_pod(pod_uid)).split()
        self.run("pkill", "-KILL", "--full", f"containerd-shim-runc-v2 .*({'|'.join(sandboxes)})")

    def kill_kubelet(self) -> None:
        """Kill its kubelet, which restarts immediately with the current configuration."""
        self.run("pkill", "-KILL", "--exact", "kubelet")

    @contextmanager
    def evicting_below(self, available_bytes: int) -> Iterator[None]:
        """Make it evict Pods while this machine has less free memory than this; afterwards it accepts Pods again."""
        usual = (self.folder / "kubelet.yaml").read_text()
        changed = yaml.safe_load(usual)
        changed["evictionHard"]["memory.available"] = f"{available_bytes // 1024}Ki"
        try:
            self._restart_kubelet(yaml.safe_dump(changed))
            yield
        finally:
            self._restart_kubelet(usual)
            wait_for(lambda: not self._lacks_memory(), seconds=_RESTART_SECONDS, what=f"memory on {self.name}")

    def check(self) -> None:
        """Check that it is alive.

        Raises:
            ProcessDiedError: it ended by itself.
        """
        if self._process is not None:
            self._process.check()

    def tails(self) -> str:
        """Return the ends of its programs' logs."""
        logs = [log for name in _LOGS if (log := self.folder / name).exists()]
        return "\n".join(f"{log.name} of {self.name}:\n{log.read_text(errors='replace')[-2000:]}" for log in logs)

    def _write_files(self) -> None:
        certificate = self._control_plane.serving_certificate(
            f"kubelet-{self.name}", hosts=(f"DNS:{self.name}", f"IP:{self.address}")
        )
        NodeFiles(
            folder=self.folder,
            name=self.name,
            cgroup=self._cgroup,
            pod_range=self._network.pod_range(self.index),
            certificate=certificate,
            ca=self._control_plane.ca,
            proxy_kubeconfig=self._control_plane.user_kubeconfig("system:kube-proxy"),
        ).write()

    def _make_process(self, binaries: Binaries, peers: tuple["Node", ...]) -> Process:
        kubeconfig = self._control_plane.user_kubeconfig(f"system:node:{self.name}", groups=("system:nodes",))
        routes = (f"{peer.address} {self._network.pod_range(peer.index)}" for peer in peers)
        namespaces = ("--mount", "--net", "--uts", "--pid", "--fork", "--mount-proc", "--propagation=private")
        script = (_SCRIPT, self.folder, self.name, self.address, self._network.gateway)
        programs = (binaries.kubelet, binaries.kube_proxy, kubeconfig, ":".join(HIDDEN))
        command = ("unshare", *namespaces, "--kill-child=KILL", "bash", *map(str, (*script, *programs)), *routes)
        return Process(f"node-{self.name}", command, folder=self._control_plane.directory)

    def _restart_kubelet(self, config: str) -> None:
        """Give the kubelet a configuration and wait until the node's status comes from a kubelet that has read it."""
        (self.folder / "kubelet.yaml").write_text(config)
        reserved = _kibibytes(yaml.safe_load(config)["evictionHard"]["memory.available"])
        self.kill_kubelet()

        def has_read() -> bool:
            status = self._object()["status"]
            capacity, allocatable = (_kibibytes(status[key]["memory"]) for key in ("capacity", "allocatable"))
            return capacity - allocatable == reserved

        wait_for(has_read, seconds=_RESTART_SECONDS, what=f"the kubelet of {self.name} with its new configuration")

    def _lacks_memory(self) -> bool:
        """Return whether the node's status or a taint reports memory pressure."""
        found = self._object()
        conditions = {each["type"]: each["status"] for each in found["status"]["conditions"]}
        taints = [taint["key"] for taint in found["spec"].get("taints", ())]
        return conditions["MemoryPressure"] != "False" or "node.kubernetes.io/memory-pressure" in taints

    def _object(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._control_plane.kubectl("get", "node", self.name, "--output=json"))
        return found

    def _find_first_pid(self) -> int | None:
        """Return the process id of the script in this machine's namespace."""
        self.check()
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(children[0]) if children else None

    def _kill(self) -> None:
        assert self._process is not None
        if self._first_pid is not None and self._process.pid is not None and self._find_first_pid() is not None:
            os.kill(self._first_pid, signal.SIGKILL)
        self._process.end()
        self._first_pid = None

    def _remove_disk(self) -> None:
        for name in ("containerd", "kubelet"):
            if (found := self.folder / name).is_dir():
                shutil.rmtree(found)


def _kibibytes(quantity: str) -> int:
    """Return an amount of memory in the notation of the kubelet and of this folder's files."""
    return int(quantity[:-2]) * _KIB[quantity[-2:]]


def _of_pod(uid: str) -> str:
    """Return containerd's filter for the containers of a pod, by the label that the kubelet gives them."""
    return f'labels."io.kubernetes.pod.uid"=={uid}'
