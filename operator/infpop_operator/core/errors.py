"""Errors that InfPop raises for its user or its administrator.

InfPopError
├── StudyError        the study is invalid; field, value and remedy are known
├── ExportError       the result cannot be exported as asked
│   └── NoResultError the study has no result to export
├── ResultError       a result, or a file of recorded landscapes, cannot be read
├── ReportError       a report cannot be made as asked
├── ReplayError       recorded landscapes cannot be replayed
├── StoreError        the study's state on disk cannot be used
│   └── GoneError     it was removed while the study was tuned
├── NoAnswerError     the cluster does not answer now
├── ExecutorError     a run could not be started or watched
└── SettingError      the operator's configuration is invalid

Failures of runs are not exceptions: they are values (`core.model.Lost`, `infpop_runner.contract.Broken`).
"""

from collections.abc import Sequence
from dataclasses import dataclass


class InfPopError(Exception):
    """Base of all errors that InfPop raises deliberately; the message is written for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake in a study: the field, its value, what is wrong, and how to correct it."""

    field: str
    value: str
    message: str
    remedy: str

    def __str__(self) -> str:
        """Return one line that names field, value and remedy."""
        shown = f" {self.value}:" if self.value else ""
        end = "" if self.remedy.endswith("?") else "."
        return f"{self.field}:{shown} {self.message}. {self.remedy}{end}"


class StudyError(InfPopError):
    """The study is invalid; nothing was started."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ExportError(InfPopError):
    """The result cannot be exported as asked; the message is one `Problem`."""


class NoResultError(ExportError):
    """The study has no result to export, or none that will stay."""


class ResultError(InfPopError):
    """A result or a file of recorded landscapes cannot be read; the message names what, where, and the remedy."""


class ReportError(InfPopError):
    """A report cannot be made as asked; the message names what, and the remedy."""


class ReplayError(InfPopError):
    """Recorded landscapes cannot be read, or do not contain what is to be replayed; the message is one `Problem`."""


class StoreError(InfPopError):
    """The directory that holds the study's state belongs to another study, is in use, or is damaged."""


class GoneError(StoreError):
    """The directory that holds the study's state was removed, and with it what was recorded."""


class NoAnswerError(InfPopError):
    """The API server gives no answer at the moment."""


class ExecutorError(InfPopError):
    """A run could not be started."""


class SettingError(InfPopError):
    """A setting of the operator is invalid; the message names the variable, its value and the remedy."""
