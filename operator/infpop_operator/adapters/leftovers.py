"""Find and end processes by a mark in their environment.

An engine starts processes of its own (vLLM's EngineCore and its workers), and they can outlive a runner that was
killed. They inherit its environment, so a mark in it finds them even after their parents are gone. Processes of other
users, which cannot be read, are never touched.
"""

import hashlib
from pathlib import Path

import psutil

MARK = "INFPOP_RUN"
_DEATH_TIMEOUT_S = 10.0  # a SIGKILL is carried out at once, save for a process inside the GPU driver


def run_mark(directory: Path, run: str) -> str:
    """Return the mark of a run whose files are below `directory`: runs of one name in two directories differ."""
    return f"{hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:16]}:{run}"


def end_marked(mark: str) -> int:
    """Kill every process that carries `mark`, wait until they are gone, and return how many there were."""
    found: dict[int, psutil.Process] = {}
    while new := [process for process in find_marked(mark) if process.pid not in found]:
        for process in new:
            found[process.pid] = process
            _kill(process)
        psutil.wait_procs(new, timeout=_DEATH_TIMEOUT_S)
    return len(found)


def find_marked(mark: str) -> list[psutil.Process]:
    """Return the live processes that carry `mark`."""
    return [process for process in psutil.process_iter() if _mark_of(process) == mark]


def _mark_of(process: psutil.Process) -> str | None:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
