"""A bridge on this machine to which nodes are connected, with addresses that are unused here.

Node i has the address 10.N.0.(10+i), its Pods those of 10.N.i.0/24, and this machine 10.N.0.1. The machine reaches
nodes and Pods, and they reach it; it does not forward for them, so they have no internet. It gets no firewall rule.
"""

import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Network

from nodes import cgroups
from nodes.programs import run

_NUMBERS = range(88, 128)


class NoFreeNetworkError(Exception):
    """Every candidate network is in use on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One bridge; `number` is the N of its addresses."""

    number: int

    @property
    def name(self) -> str:
        """The prefix of all its names on this machine."""
        return f"infpop{self.number}"

    @property
    def gateway(self) -> str:
        """The address of this machine at which nodes and Pods reach it."""
        return f"10.{self.number}.0.1"

    def node_address(self, index: int) -> str:
        """Return the address of the node with this index, from 1."""
        return f"10.{self.number}.0.{10 + index}"

    def pod_range(self, index: int) -> str:
        """Return the Pod address range of that node."""
        return f"10.{self.number}.{index}.0/24"

    def plug_in(self, index: int, pid: int) -> None:
        """Give the network namespace of a process a device `eth0` on this bridge, and add a route to its Pods."""
        cable = self._cable(index)
        run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        run("ip", "link", "set", cable, "master", self.name, "up")
        run("ip", "route", "add", self.pod_range(index), "via", self.node_address(index))

    def unplug(self, index: int) -> None:
        """Remove the device if it exists: it disappears with its namespace, but the kernel takes its time."""
        with suppress(AssertionError):
            run("ip", "route", "del", self.pod_range(index))
        with suppress(AssertionError):
            run("ip", "link", "del", self._cable(index))

    def _cable(self, index: int) -> str:
        return f"{self.name}-{index}"


@contextmanager
def start_network() -> Iterator[Network]:
    """Create a bridge for the duration of the block; remains of a killed run with the same number are removed first.

    Raises:
        NoFreeNetworkError: no number is free.
    """
    for number in _NUMBERS:
        if (claim := _claim(number)) is None:
            continue
        with closing(claim):
            network = Network(number=number)
            _remove(network)
            if _is_routed(network):
                continue
            run("ip", "link", "add", network.name, "type", "bridge")
            try:
                run("ip", "address", "add", f"{network.gateway}/24", "dev", network.name)
                run("ip", "link", "set", network.name, "up")
                yield network
            finally:
                _remove(network)
            return
    raise NoFreeNetworkError(f"10.{_NUMBERS.start}.0.0/16 to 10.{_NUMBERS.stop - 1}.0.0/16 are all in use")


def _claim(number: int) -> socket.socket | None:
    """Reserve a number while the socket is open; the kernel closes it when this process ends, however it does."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0infpop-test-network-{number}")
    except OSError:
        claim.close()
        return None
    return claim


def _remove(network: Network) -> None:
    links = [link["ifname"] for link in json.loads(run("ip", "-json", "link"))]
    for name in links:
        if name == network.name or name.startswith(f"{network.name}-"):
            run("ip", "link", "del", name)
    cgroups.remove_all(f"{network.name}-")


def _is_routed(network: Network) -> bool:
    wanted = IPv4Network(f"10.{network.number}.0.0/16")
    routes = [route["dst"] for route in json.loads(run("ip", "-4", "-json", "route")) if route["dst"] != "default"]
    return any(wanted.overlaps(IPv4Network(route)) for route in routes)
