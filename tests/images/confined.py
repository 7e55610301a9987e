"""Run a command in an image as a cluster does under Pod Security "restricted", without a cluster.

It has its own mount and process namespaces, read-only image files, and user 65532 without capabilities; /tmp, /cache
and /dev/shm are writable. The network is the machine's: tests that need isolation there use a real node.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from images.buildah import Buildah

_USER = "65532"
_DEVICES = ("full", "null", "random", "urandom", "zero")
# $1: the image's files, $2: where to mount them; the command follows. Exits with the command's own status.
_SCRIPT = f"""
set -eu
from=$1 to=$2; shift 2
mount --bind "$from" "$to"
for each in tmp cache dev; do
  [ -d "$to/$each" ] || mkdir "$to/$each"
  mount -t tmpfs -o mode=1777 tmpfs "$to/$each"
done
mkdir -m 1777 "$to/dev/shm"
for each in {" ".join(_DEVICES)}; do touch "$to/dev/$each"; mount --bind "/dev/$each" "$to/dev/$each"; done
mount -t proc proc "$to/proc"
mount -t sysfs -o ro sysfs "$to/sys"
mount -o remount,bind,ro "$to"
cd "$to"
exec setpriv --no-new-privs --bounding-set=-all,+setgid,+setuid,+sys_chroot -- \\
  chroot --userspec={_USER}:{_USER} "$to" /usr/bin/env -i "$@"
"""


def run_confined(
    buildah: Buildah, image: str, *command: str, environment: Mapping[str, str] | None = None, timeout_seconds: float
) -> subprocess.CompletedProcess[str]:
    """Return the output and the exit status of a command.

    Args:
        buildah: the storage with the image.
        image: the name of the image.
        command: program and arguments; the program is searched on the image's PATH.
        environment: variables in addition to the image's own.
        timeout_seconds: the time after which the command and its children are killed.

    Raises:
        subprocess.TimeoutExpired: the command took longer.
    """
    variables = {**_environment_of(buildah, image), **(environment or {})}
    unshare = ("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--propagation", "private")
    shell = shutil.which("sh") or "/bin/sh"
    with buildah.mounted(image) as files, tempfile.TemporaryDirectory(prefix="confined-") as root:
        settings = [f"{name}={value}" for name, value in variables.items()]
        return subprocess.run(
            [*unshare, shell, "-c", _SCRIPT, "confined", str(files), root, *settings, *command],
            cwd=Path(root).parent,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )


def _environment_of(buildah: Buildah, image: str) -> dict[str, str]:
    pairs = json.loads(buildah.inspect(image))["OCIv1"]["config"]["Env"]
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
