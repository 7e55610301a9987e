"""Tune a prepared study on this machine: create the store, executor and status keeper, and run the loop."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from infpop_operator.adapters.devices import Devices
from infpop_operator.adapters.directory_store import DirectoryStore
from infpop_operator.adapters.local_executor import LocalExecutor
from infpop_operator.adapters.model_config import directory_config
from infpop_operator.core.errors import GoneError, InfPopError, StoreError
from infpop_operator.core.study import Study
from infpop_operator.local.driver import drive
from infpop_operator.local.interruption import Interruption
from infpop_operator.local.load_watch import LoadWatch
from infpop_operator.local.prepare import Prepared
from infpop_operator.local.snapshot import Snapshot
from infpop_operator.local.status_keeper import StatusKeeper
from infpop_operator.local.tiny_model import has_model, write_tiny_model
from infpop_operator.report.busy_machine import warning
from infpop_operator.report.progress_view import ProgressView
from infpop_operator.report.status_page import StatusPage
from infpop_runner.contract import RunResult, read_facts

DEFAULT_OUTPUT = Path("infpop-results")  # each study has its directory there


class AbortedError(InfPopError):
    """Tuning ended early because the study's state could no longer be saved; no process is left.

    `kept` is whether what was recorded until then is still there.
    """

    def __init__(self, message: str, *, kept: bool) -> None:
        super().__init__(message)
        self.kept = kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """The result of `tune`: the last page, the status as in `status.json`, and whether the user interrupted it."""

    page: StatusPage
    status: object
    interrupted: bool


def tune(
    prepared: Prepared,
    directory: Path,
    *,
    environment: Mapping[str, str],
    interruption: Interruption,
    view: ProgressView,
    on_change: Callable[[Snapshot], None] | None = None,
) -> Tuned:
    """Tune until the study ends or the user interrupts it; `directory` has the study's state, and no process is left.

    Args:
        prepared: the study.
        directory: of the study's state; created if it does not exist.
        environment: of the child processes.
        interruption: tells whether the user wants it to stop.
        view: shows the progress.
        on_change: called after every step, whether or not anything changed; what it raises ends the tuning.

    Raises:
        StoreError: the directory cannot be used; nothing was started.
        ExecutorError: the tiny model cannot be written; nothing was started.
        AbortedError: the directory could no longer be used while the study was tuned.
        KeyboardInterrupt: the user interrupted before anything was started.
    """
    with DirectoryStore(directory, namespace=prepared.study.namespace, study=prepared.study.name) as store:
        store.load(_now())  # detects a damaged journal before anything is written
        for note in prepared.notes:
            view.announce(note)
        study = _with_tiny_model(prepared, view, interruption)
        store.save_study(prepared.text)
        executor = LocalExecutor(store.runs, environment=environment, devices=Devices(prepared.gpus))
        interruption.on_hurry(executor.hurry)
        keeper = StatusKeeper(prepared, directory, previous=store.read_status(), save=store.save_status)
        watch = LoadWatch(study)
        loop_environment = _LocalEnvironment(keeper, executor, interruption, view, watch=watch, on_change=on_change)
        try:
            outcome = drive(study, store, executor, loop_environment)
        except StoreError as error:
            raise AbortedError(str(error), kept=not isinstance(error, GoneError)) from error
        finally:
            executor.close()
        page = keeper.page(outcome.snapshot, {}, load=watch.load_since())
    return Tuned(page=page, status=keeper.status, interrupted=outcome.interrupted)


class _LocalEnvironment:
    """The environment of the loop on this machine: the clock, the child processes and the user."""

    def __init__(
        self,
        keeper: StatusKeeper,
        executor: LocalExecutor,
        interruption: Interruption,
        view: ProgressView,
        *,
        watch: LoadWatch,
        on_change: Callable[[Snapshot], None] | None,
    ) -> None:
        self.page: StatusPage | None = None
        self._keeper = keeper
        self._executor = executor
        self._interruption = interruption
        self._view = view
        self._watch = watch
        self._on_change = on_change
        self._is_stopping = False

    def now(self) -> datetime:
        return _now()

    def wait(self, timeout_s: float) -> None:
        self._executor.wait(timeout_s)

    def is_interrupted(self) -> bool:
        if self._interruption.is_requested() and not self._is_stopping:
            self._is_stopping = True
            self._view.announce("Stopping the running trials. Press Ctrl-C again to kill them immediately.")
        return self._is_stopping

    def before_start(self) -> None:
        if not self._watch.has_started:
            load = self._watch.start()
            if load is not None:
                self._view.announce(warning(load))

    def show(self, snapshot: Snapshot) -> None:
        self._keeper.save(snapshot)
        if self.page is None and len(snapshot.decision.history.ended) > snapshot.earlier:
            self._view.show(self._keeper.page_as_resumed(snapshot), snapshot.now)
        self.page = self._keeper.page(snapshot, self._partial(snapshot))
        self._view.show(self.page, snapshot.now)
        if self._on_change is not None:
            self._on_change(snapshot)

    def _partial(self, snapshot: Snapshot) -> Mapping[str, RunResult]:
        """Return the results so far of runs with shared loads, so that the first trials show before the load ends."""
        shared = (entry.run for entry in snapshot.decision.history.active if len(entry.run.trials) > 1)
        results = {run.name: self._executor.found_so_far(run) for run in shared}
        return {name: result for name, result in results.items() if result is not None}


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the edge of local mode: from here on the time is an argument


def _with_tiny_model(prepared: Prepared, view: ProgressView, interruption: Interruption) -> Study:
    if not prepared.needs_tiny_model:
        return prepared.study
    directory = Path(prepared.study.model.name)
    if not has_model(directory):
        view.announce(f"Writing a small model with random weights to {directory}.")
        write_tiny_model(directory, is_interrupted=interruption.is_requested)
    return replace(prepared.study, model_facts=read_facts(directory_config(directory)))
