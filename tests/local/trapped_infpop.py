"""`infpop tune`, killed by itself with SIGKILL just before a chosen side effect.

Called as `trapped_infpop.py STUDY OUTPUT NUMBER`. Side effects are counted from 0: records and starts, in the order of
the loop. The store, the executor and the runners are real.
"""

import os
import signal
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from infpop_operator.adapters.directory_store import DirectoryStore
from infpop_operator.adapters.local_executor import LocalExecutor
from infpop_operator.adapters.machine import Machine
from infpop_operator.core.model import EndedRun, History, Observation, Round, Run, StartedRun
from infpop_operator.local.driver import drive
from infpop_operator.local.prepare import prepare
from infpop_operator.local.snapshot import Snapshot
from infpop_runner.contract import RunSpec
from local.local_studies import clock_time, own_environment


class _Trapped:
    """Store, executor and environment in one: forwards every call until the chosen side effect."""

    def __init__(self, store: DirectoryStore, executor: LocalExecutor, dies_at: int) -> None:
        self._store = store
        self._executor = executor
        self._left = dies_at

    def load(self, now: datetime) -> History:
        return self._store.load(now)

    def record(self, entry: Round | StartedRun | EndedRun) -> None:
        self._effect()
        self._store.record(entry)

    def start(self, run: Run, spec: RunSpec) -> None:
        self._effect()
        self._executor.start(run, spec)

    def stop(self, name: str) -> None:
        self._executor.stop(name)

    def observe(self, runs: tuple[StartedRun, ...], now: datetime) -> Mapping[str, Observation]:
        return self._executor.observe(runs, now)

    def now(self) -> datetime:
        return clock_time()

    def wait(self, timeout_s: float) -> None:
        self._executor.wait(timeout_s)

    def is_interrupted(self) -> bool:
        return False

    def before_start(self) -> None:
        pass

    def show(self, snapshot: Snapshot) -> None:
        pass

    def _effect(self) -> None:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1


def main(study: str, output: str, dies_at: str) -> None:
    """Tune until the chosen side effect."""
    machine = Machine(cpu_model="any", cpu_cores=1)
    prepared = prepare(Path(study), machine, tiny_model=Path(output) / "unused")
    with DirectoryStore(Path(output), namespace="", study=prepared.study.name) as store:
        trapped = _Trapped(store, LocalExecutor(store.runs, environment=own_environment()), int(dies_at))
        drive(prepared.study, trapped, trapped, trapped)


if __name__ == "__main__":
    main(*sys.argv[1:])
