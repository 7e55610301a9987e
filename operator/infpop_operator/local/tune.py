"""Tune a prepared study on this machine: put store, executor, clock and views together and drive."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from infpop_operator.adapters.devices import Devices
from infpop_operator.adapters.directory_store import DirectoryStore
from infpop_operator.adapters.local_executor import LocalExecutor
from infpop_operator.adapters.model_config import directory_facts
from infpop_operator.core.errors import InfPopError, StoreError
from infpop_operator.core.model import Study
from infpop_operator.local.driver import drive
from infpop_operator.local.interruption import Interruption
from infpop_operator.local.prepare import Prepared
from infpop_operator.local.snapshot import Snapshot
from infpop_operator.local.status_keeper import StatusKeeper
from infpop_operator.local.tiny_model import has_model, write_tiny_model
from infpop_operator.report.progress_view import ProgressView
from infpop_operator.report.status_page import StatusPage
from infpop_runner.contract import RunResult


class BrokenOffError(InfPopError):
    """The study's state could not be kept any more while it was tuned; no process is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """How tuning ended; `status` is what `status.json` holds."""

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
) -> Tuned:
    """Tune until the study ends or is interrupted; everything is kept in `directory`, and no process is left.

    Raises:
        StoreError: the directory cannot be used; nothing was started.
        ExecutorError: the tiny model cannot be written; nothing was started.
        BrokenOffError: the directory cannot be used any more.
        KeyboardInterrupt: interrupted before anything was started.
    """
    with DirectoryStore(directory, namespace=prepared.study.namespace, study=prepared.study.name) as store:
        store.load(_now())  # a damaged journal is found before anything is written
        for note in prepared.notes:
            view.announce(note)
        study = _with_tiny_model(prepared, view, interruption)
        store.save_study(prepared.text)
        executor = LocalExecutor(store.runs, environment=environment, devices=Devices(prepared.gpus))
        interruption.on_hurry(executor.hurry)
        keeper = StatusKeeper(prepared, directory, previous=store.read_status(), save=store.save_status)
        here = _Here(keeper, executor, interruption, view)
        try:
            outcome = drive(study, store, executor, here)
        except StoreError as error:
            raise BrokenOffError(str(error)) from error
        finally:
            executor.close()
        page = keeper.page(outcome.snapshot, {})
    return Tuned(page=page, status=keeper.status, interrupted=outcome.interrupted)


class _Here:
    """This machine as the loop sees it: its clock, its children, its user."""

    def __init__(
        self, keeper: StatusKeeper, executor: LocalExecutor, interruption: Interruption, view: ProgressView
    ) -> None:
        self.page: StatusPage | None = None
        self._keeper = keeper
        self._executor = executor
        self._interruption = interruption
        self._view = view
        self._told_to_stop = False

    def now(self) -> datetime:
        return _now()

    def wait(self, timeout_s: float) -> None:
        self._executor.wait(timeout_s)

    def is_interrupted(self) -> bool:
        if self._interruption.is_requested() and not self._told_to_stop:
            self._told_to_stop = True
            self._view.announce("Stopping the running trials. Once more (Ctrl-C) kills them at once.")
        return self._told_to_stop

    def show(self, snapshot: Snapshot) -> None:
        self._keeper.save(snapshot)
        if self.page is None and len(snapshot.decision.history.ended) > snapshot.earlier:
            self._view.show(self._keeper.page_as_taken_up(snapshot), snapshot.now)
        self.page = self._keeper.page(snapshot, self._partial(snapshot))
        self._view.show(self.page, snapshot.now)

    def _partial(self, snapshot: Snapshot) -> Mapping[str, RunResult]:
        """Look into the results of shared loads, so that the first number is shown before a load ends."""
        shared = (entry.run for entry in snapshot.decision.history.active if len(entry.run.trials) > 1)
        found = {run.name: self._executor.found_so_far(run) for run in shared}
        return {name: result for name, result in found.items() if result is not None}


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the edge of local mode: from here on the time is an argument


def _with_tiny_model(prepared: Prepared, view: ProgressView, interruption: Interruption) -> Study:
    if not prepared.needs_tiny_model:
        return prepared.study
    directory = Path(prepared.study.model.name)
    if not has_model(directory):
        view.announce(f"Writing a small model with random weights to {directory}.")
        write_tiny_model(directory, is_interrupted=interruption.is_requested)
    return replace(prepared.study, model_facts=directory_facts(directory))
