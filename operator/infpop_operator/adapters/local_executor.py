"""The executor that starts each run as a child process: one `infpop-runner` per run, in its own session.

A runner ends with the process that started it (it watches its end of a pipe). The executor finds leftover processes by
a mark in their environment and ends them: when the run ends, when it is stopped, and when the study is resumed. So a
run never has more than one process tree, and leaves none behind.
"""

import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from infpop_operator.adapters.conclude import INTERRUPTED, Cause, cause_of_exit
from infpop_operator.adapters.devices import Devices, to_environment
from infpop_operator.adapters.leftovers import DEATH_TIMEOUT_S, MARK, end_marked, run_mark
from infpop_operator.adapters.run_files import RunFiles
from infpop_operator.adapters.run_state import RunStates
from infpop_operator.core.errors import ExecutorError
from infpop_operator.core.model import Finished, Lost, Observation, Phase, Run, Running, StartedRun
from infpop_runner.contract import RunResult, RunSpec

RUNNER = (sys.executable, "-m", "infpop_runner.main")
STOP_GRACE_S = 15.0  # vLLM releases its GPUs within a few seconds when asked to stop
EXIT_GRACE_S = 60.0  # from the complete result to the exit of the process
DEADLINE_GRACE_S = 120.0  # for a runner that hangs: its own time-outs come first
_POLL_S = 0.1
_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Child:
    process: subprocess.Popen[bytes]
    lifeline: int
    started_s: float
    limit_s: float
    state: Running = field(default_factory=lambda: Running(phase=Phase.STARTING))
    complete_since_s: float | None = None
    stopped: bool = False
    ended: bool = False


