"""Read a table that `infpop export` has written."""

from os import PathLike
from pathlib import Path

from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.core.errors import ExportError, Problem
from infpop_operator.core.installing import install_command
from infpop_operator.export.tables import TABLE_FORMATS, read_table


def read_trials(table: str | PathLike[str]) -> tuple[TrialResultRow, ...]:
    """Return the trials in a table of `infpop export`: the same as those from which it was written.

    Args:
        table: its path, whose suffix says its form: `.csv`, `.jsonl` or `.parquet`.

    Raises:
        InfPopError: the file cannot be read, or is no such table; the message names line and column.
        ImportError: a Parquet file needs the extra `report`.
    """
    path = Path(table)
    form = path.suffix.removeprefix(".").lower()
    if form not in TABLE_FORMATS:
        known = ", ".join(f".{name}" for name in TABLE_FORMATS)
        raise _error(path, "has another suffix than a table of infpop export", f"Name a file that ends in {known}")
    try:
        return read_table(path.read_bytes(), form)
    except OSError as error:
        raise _error(path, f"cannot be read ({error.strerror})", "Name an existing table") from error
    except ModuleNotFoundError as error:
        message = f"{path} needs {error.name}. Run: {install_command('report')}"
        raise ImportError(message, name=error.name) from error


def _error(path: Path, message: str, remedy: str) -> ExportError:
    return ExportError(str(Problem(field=str(path), value="", message=message, remedy=remedy)))
