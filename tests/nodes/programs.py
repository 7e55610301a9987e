"""Run the machine's own programs, and install those that a node needs from Debian's packages if they are missing.

Installing starts no services here: Debian's containerd would become a service only under an init system.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from gobuild import MissingToolError

CNI_FOLDER = Path("/usr/lib/cni")  # where Debian installs the plugins
COMMAND_SECONDS = 60.0
_INSTALL_SECONDS = 300.0
# Program -> Debian package. A user's PATH lacks sbin, so the folders of a root shell are searched too.
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
    """Check that this machine can have nodes, and install Debian's packages for missing programs.

    Raises:
        MissingToolError: this is not root, has no cgroup v1, or a package is missing and cannot be installed.
    """
    if os.geteuid() != 0:
        raise MissingToolError("real nodes need root: they have network devices, mounts and cgroups of their own")
    if not Path("/sys/fs/cgroup/memory").is_dir():
        raise MissingToolError("real nodes need cgroup v1 (/sys/fs/cgroup/memory); they were not tried with another")
    if missing := _missing_packages():
        install(missing, whose="real nodes")
    if missing := _missing_packages():
        raise MissingToolError(f"real nodes need the Debian packages {', '.join(missing)}; they lack a program still")


def run(*command: str, seconds: float = COMMAND_SECONDS) -> str:
    """Run a program with a root shell's PATH and return its output.

    Raises:
        AssertionError: the program failed; the message has its output.
    """
    answer = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=seconds, check=False)
    assert answer.returncode == 0, f"{' '.join(command)}: {answer.stderr.strip() or answer.stdout.strip()}"
    return answer.stdout


def install(packages: list[str], *, whose: str) -> None:
    """Install Debian packages; `whose` names what needs them in messages.

    Raises:
        MissingToolError: there is no apt-get, or it failed.
    """
    names = " ".join(packages)
    if shutil.which("apt-get", path=_SEARCH_PATH) is None:
        raise MissingToolError(f"{whose} need the packages {names}, and there is no apt-get to install them")
    sys.stderr.write(f"installing {names}\n")
    try:
        run("apt-get", "update", "-qq", seconds=_INSTALL_SECONDS)
        run("apt-get", "install", "-qq", "--no-install-recommends", *packages, seconds=_INSTALL_SECONDS)
    except AssertionError as error:
        raise MissingToolError(f"{whose} need the packages {names}: {error}") from error


def _missing_packages() -> list[str]:
    wanted = [package for name, package in _PACKAGES.items() if shutil.which(name, path=_SEARCH_PATH) is None]
    if not (CNI_FOLDER / "bridge").exists():
        wanted.append("containernetworking-plugins")
    return list(dict.fromkeys(wanted))


def _environment() -> Mapping[str, str]:
    inherited = dict(os.environ)  # noqa: TID251 - a child starts with it
    return {**inherited, "PATH": _SEARCH_PATH, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
