"""Run the machine's own programs, and find those that a node needs, from Debian's packages where they are missing.

Nothing is started by an installation here: Debian's containerd would become a service under an init system alone.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from gobuild import MissingToolError

CNI_FOLDER = Path("/usr/lib/cni")  # where Debian has the plugins
COMMAND_SECONDS = 60.0
_INSTALL_SECONDS = 300.0
# Program -> Debian package. The path of every user lacks sbin, so places are looked at that a root shell would have.
_PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
}
_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def require_programs() -> None:
    """Make sure that this machine can have nodes, by installing Debian's packages where programs are missing.

    Raises:
        MissingToolError: this is not root, has no cgroup v1, or a package is missing and cannot be installed.
    """
    if os.geteuid() != 0:
        raise MissingToolError("real nodes need root: they have network devices, mounts and cgroups of their own")
    if not Path("/sys/fs/cgroup/memory").is_dir():
        raise MissingToolError("real nodes need cgroup v1 (/sys/fs/cgroup/memory); they were not tried with another")
    if missing := _missing_packages():
        _install(missing)
    if missing := _missing_packages():
        raise MissingToolError(f"real nodes need the Debian packages {', '.join(missing)}; they lack a program still")


def run(*command: str, seconds: float = COMMAND_SECONDS) -> str:
    """Run a program as root's shell would find it and return what it wrote.

    Raises:
        AssertionError: it failed; the message has what it said.
    """
    answer = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=seconds, check=False)
    assert answer.returncode == 0, f"{' '.join(command)}: {answer.stderr.strip() or answer.stdout.strip()}"
    return answer.stdout


def _missing_packages() -> list[str]:
    wanted = [package for name, package in _PACKAGES.items() if shutil.which(name, path=_SEARCH_PATH) is None]
    if not (CNI_FOLDER / "bridge").exists():
        wanted.append("containernetworking-plugins")
    return list(dict.fromkeys(wanted))


def _install(packages: list[str]) -> None:
    names = " ".join(packages)
    if shutil.which("apt-get", path=_SEARCH_PATH) is None:
        raise MissingToolError(f"real nodes need the packages {names}, and there is no apt-get to install them")
    sys.stderr.write(f"installing {names}\n")
    try:
        run("apt-get", "update", "-qq", seconds=_INSTALL_SECONDS)
        run("apt-get", "install", "-qq", "--no-install-recommends", *packages, seconds=_INSTALL_SECONDS)
    except AssertionError as error:
        raise MissingToolError(f"real nodes need the packages {names}: {error}") from error


def _environment() -> Mapping[str, str]:
    inherited = dict(os.environ)  # noqa: TID251 - a child starts with it
    return {**inherited, "PATH": _SEARCH_PATH, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
