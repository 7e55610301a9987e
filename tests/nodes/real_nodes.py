"""Real nodes for the control plane of the tests: kubelets, containers, a pod network and Services.

    with start_network() as network, start_control_plane(directory, host=network.gateway, ...) as control_plane:
        with RealNodes(control_plane, network, images=[archive], nodes={"n1": "NVIDIA-A100-SXM4-40GB"}) as nodes:
            ...

or use `start_real_cluster` for all of it. Needs root, cgroup v1 and Debian's packages (`nodes.programs`). Each node has
all of this machine's CPUs and memory, GPUs that are only numbers, no cluster DNS and no internet.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from controlplane.binaries import find_binaries
from controlplane.cluster import ControlPlane, start_control_plane
from controlplane.nodes import gpu_node
from nodes.image_store import ImageStore
from nodes.network import Network, start_network
from nodes.node import HIDDEN, Node
from nodes.programs import require_programs
from nodes.stand_in_image import write_stand_in_images

A100, V100 = "NVIDIA-A100-SXM4-40GB", "Tesla-V100-SXM2-16GB"
_READY_SECONDS = 45


class RealNodes:
    """Nodes that are Ready inside a `with` block, by their names."""

    def __init__(
        self,
        control_plane: ControlPlane,
        network: Network,
        *,
        images: Sequence[Path] = (),
        nodes: Mapping[str, str],
        gpus: int = 8,
    ) -> None:
        """Prepare nodes.

        Args:
            control_plane: its API server listens at `network.gateway`.
            network: the network to which they are connected.
            images: archives whose images every node has, in addition to the stand-ins.
            nodes: the name of each node -> its GPUs' product, as GPU Feature Discovery writes it.
            gpus: the number of GPUs of each node.
        """
        self._control_plane = control_plane
        self._images = tuple(images)
        self._products = dict(nodes)
        self._gpus = gpus
        self._nodes = {
            name: Node(control_plane, network, name=name, index=index) for index, name in enumerate(nodes, start=1)
        }
        self._left = ExitStack()

    def __enter__(self) -> Self:
        """Start them and wait until they are Ready, with their labels, GPUs and images.

        Raises:
            MissingToolError: this machine cannot have nodes; the message says why.
            ValueError: the control plane's folder lies inside a folder that nodes hide.
            AssertionError: a node did not become Ready; the message has the ends of the logs.
        """
        require_programs()
        _check_folder(self._control_plane.directory)
        binaries = find_binaries(with_nodes=True)
        with ExitStack() as stack:
            images = self._unpack_images(stack)
            for node in self._nodes.values():
                stack.callback(node.end)
                node.start(binaries, images, peers=tuple(peer for peer in self._nodes.values() if peer is not node))
            for node in self._nodes.values():
                self._await(node)
            self._left = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End them and remove what they had on this machine; their logs stay."""
        self._left.close()

    def __getitem__(self, name: str) -> Node:
        """Return a node."""
        return self._nodes[name]

    def __iter__(self) -> Iterator[Node]:
        """Yield the nodes."""
        return iter(self._nodes.values())

    def _unpack_images(self, stack: ExitStack) -> ImageStore:
        directory = self._control_plane.directory
        stand_ins = directory / "stand-ins.tar"
        write_stand_in_images(stand_ins)
        store = ImageStore(directory / "images")
        stack.callback(store.remove)
        store.fill((stand_ins, *self._images))
        return store

    def _await(self, node: Node) -> None:
        try:
            self._kubectl("wait", "--for=create", f"node/{node.name}", f"--timeout={_READY_SECONDS}s")
            self._equip(node)
            self._kubectl("wait", "--for=condition=Ready", f"node/{node.name}", f"--timeout={_READY_SECONDS}s")
        except AssertionError as problem:
            node.check()
            raise AssertionError(f"{problem}\n{node.tails()}") from problem

    def _equip(self, node: Node) -> None:
        """Add what a device plugin and GPU Feature Discovery would; the kubelet keeps both."""
        manifest = gpu_node(node.name, product=self._products[node.name], gpus=self._gpus)
        gpus = {"nvidia.com/gpu": str(self._gpus)}
        self._patch(node, {"metadata": {"labels": manifest["metadata"]["labels"]}})
        self._patch(node, {"status": {"capacity": gpus, "allocatable": gpus}}, "--subresource=status")

    def _patch(self, node: Node, changes: Mapping[str, object], *options: str) -> None:
        self._kubectl("patch", "node", node.name, "--type=merge", "--patch", json.dumps(changes), *options)

    def _kubectl(self, *arguments: str) -> None:
        self._control_plane.kubectl(*arguments)


def _check_folder(directory: Path) -> None:
    if any(directory.is_relative_to(hidden) for hidden in HIDDEN):
        raise ValueError(f"directory: nodes have {', '.join(HIDDEN)} of their own and would not see {directory}")


@contextmanager
def start_real_cluster(
    directory: Path, *, images: Sequence[Path] = (), nodes: Mapping[str, str], audit: bool = False
) -> Iterator[tuple[ControlPlane, RealNodes]]:
    """Run a control plane with real nodes for the duration of the block.

    Args:
        directory: an absolute path, empty or missing; it keeps the logs.
        images: archives whose images every node has.
        nodes: the name of each node -> its GPUs' product.
        audit: log every request.
    """
    require_programs()
    with (
        start_network() as network,
        start_control_plane(
            directory, audit=audit, binaries=find_binaries(with_nodes=True), host=network.gateway
        ) as control_plane,
        RealNodes(control_plane, network, images=images, nodes=nodes) as real_nodes,
    ):
        yield control_plane, real_nodes
