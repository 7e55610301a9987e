"""Keep the end of everything that this process and its children write, while passing it on.

An engine's processes write to stderr why they died, while the exception in the parent does not say it. So file
descriptors 1 and 2 lead into a pipe; a thread copies it to the original stderr and keeps the last 64 KiB. The original
stdout is reserved for the result: nothing that an engine prints can be mistaken for one.
"""

import fcntl
import os
import select
import struct
import sys
import termios
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

KEEP_BYTES = 64 * 1024
STDOUT, STDERR = 1, 2
SETTLE_SECONDS = 1.0


class OutputTail:
    """Captures descriptors 1 and 2 while the `with` block is active."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept = bytearray()
        self._total = 0
        self._idle = threading.Event()

    def __enter__(self) -> Self:
        sys.stdout.flush()
        sys.stderr.flush()
        self._old = (os.dup(STDOUT), os.dup(STDERR))
        self._read, write = os.pipe()
        os.dup2(write, STDOUT)
        os.dup2(write, STDERR)
        os.close(write)
        self._thread = threading.Thread(target=self._copy, name="output-tail", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        for old, number in zip(self._old, (STDOUT, STDERR), strict=True):
            os.dup2(old, number)
        self._thread.join(timeout=SETTLE_SECONDS)  # returns immediately, unless a child still holds the pipe

    @property
    def stdout(self) -> int:
        """The descriptor of the original standard output."""
        return self._old[0]

    def mark(self) -> int:
        """Return the current position, at which the next output starts."""
        self._settle()
        with self._lock:
            return self._total

    def text_since(self, mark: int) -> str:
        """Return the output since `mark`, at most the last 64 KiB."""
        self._settle()
        with self._lock:
            count = min(self._total - mark, len(self._kept))
            return bytes(self._kept[len(self._kept) - count :]).decode("utf-8", "replace")

    def _copy(self) -> None:
        while chunk := self._take():
            with suppress(OSError):  # the reader has gone; the engine must not notice
                _write_all(self._old[1], chunk)

    def _take(self) -> bytes:
        """Wait for output, then read and keep it under the lock: at any time it is either in the pipe or kept."""
        select.select([self._read], [], [])
        with self._lock:
            chunk = os.read(self._read, 65536)
            self._kept += chunk
            del self._kept[:-KEEP_BYTES]
            self._total += len(chunk)
        return chunk

    def _settle(self) -> None:
        """Wait until the pipe is empty, so that the last output of a process that just died is included."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while _unread(self._read) and time.monotonic() < deadline:
            self._idle.wait(0.005)


def _unread(descriptor: int) -> int:
    answer = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4)
    return int(struct.unpack("i", answer)[0])


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
