"""Find and end processes by a mark in their environment.

An engine starts its own processes (vLLM's EngineCore and its workers), and they can outlive a killed runner. They
inherit its environment, so a mark in the environment identifies them even after their parents are gone. Processes of
other users, whose environment cannot be read, are never touched.
"""

import hashlib
from pathlib import Path

import psutil

MARK = "INFPOP_RUN"
DEATH_TIMEOUT_S = 10.0  # SIGKILL takes effect immediately, except on a process inside the GPU driver


def run_mark(directory: Path, run: str) -> str:
    """Return the mark of a run whose files are below `directory`; it differs for the same name in another directory."""
    return f"{hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:16]}:{run}"


def end_marked(mark: str) -> tuple[int, ...]:
    """Kill every process that carries `mark`, wait for them to end, and return the ids of those that did not."""
    found: set[int] = set()
    left: list[int] = []
    while new := [process for process in find_marked(mark) if process.pid not in found]:
        for process in new:
            found.add(process.pid)
            _kill(process)
        _, alive = psutil.wait_procs(new, timeout=DEATH_TIMEOUT_S)
        left += [process.pid for process in alive if not _has_ended(process)]
    return tuple(left)


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


def _has_ended(process: psutil.Process) -> bool:
    """Return whether a process has ended, even if its parent has not yet collected the exit code."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
