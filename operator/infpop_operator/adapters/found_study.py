"""A study as it was found somewhere, with as much as is there: after a crash, a part of its files may be missing."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from infpop_operator.adapters.directory_store import JOURNAL, RUNS, STATUS, STUDY
from infpop_operator.adapters.journal import Header, Journal, NewerJournalError, fold
from infpop_operator.adapters.run_files import RunFiles
from infpop_operator.analysis.round_subject import UNKNOWN
from infpop_operator.api.landscapes import described_study
from infpop_operator.api.parse import parse_document
from infpop_operator.api.resource import KIND
from infpop_operator.api.spec import ThroughputStudy
from infpop_operator.api.status import to_status
from infpop_operator.api.status_model import PoolStatus, StudyStatus
from infpop_operator.api.status_rows import trial_rows
from infpop_operator.api.study_object import StudyObject, UnreadableError, parse_status, parse_study_object
from infpop_operator.core.decision import Decision, Verdict
from infpop_operator.core.errors import Problem, ResultError, StoreError, StudyError
from infpop_operator.core.model import INTERRUPTED, History
from infpop_operator.core.object_names import NAME_PATTERN
from infpop_operator.core.partial_results import with_finished_trials
from infpop_operator.core.subject import recorded_model
from infpop_runner.contract import RunResult

NAME_A_SOURCE = (
    "Name a directory of infpop tune, its status.json, study/NAME for a study on a cluster, or a CSV file of recorded"
    " cells or exported trials"
)
_STATUS_KEYS = {"conditions", "pools", "progress", "trials"}  # at least one is in every status
_SHOWN = 5
_WITHOUT_JOURNAL = ": numbers are rounded, and nothing is known of loads, memory and software"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundStudy:
    """A study with its status, its history where that could be read, and what the reader must know of both.

    Args:
        source: where it was found: a path, or `study/NAMESPACE/NAME`.
        study: the study with its status.
        history: from its journal, None without one.
        directory: holds the study's files; None on a cluster, and for a file that stands alone.
        notes: what is missing or could not be read, one sentence each.
        content: the status as JSON as it was read, with what only a newer version knows; None: it was not read.
        read_at: when it was read, by the clock of the API server that gave it; None without one.
    """

    source: str
    study: StudyObject
    history: History | None = None
    directory: Path | None = None
    notes: tuple[str, ...] = ()
    content: object = None
    read_at: datetime | None = None


def find_in_directory(directory: Path) -> FoundStudy:
    """Return the study in a directory of `infpop tune`, or what a crash has left of it; nothing is changed or locked.

    Raises:
        ResultError: nothing in it can be read as a result.
        StoreError: it was written by a newer version.
    """
    return _Directory(directory).find()


def find_in_json(file: Path, content: object) -> FoundStudy:
    """Return the study in a JSON file: a status, or a whole study as `kubectl get -o json` prints it.

    Raises:
        ResultError: it is neither.
        UnreadableError: the status has a form that this version cannot read.
    """
    if isinstance(content, dict) and content.get("kind") == KIND:
        study = _object(content, file)
        return FoundStudy(source=str(file), study=study, content=content.get("status") or {})
    if not isinstance(content, dict) or _STATUS_KEYS.isdisjoint(content):
        raise source_error(str(file), "is neither the status of a study nor a study as JSON", NAME_A_SOURCE)
    directory = _Directory(file.parent)
    name = file.parent.name if file.name == STATUS else file.stem
    study = directory.study_object(parse_status(content), name=name)
    notes = tuple(directory.notes)
    return FoundStudy(source=str(file), study=study, directory=file.parent, notes=notes, content=content)


def source_error(source: str, message: str, remedy: str) -> ResultError:
    """Return the error about a source that cannot be read."""
    return ResultError(str(Problem(field=source, value="", message=message, remedy=remedy)))


class _Directory:
    """The files of a study; `notes` collects what is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        self._content: object = None
        self._is_ahead = False  # whether runs have written results that neither journal nor status have yet

    def find(self) -> FoundStudy:
        journal = self._journal()
        status = self._status(has_journal=journal is not None)
        if journal is None and status is None:
            raise self._nothing_here()
        header, history = journal if journal is not None else (None, None)
        study = self.study_object(status, name=self.path.name if header is None else header.study, history=history)
        return FoundStudy(
            source=str(self.path),
            study=study,
            history=history,
            directory=self.path,
            notes=tuple(self.notes),
            content=self._content,
        )

    def study_object(self, status: StudyStatus | None, *, name: str, history: History | None = None) -> StudyObject:
        document = self._document()
        found = StudyObject(name=name, engine=UNKNOWN, model=UNKNOWN, document=document, status=StudyStatus())
        facts = dict(history.rounds[-1].subject) if history is not None and history.rounds else {}
        if document is not None:
            # The directory that was measured: a study names it relative to its file, or by a name that is InfPop's own.
            model = recorded_model(facts, document.spec.model.name)
            found = replace(found, name=document.metadata.name, engine=document.spec.engine.name, model=model)
        else:
            found = replace(found, engine=facts.get("engine.name", UNKNOWN), model=recorded_model(facts, UNKNOWN))
        if document is not None and history is not None:
            if status is None:
                status = _status_from(document, history)
            elif self._is_ahead:  # as `infpop tune` shows it: its status waits for the end of a run
                rows = trial_rows(described_study(document, status), history)
                status = status.model_copy(update={"trials": rows})
        return found if status is None else replace(found, status=status)

    def _journal(self) -> tuple[Header, History] | None:
        journal = Journal(self.path / JOURNAL)
        try:
            known = journal.read()
            if journal.is_torn():
                self._note(f"the last line of {JOURNAL} is incomplete: the step that it was about is left out.")
        except NewerJournalError:
            raise
        except StoreError as error:
            self.notes.append(str(error))
            return None
        if known is None:
            what = "is empty" if journal.path.exists() else "is missing"
            self._note(f"{JOURNAL} {what}{_WITHOUT_JOURNAL}.")
            return None
        return (known[0], self._with_results(fold(*known)))

    def _with_results(self, history: History) -> History:
        """Return the history with what runs have written that the journal does not have yet."""
        partial: dict[str, RunResult] = {}
        written = [history.started_at]
        for entry in history.active:
            if not re.fullmatch(NAME_PATTERN, entry.run.name):  # a name such as ../x leads to a file elsewhere
                continue
            files = RunFiles(self.path / RUNS / entry.run.name)
            result = files.read_result(entry.run.name)
            if isinstance(result, RunResult) and result.trials:
                partial[entry.run.name] = result
                written.append(files.last_written_at() or entry.started_at)
        self._is_ahead = bool(partial)
        return with_finished_trials(history, partial, max(written)) if partial else history

    def _status(self, *, has_journal: bool) -> StudyStatus | None:
        try:
            content = read_json(self.path / STATUS)
            if isinstance(content, dict):
                status, self._content = parse_status(content), content
                return status
            self._note(f"{STATUS} is not the status of a study.")
        except (ResultError, UnreadableError) as error:
            if isinstance(error, UnreadableError) and not has_journal:
                raise
            instead = f"; the state of the study is taken from {JOURNAL}" if has_journal else ""
            self._note(f"{STATUS} {_why(self.path / STATUS, error)}{instead}.")
        return None

    def _document(self) -> ThroughputStudy | None:
        file = self.path / STUDY
        try:
            return parse_document(file.read_text(encoding="utf-8"), source=str(file))
        except StudyError as error:
            first = error.problems[0]
            self._note(f"{STUDY} cannot be read by this version ({first}) Its search space and prices are not known.")
        except (OSError, UnicodeDecodeError) as error:
            self._note(f"{STUDY} {_why(file, error)}: its search space and prices are not known.")
        return None

    def _nothing_here(self) -> ResultError:
        """Return the error about a directory without results; it names those that are in it."""
        try:
            inside = sorted(entry.parent for entry in self.path.glob(f"*/{JOURNAL}"))
        except OSError:
            inside = []
        if inside:
            named = ", ".join(str(entry) for entry in inside[:_SHOWN])
            more = ", ..." if len(inside) > _SHOWN else ""
            return source_error(str(self.path), "holds several results", f"Name one or some of them: {named}{more}")
        notes = (note.removeprefix(f"{self.path}: ").rstrip(".") for note in self.notes)
        what = "; ".join(note.removesuffix(_WITHOUT_JOURNAL) for note in notes)
        return source_error(str(self.path), f"holds no result of infpop tune ({what})", NAME_A_SOURCE)

    def _note(self, sentence: str) -> None:
        self.notes.append(f"{self.path}: {sentence}")