class LocalExecutor:
    """Starts runners on this machine; `close` ends those that are still live.

    Args:
        directory: each run gets its own directory in it.
        environment: the environment that runners inherit.
        devices: the GPUs that runs share.
        states: asks runners for their phase.
        command: the runner's program and first arguments.
        stop_grace_s: how long a runner may take to end when asked to stop.
        clock: in seconds, measures the age of a run; a suspended machine or a corrected clock must not advance it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        environment: Mapping[str, str],
        devices: Devices | None = None,
        states: RunStates | None = None,
        command: Sequence[str] = RUNNER,
        stop_grace_s: float = STOP_GRACE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.runs = directory.absolute()
        self._environment = environment
        self._devices = devices or Devices()
        self._states = states or RunStates()
        self._command = tuple(command)
        self._stop_grace_s = stop_grace_s
        self._clock = clock
        self._children: dict[str, _Child] = {}

    def files(self, run: str) -> RunFiles:
        """Return the files of a run."""
        return RunFiles(self.runs / run)

    def start(self, run: Run, spec: RunSpec) -> None:
        """Start `run`; do nothing if a run of that name is live.

        Raises:
            ExecutorError: no device is free, or the process cannot be created.
        """
        if run.name in self._children:
            return
        gpus = self._devices.take(run.name, run.gpu_count) if spec.device == "cuda" else ()
        try:
            self._children[run.name] = self._spawn(run.name, spec, gpus)
        except OSError as error:
            self._devices.give_back(run.name)
            raise ExecutorError(f"run {run.name} cannot be started: {error}") from error

    def stop(self, name: str) -> None:
        """End the run and every process that it started, now; do nothing if it is unknown or has ended."""
        child = self._children.get(name)
        if child is None:
            return
        child.stopped = True
        if child.process.poll() is None:
            child.process.terminate()
            self._await_end(child)
        self._end(name, child)

    def hurry(self) -> None:
        """Give runners no more time to end by themselves, even while `stop` waits for one."""
        self._stop_grace_s = 0.0

    def observe(self, runs: tuple[StartedRun, ...], now: datetime) -> Mapping[str, Observation]:
        """Return the observation of each run, by name. A run that vanished is `Lost`, never missing."""
        return {started.run.name: self._observe(started, now) for started in runs}

    def found_so_far(self, run: Run) -> RunResult | None:
        """Return the result that a live run has written so far, None if there is none."""
        result = self.files(run.name).read_result(run.name)
        return result if isinstance(result, RunResult) else None

    def wait(self, timeout_s: float) -> None:
        """Wait until a live run ends, but no longer than `timeout_s`."""
        with ExitStack() as stack:
            watched = []
            for child in self._children.values():
                with suppress(OSError):
                    descriptor = os.pidfd_open(child.process.pid)
                    stack.callback(os.close, descriptor)
                    watched.append(descriptor)
            select.select(watched, [], [], timeout_s)

    def close(self) -> None:
        """End all runs."""
        for name in tuple(self._children):
            self.stop(name)
        self._states.close()

    def _spawn(self, name: str, spec: RunSpec, gpus: tuple[int, ...]) -> _Child:
        files = self.files(name)
        files.prepare(spec)
        watched, lifeline = os.pipe()
        try:
            with files.log.open("ab") as log:
                process = subprocess.Popen(
                    self._argv(files, watched),
                    cwd=files.directory,
                    env=self._child_environment(name, gpus),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(watched,),
                )
        except BaseException:
            os.close(lifeline)
            raise
        finally:
            os.close(watched)
        return _Child(process=process, lifeline=lifeline, started_s=self._clock(), limit_s=_limit_s(spec))

    def _argv(self, files: RunFiles, lifeline: int) -> list[str]:
        paths = ("--spec", str(files.spec), "--result", str(files.result), "--port-file", str(files.port))
        return [*self._command, *paths, "--lifeline-fd", str(lifeline)]

    def _child_environment(self, name: str, gpus: tuple[int, ...]) -> dict[str, str]:
        # SPT_NOENV: vLLM renames its processes with setproctitle, which would otherwise overwrite the mark.
        own = {MARK: self._mark(name), "SPT_NOENV": "1", "PYTHONUNBUFFERED": "1"}
        return {**self._environment, **to_environment(gpus), **own}

    def _mark(self, name: str) -> str:
        return run_mark(self.runs, name)

    def _observe(self, started: StartedRun, now: datetime) -> Observation:
        child = self._children.get(started.run.name)
        if child is None:
            return self._pick_up(started)
        cause = self._cause_of_end(started.run.name, child)
        if cause is None:
            child.state = self._states.ask(self.files(started.run.name).port) or child.state
            return child.state
        self._end(started.run.name, child)
        del self._children[started.run.name]
        return self.files(started.run.name).conclude(started.run, cause, now)

    def _pick_up(self, started: StartedRun) -> Finished | Lost:
        """Conclude a run that an earlier process started, after ending its leftover processes."""
        end_marked(self._mark(started.run.name))
        files = self.files(started.run.name)
        last_write = files.last_written_at()
        return files.conclude(started.run, INTERRUPTED, max(started.started_at, last_write or started.started_at))

    def _cause_of_end(self, name: str, child: _Child) -> Cause | None:
        """Return why the run has ended or must end, None if it may continue; the caller ends it."""
        code = child.process.poll()
        if child.stopped:
            return INTERRUPTED
        if code is not None:
            return self._cause_of_exit(name, code)
        now_s = self._clock()
        if now_s - child.started_s > child.limit_s:
            detail = f"not ended after {child.limit_s:.0f} s, all time-outs included"
            return Cause(lost="DeadlineExceeded", broken="MeasureTimeout", detail=detail)
        if self.files(name).is_complete(name):
            child.complete_since_s = child.complete_since_s if child.complete_since_s is not None else now_s
            if now_s - child.complete_since_s > EXIT_GRACE_S:
                return Cause(
                    lost="RunnerError", broken="RunnerError", detail="the runner did not exit after its result"
                )
        return None

    def _cause_of_exit(self, name: str, code: int) -> Cause:
        if code == -signal.SIGKILL:
            return Cause(lost="Killed", broken="EngineCrash", detail="the runner was killed (SIGKILL)")
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return cause_of_exit(how, self.files(name).log_tail())

    def _await_end(self, child: _Child) -> None:
        waited_s = 0.0
        while waited_s < self._stop_grace_s:  # `hurry` may change it during the wait
            try:
                child.process.wait(timeout=_POLL_S)
            except subprocess.TimeoutExpired:
                waited_s += _POLL_S
            else:
                return

    def _end(self, name: str, child: _Child) -> None:
        """End all processes of the run, and free its devices. Safe to repeat.

        A process inside the GPU driver may outlive SIGKILL. The wait for it is limited, and its devices are not freed.
        """
        if child.ended:
            return
        child.ended = True
        if child.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(child.process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(timeout=DEATH_TIMEOUT_S)
        left = set(end_marked(self._mark(name)))
        if child.process.poll() is None:
            left.add(child.process.pid)
        os.close(child.lifeline)
        if left:
            shown = ", ".join(map(str, sorted(left)))
            _log.warning("run %s: process %s did not end after SIGKILL; its devices are not used again", name, shown)
        else:
            self._devices.give_back(name)


def _limit_s(spec: RunSpec) -> float:
    """Return the sum of all time-outs of the runner; after an out-of-memory it may load again for each trial."""
    timeouts = spec.measurement
    per_trial = timeouts.load_timeout_seconds + timeouts.measure_timeout_seconds
    return len(spec.trials) * per_trial + DEADLINE_GRACE_S
