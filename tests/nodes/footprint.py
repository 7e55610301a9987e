"""Traces of real nodes on this machine, recorded from outside before and after, and compared.

A machine has other users, whose processes and mounts come and go. Processes therefore count only with the cluster's
folder in their command line or mounts, as everything on a node has, and mounts only where a node mounts something.
"""

from dataclasses import dataclass, fields
from pathlib import Path

from nodes import cgroups
from nodes.programs import require_programs, run

# Kernel settings that a kubelet, kube-proxy or a CNI plugin sets, according to their logs and sources.
_SYSCTLS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/bridge/bridge-nf-call-iptables",
    "net/ipv4/conf/all/forwarding",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/conf/default/forwarding",
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)
_MOUNT_ROOTS = ("/dev", "/etc", "/opt", "/proc", "/run", "/sys", "/usr", "/var")
_FOLDERS = ("/opt", "/usr/libexec", "/var/lib")  # folders whose entries are compared
_PLACES = ("/etc/cni", "/run/containerd", "/run/netns", "/var/log/containers", "/var/log/pods")


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """The traces at one moment, one text for each."""

    processes: frozenset[str]
    mounts: frozenset[str]
    interfaces: frozenset[str]
    routes: frozenset[str]
    firewall_rules: frozenset[str]
    cgroups: frozenset[str]
    sysctls: frozenset[str]
    places: frozenset[str]

    def changes(self, before: "Footprint") -> dict[str, tuple[list[str], list[str]]]:
        """Return what was added and removed since `before`, by kind; kinds without changes are omitted.

        A process or cgroup that has disappeared is not a change: it belonged to another user.
        """
        found = {}
        for field in fields(self):
            now, then = getattr(self, field.name), getattr(before, field.name)
            gone = [] if field.name in ("processes", "cgroups") else sorted(then - now)
            if (now - then) or gone:
                found[field.name] = (sorted(now - then), gone)
        return found


def take_footprint(directory: Path) -> Footprint:
    """Return the current traces; `directory` is the folder of the cluster, or one above it.

    Raises:
        MissingToolError: as `require_programs`; packages for nodes are installed before the first snapshot.
    """
    require_programs()
    return Footprint(
        processes=frozenset(_processes(str(directory))),
        mounts=frozenset(_mounts(str(directory))),
        interfaces=frozenset(line.split()[0] for line in run("ip", "-brief", "link").splitlines()),
        routes=frozenset(run("ip", "route", "show", "table", "all").splitlines()),
        firewall_rules=frozenset((*_rules("iptables-save"), *_rules("ip6tables-save"))),
        cgroups=frozenset(str(path) for path in cgroups.ROOT.glob("*/*") if path.is_dir()),
        sysctls=frozenset(f"{name}={_sysctl(name)}" for name in _SYSCTLS),
        places=frozenset(_places()),
    )


def _processes(directory: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            mounts = (process / "mountinfo").read_text()
        except OSError:  # it ended meanwhile
            continue
        if directory in command or directory in mounts:
            found.append(f"{process.name} {command}")
    return found


def _mounts(directory: str) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if line.split()[4].startswith((directory, *_MOUNT_ROOTS))]


def _places() -> list[str]:
    named = [place for place in _PLACES if Path(place).exists()]
    return named + [str(entry) for folder in _FOLDERS for entry in Path(folder).glob("*")]


def _rules(program: str) -> list[str]:
    """Return the rules without their comments and counters, which change by themselves."""
    return [line.partition(" [")[0] for line in run(program).splitlines() if not line.startswith("#")]


def _sysctl(name: str) -> str | None:
    try:
        return (Path("/proc/sys") / name).read_text().strip()
    except OSError:
        return None
