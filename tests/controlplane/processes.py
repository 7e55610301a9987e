"""Start and end the programs of a control plane: plain processes with a log file each.

None of them outlives this process, however it ends: each asks the kernel to be killed when the thread that started it
dies (prctl PR_SET_PDEATHSIG, through `setpriv`). A dedicated thread starts them, because the thread of a test may end
long before the cluster does.
"""

import itertools
import random
import socket
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

_TAIL_BYTES = 3000
_GRACE_SECONDS = 5.0
# Below the range from which the kernel takes ports of outgoing connections, so that no other process gets a port while
# its program is not listening.
_PORTS = range(20000, 32000)
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="controlplane-spawner")


class ProcessDiedError(Exception):
    """A program of the control plane ended by itself; the message has the end of its log."""


class Process:
    """One program, with at most one process at a time; it can be started again with the same arguments."""

    def __init__(self, name: str, arguments: Sequence[str], *, folder: Path) -> None:
        self.name = name
        self._arguments = ("setpriv", "--pdeathsig", "KILL", *arguments)
        self._folder = folder
        self.log = folder / f"{name}.log"
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, None if it was not started or was ended."""
        return None if self._popen is None else self._popen.pid

    def start(self) -> None:
        """Start it unless it runs."""
        if self._popen is None:
            self._popen = _spawner.submit(self._spawn).result()

    def end(self, *, grace_seconds: float = _GRACE_SECONDS) -> None:
        """Ask it to end, kill it after the grace period, and return when it is gone.

        Without a grace period it is killed immediately.
        """
        popen, self._popen = self._popen, None
        if popen is None:
            return
        if grace_seconds > 0:
            popen.terminate()
            with suppress(subprocess.TimeoutExpired):
                popen.wait(grace_seconds)
        popen.kill()
        popen.wait()

    def check(self) -> None:
        """Check that it is alive if it was started.

        Raises:
            ProcessDiedError: it ended by itself.
        """
        if self._popen is not None and self._popen.poll() is not None:
            raise ProcessDiedError(f"{self.name} ended with {self._popen.returncode}:\n{self.tail()}")

    def tail(self) -> str:
        """Return the end of its log."""
        return self.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace") if self.log.exists() else ""

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,  # Ctrl-C is for the tests, which then end this in their own order
            )


def has_ipv6_loopback() -> bool:
    """Return whether this machine has the address ::1; a container may have IPv6 without it."""
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Return unused ports of 127.0.0.1."""
    candidates = random.SystemRandom().sample(_PORTS, len(_PORTS))
    return list(itertools.islice(filter(_is_free, candidates), count))


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False
