"""Tune a prepared study on this machine: put store, executor, clock and views together and drive."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from infpop_operator.adapters.devices import Devices
from infpop_operator.adapters.directory_store import DirectoryStore
from infpop_operator.adapters.local_executor import LocalExecutor
from infpop_operator.adapters.model_config import directory_facts
from infpop_operator.api.status import to_status
from infpop_operator.api.status_context import StatusContext
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.core.errors import InfPopError, StoreError
from infpop_operator.core.model import Study
from infpop_operator.local.driver import drive
from infpop_operator.local.interruption import Interruption
from infpop_operator.local.prepare import Prepared
from infpop_operator.local.tiny_model import has_model, write_tiny_model
from infpop_operator.report.snapshot import Snapshot
from infpop_runner.contract import RunResult


class BrokenOffError(InfPopError):
    """The study's state could not be kept any more while it was tuned; no process is left."""


class View(Protocol):
    """Shows a study's progress to somebody."""

    def show(self, snapshot: Snapshot) -> None:
        """Show where the study is; called several times a second."""
        ...

    def announce(self, text: str) -> None:
        """Say something at once that is not the study's own progress."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """How tuning ended; `status` is what `status.json` holds."""

    snapshot: Snapshot
    status: object
    interrupted: bool


def tune(
    prepared: Prepared, directory: Path, *, environment: Mapping[str, str], interruption: Interruption, view: View
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
        here = _Here(store, executor, interruption, view)
        try:
            outcome = drive(study, store, executor, here)
        except StoreError as error:
            raise BrokenOffError(str(error)) from error
        finally:
            executor.close()
    return Tuned(snapshot=outcome.snapshot, status=here.status, interrupted=outcome.interrupted)


class _Here:
    """This machine as the loop sees it: its clock, its children, its user."""

    def __init__(self, store: DirectoryStore, executor: LocalExecutor, interruption: Interruption, view: View) -> None:
        self.status: object = None
        self._store = store
        self._executor = executor
        self._interruption = interruption
        self._view = view
        self._told_to_stop = False
        self._written: tuple[object, ...] | None = None
        self._previous = _read_status(store.read_status())

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
        decision = snapshot.decision
        new = (decision.history, decision.verdict, decision.reason, dict(snapshot.observations))
        if new != self._written:
            self._written = new
            self._save_status(snapshot)
        self._view.show(replace(snapshot, partial=self._partial(snapshot)))

    def _partial(self, snapshot: Snapshot) -> Mapping[str, RunResult]:
        """Look into the results of shared loads, so that the first number is shown before a load ends."""
        shared = (entry.run for entry in snapshot.decision.history.active if len(entry.run.trials) > 1)
        found = {run.name: self._executor.found_so_far(run) for run in shared}
        return {name: result for name, result in found.items() if result is not None}

    def _save_status(self, snapshot: Snapshot) -> None:
        """Write the status in the custom resource's shape; conditions that did not change keep their time."""
        standing = StatusContext(observations=snapshot.observations)
        status = to_status(snapshot.study, snapshot.decision, snapshot.now, previous=self._previous, standing=standing)
        self._previous = status
        self.status = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        self._store.save_status(self.status)


def _read_status(status: object) -> StudyStatus | None:
    """Return an earlier status; one that cannot be read is none."""
    try:
        return StudyStatus.model_validate(status)
    except ValidationError:
        return None


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the edge of local mode: from here on the time is an argument


def _with_tiny_model(prepared: Prepared, view: View, interruption: Interruption) -> Study:
    if not prepared.needs_tiny_model:
        return prepared.study
    directory = Path(prepared.study.model.name)
    if not has_model(directory):
        view.announce(f"Writing a small model with random weights to {directory}.")
        write_tiny_model(directory, is_interrupted=interruption.is_requested)
    return replace(prepared.study, model_facts=directory_facts(directory))
