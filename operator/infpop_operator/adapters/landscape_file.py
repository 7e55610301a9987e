"""Check the CSV file that the simulated engine will replay, before anything is started."""

import csv
from pathlib import Path

from infpop_operator.analysis.landscape_csv import COLUMNS
from infpop_operator.core.errors import Problem, StudyError
from infpop_runner.contract import RecordedLandscape

_FIELD = "spec.engine.simulation.recorded"
_SHOWN = 5


def check_landscape(recorded: RecordedLandscape) -> None:
    """Check that the file has the columns of a landscape, and cells of the requested one.

    Raises:
        StudyError: the file cannot be read, lacks a column, or has no such landscape.
    """
    try:
        with Path(recorded.path).open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = set(COLUMNS) - set(reader.fieldnames or ())
            rows = [] if missing else list(reader)
    except (OSError, ValueError, csv.Error) as error:  # ValueError: not UTF-8, or a NUL in the path
        what = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        remedy = "Check the path; a relative one is relative to the study file"
        raise _error("path", recorded.path, what, remedy) from error
    if missing:
        raise _error("path", recorded.path, f"lacks the columns {', '.join(sorted(missing))}", "Add them")
    _check_choice(recorded, rows)


def _check_choice(recorded: RecordedLandscape, rows: list[dict[str, str]]) -> None:
    """Filter the rows by one column after the other, so that the message names the first wrong choice."""
    for key, column, wanted in (
        ("gpuModel", "gpu_model", recorded.gpu_model),
        ("engine", "engine", recorded.engine),
        ("model", "model", recorded.model),
    ):
        known = sorted({row[column] or "" for row in rows})
        rows = [row for row in rows if row[column] == wanted]
        if not rows:
            more = ", ..." if len(known) > _SHOWN else ""
            remedy = f"Choose one that the file has: {', '.join(known[:_SHOWN])}{more}"
            raise _error(key, wanted, f"{recorded.path} has no such cells", remedy)


def _error(key: str, value: str, message: str, remedy: str) -> StudyError:
    return StudyError([Problem(field=f"{_FIELD}.{key}", value=value, message=message, remedy=remedy)])
