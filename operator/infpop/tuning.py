"""Tune a study on this machine, as `infpop tune` does, from a script or a notebook."""

import logging
import threading
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime
from os import PathLike
from pathlib import Path

from infpop.documents import StudyDocument, environment, prepared_study
from infpop.study import Study, load
from infpop_operator.analysis.journal_rows import journal_rows
from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.api.study_object import StudyObject
from infpop_operator.core.installing import install_command
from infpop_operator.core.landscape import CellState
from infpop_operator.core.model import History
from infpop_operator.local.interruption import Interruption
from infpop_operator.local.prepare import Prepared
from infpop_operator.local.snapshot import Snapshot, as_resumed
from infpop_operator.local.tune import DEFAULT_OUTPUT
from infpop_operator.local.tune import tune as tune_prepared
from infpop_operator.report.status_page import StatusPage

_log = logging.getLogger("infpop")
_Key = tuple[str, int, int, str, str]


def tune(
    study: StudyDocument,
    output: str | PathLike[str] | None = None,
    *,
    on_trial: Callable[[TrialResultRow], None] | None = None,
) -> Study:
    """Measure until the best configuration of a study is found; call it again to resume.

    Nothing is printed: `on_trial` tells the progress, and notes go to the logger `infpop`.

    Args:
        study: a path, YAML text, or a dict.
        output: the directory of its state and results; by default `infpop-results/` and the name of the study.
        on_trial: called with each trial when its run has ended. A trial that is tried again is given again, one of an
            earlier call is not. What it raises ends the tuning; the results so far are kept.

    Returns:
        The results in `output`.

    Raises:
        StudyError: the study is invalid, or cannot be tuned on this machine; nothing was started.
        InfPopError: the directory cannot be used, or no longer.
        ImportError: a package of the extra `operator` is missing.
        KeyboardInterrupt: the user stopped it; the results so far are kept.
    """
    prepared = prepared_study(study)
    directory = Path(output) if output is not None else DEFAULT_OUTPUT / prepared.study.name
    interruption = Interruption()
    # Only the main thread may handle signals; in another one, what starts it decides when to stop.
    handled = interruption if threading.current_thread() is threading.main_thread() else nullcontext()
    reporter = None if on_trial is None else _Reporter(prepared, str(directory), on_trial)
    try:
        with handled:
            tuned = tune_prepared(
                prepared,
                directory,
                environment=environment(),
                interruption=interruption,
                view=_Log(),
                on_change=reporter,
            )
    except ModuleNotFoundError as error:
        message = f"infpop.tune needs {error.name}. Run: {install_command('operator')}"
        raise ImportError(message, name=error.name) from error
    if tuned.interrupted:
        raise KeyboardInterrupt(f"stopped; the results so far are in {directory}, and infpop.tune resumes there")
    return load(directory)


class _Log:
    """Shows nothing, and logs what is announced."""

    def show(self, page: StatusPage, now: datetime) -> None:
        pass

    def announce(self, text: str) -> None:
        _log.info("%s", text)

    def close(self) -> None:
        pass


class _Reporter:
    """Gives each trial whose run has ended to `on_trial`, once for each result."""

    def __init__(self, prepared: Prepared, source: str, on_trial: Callable[[TrialResultRow], None]) -> None:
        study = prepared.study
        self._found = StudyObject(
            name=study.name,
            engine=study.engine.name,
            model=prepared.document.spec.model.name,
            document=prepared.document,
            status=StudyStatus(simulated=study.engine.name == "simulated"),
        )
        self._source = source
        self._on_trial = on_trial
        self._given: set[_Key] | None = None
        self._ended = 0

    def __call__(self, snapshot: Snapshot) -> None:
        """Give what is new at this instant."""
        if self._given is None:
            earlier = self._finished(snapshot, as_resumed(snapshot).history)
            self._given, self._ended = {_key(row) for row in earlier}, snapshot.earlier
        history = snapshot.decision.history
        if len(history.ended) == self._ended:
            return
        self._ended = len(history.ended)
        for row in self._finished(snapshot, history):
            if _key(row) not in self._given:
                self._given.add(_key(row))
                self._on_trial(row)

    def _finished(self, snapshot: Snapshot, history: History) -> list[TrialResultRow]:
        trials, _ = journal_rows(self._found, snapshot.study, history, self._source)
        return [row for row in trials if row.state is not CellState.RUNNING]


def _key(row: TrialResultRow) -> _Key:
    return (row.pool, row.round, row.trial, row.state.value, row.run)
