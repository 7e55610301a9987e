"""Studies, processes and directories for tests of local mode."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import yaml

from factories.studies import START
from infpop_operator.adapters.journal import Journal, fold
from infpop_operator.adapters.leftovers import find_marked, run_mark
from infpop_operator.api.resource import API_VERSION, KIND
from infpop_operator.core.model import Finished, History
from infpop_runner.contract import Measured

DEADLINE_S = 120.0  # far longer than anything here takes; reaching it is a failure, not a statement about speed
_POLL_S = 0.01


def study_document(**spec: object) -> dict[str, Any]:
    """Return a small simulated study; keywords replace parts of its spec.

    Its search ends the study: what measures the best again says so in its budget.
    """
    budget = spec.pop("budget", {})
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "study"},
        "spec": {
            "model": {"name": "org/model"},
            "engine": {"name": "simulated", "simulation": {"formula": {"bestGpuCount": 2, "bestBatchSize": 8}}},
            "workload": {"samples": 8, "maxNewTokens": 5},
            "searchSpace": {"gpuCount": [1, 2], "batchSize": [4, 8]},
            "algorithm": {"name": "grid", "trialsPerRun": 1},
            "budget": {"confirm": False, **budget} if isinstance(budget, dict) else budget,
            "measurement": {"mode": "Full", "minDuration": "0s"},
            "nodePools": [{"name": "here", "gpuResource": "cpu"}],
            **spec,
        },
    }


def slow_engine(load: str = "0s", repeat: str = "0s") -> dict[str, Any]:
    """Return the simulated engine of `study_document`, with a load or repeats that take time."""
    formula = {"bestGpuCount": 2, "bestBatchSize": 8}
    return {"name": "simulated", "simulation": {"formula": formula, "loadTime": load, "repeatTime": repeat}}


def write_study(directory: Path, **spec: object) -> Path:
    """Write a study into `directory` and return its path."""
    path = directory / "study.yaml"
    path.write_text(yaml.safe_dump(study_document(**spec)))
    return path


def clock_time() -> datetime:
    """Return the machine's time, for tests with real processes."""
    return datetime.now(UTC)  # noqa: TID251 - real processes run in the machine's time


def own_environment() -> dict[str, str]:
    """Return the environment of the tests, for processes that they start."""
    return dict(os.environ)  # noqa: TID251 - processes inherit it


def home_environment(home: Path) -> dict[str, str]:
    """Return an environment that neither reads nor writes the user's files."""
    return {**own_environment(), "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "COLUMNS": "80"}


def start_infpop(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    """Start `infpop` with `arguments`, with default signal handling even where the tests themselves run under nohup.

    `tune` writes a report, which takes four seconds of processor time, only if `arguments` have `--report`.
    """
    without = ["--no-report"] if arguments[0] == "tune" and "--report" not in arguments else []
    argv = [sys.executable, "-m", "infpop_operator.cli.main", *map(str, arguments), *without]
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        return subprocess.Popen(
            argv, cwd=cwd, env=home_environment(cwd), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGHUP, before)


def run_infpop(*arguments: object, cwd: Path, timeout_s: float = DEADLINE_S) -> subprocess.CompletedProcess[str]:
    """Run `infpop` with `arguments` until it exits."""
    process = start_infpop(*arguments, cwd=cwd)
    out, err = process.communicate(timeout=timeout_s)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def await_state(process: subprocess.Popen[Any], reached: Callable[[], bool]) -> None:
    """Wait until `reached` is true; fail if the process ends first or nothing happens for very long."""
    for _ in range(int(DEADLINE_S / _POLL_S)):
        if reached():
            return
        try:
            process.wait(timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"the process ended with {process.returncode} before the state was reached")
    raise AssertionError(f"the state was not reached within {DEADLINE_S:g} s")


def history_of(directory: Path) -> History:
    """Return the history in a study's directory, whether or not a process writes it; empty if there is none yet."""
    known = Journal(directory / "journal.jsonl").read()
    return fold(*known) if known is not None else History(started_at=START)


def measurements(history: History) -> list[tuple[int, int, float]]:
    """Return every measurement ever recorded, duplicates included: GPU count, batch size, tokens/s."""
    return sorted(
        (ended.run.gpu_count, trial.batch_size, trial.throughput_tokens_per_second)
        for ended in history.ended
        if isinstance(ended.observation, Finished)
        for trial in ended.observation.result.trials
        if isinstance(trial, Measured)
    )


def processes_of(runs: Path) -> list[psutil.Process]:
    """Return the live processes of every run that has a directory in `runs`."""
    names = [entry.name for entry in runs.iterdir()] if runs.is_dir() else []
    return [process for name in names for process in find_marked(run_mark(runs, name))]


def read_terminal(descriptor: int) -> str:
    """Read a terminal until the last process has closed it."""
    parts = []
    try:
        while part := os.read(descriptor, 65536):
            parts.append(part)
    except OSError:  # how Linux reports that the other end of a terminal is closed
        pass
    os.close(descriptor)
    return b"".join(parts).decode()