def read_json(file: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    """Return the content of a JSON file.

    Raises:
        ResultError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise source_error(str(file), _why(file, error), NAME_A_SOURCE) from error
    except (ValueError, RecursionError) as error:
        raise source_error(str(file), "is not JSON", NAME_A_SOURCE) from error


def _why(file: Path, error: Exception) -> str:
    """Return why a file cannot be used, after its name."""
    if isinstance(error, FileNotFoundError) or not file.exists():
        return "is missing"
    if isinstance(error, ResultError):
        return "is not JSON" if isinstance(error.__cause__, ValueError) else "cannot be read"
    return f"cannot be read ({error})"


def _object(content: dict[str, Any], file: Path) -> StudyObject:
    try:
        return parse_study_object(content)
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # by whatever means it was written
        message = f"is not a study as the API server has it ({type(error).__name__}: {error})"
        raise source_error(str(file), message, NAME_A_SOURCE) from error


def _status_from(document: ThroughputStudy, history: History) -> StudyStatus:
    """Return the status of a study whose status was lost, as it was when the last step was recorded."""
    newest = {entry.pool: entry.hardware for entry in history.rounds}
    pools = [
        PoolStatus(name=name, gpu=known.gpu_model, gpus_per_node=known.device_count, fingerprint=known.fingerprint)
        for name, known in newest.items()
        if known is not None
    ]
    decision = Decision(
        history=history,
        verdict=Verdict.WAITING,
        reason=INTERRUPTED,
        message=f"{STATUS} is missing or damaged, so how the study ended is not known; "
        "run infpop tune again to resume it",
    )
    times = [history.started_at, *_times(history)]
    return to_status(described_study(document, StudyStatus(pools=pools)), decision, max(times))


def _times(history: History) -> Iterator[datetime]:
    yield from (ended.observation.ended_at for ended in history.ended)
    yield from (started.started_at for started in history.active)
