"""The status of a study on this machine: saved in `status.json`, and shown to the user as a page."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from infpop_operator.api.status import to_status
from infpop_operator.api.status_context import StatusContext
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.api.study_object import StudyObject
from infpop_operator.core.decision import Decision
from infpop_operator.core.machine_load import MachineLoad
from infpop_operator.core.model import History
from infpop_operator.local.prepare import Prepared
from infpop_operator.local.snapshot import Snapshot, as_resumed, with_partial_results
from infpop_operator.report.place import on_this_machine
from infpop_operator.report.status_page import StatusPage
from infpop_operator.report.status_view import to_page
from infpop_runner.contract import RunResult


class StatusKeeper:
    """Computes and saves the status when something changes, and returns the page on request."""

    def __init__(
        self, prepared: Prepared, directory: Path, *, previous: object, save: Callable[[object], None]
    ) -> None:
        """Create a keeper.

        Args:
            prepared: the prepared study.
            directory: the directory of the study's files, as the user named it.
            previous: the status that an earlier process saved; a status that cannot be parsed counts as absent.
            save: saves a status, a dict in the form of the custom resource's status.
        """
        self.status: object = None
        self._save = save
        self._prepared = prepared
        self._place = on_this_machine(directory)
        self._saved = _read_status(previous)
        self._saved_for: tuple[object, ...] | None = None
        self._shown = self._saved
        self._shown_for: tuple[object, ...] | None = None

    def save(self, snapshot: Snapshot) -> None:
        """Save the status if it changed; conditions that did not change keep their transition time."""
        decision = snapshot.decision
        changes = (dict(decision.retunes_at), dict(decision.held_changes))
        content = (decision.history, decision.verdict, decision.reason, dict(snapshot.observations), changes)
        if content != self._saved_for:
            self._saved_for = content
            self._saved = self._to_status(snapshot, decision)
            self.status = self._saved.model_dump(mode="json", by_alias=True, exclude_none=True)
            self._save(self.status)

    def page(
        self, snapshot: Snapshot, partial: Mapping[str, RunResult], *, load: MachineLoad | None = None
    ) -> StatusPage:
        """Return the page of the last saved status, with the results of live runs so far (`partial`).

        `load` is what took so much of the machine's CPUs that the numbers scatter, None if nothing did.
        """
        content = (self._saved_for, partial)
        if content != self._shown_for:
            self._shown_for = content
            decision = with_partial_results(snapshot, partial)
            self._shown = self._to_status(snapshot, decision) if partial else self._saved
        return self._to_page(self._shown, snapshot, load)

    def page_as_resumed(self, snapshot: Snapshot) -> StatusPage:
        """Return the page of the study as it was when this process resumed it."""
        return self._to_page(self._to_status(snapshot, as_resumed(snapshot)), snapshot)

    def _to_status(self, snapshot: Snapshot, decision: Decision) -> StudyStatus:
        status_context = StatusContext(observations=snapshot.observations)
        return to_status(snapshot.study, decision, snapshot.now, previous=self._saved, context=status_context)

    def _to_page(self, status: StudyStatus | None, snapshot: Snapshot, load: MachineLoad | None = None) -> StatusPage:
        study = StudyObject(
            name=snapshot.study.name,
            engine=snapshot.study.engine.name,
            model=snapshot.study.model.name,
            document=self._prepared.document,
            status=status or StudyStatus(),
        )
        last_runs = _last_runs(snapshot.decision.history)
        return to_page(study, replace(self._place, load=load), snapshot.now, last_runs=last_runs)


def _last_runs(history: History) -> dict[tuple[str, int, int], str]:
    """Return the last run of each trial that has ended: the status only has the newest one, which may be live."""
    return {
        (entry.run.pool, entry.run.round, trial.index): entry.run.name
        for entry in history.ended
        for trial in entry.run.trials
    }


def _read_status(status: object) -> StudyStatus | None:
    """Return the status that an earlier process saved, None if it cannot be parsed."""
    try:
        return StudyStatus.model_validate(status)
    except ValidationError:
        return None
