"""The command `infpop export` with a format that has all trials: a table, benchmark reports, or runs of MLflow."""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infpop_operator.adapters.files import write_atomically
from infpop_operator.adapters.result_sources import ON_CLUSTER, read_results
from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.cli.error_output import print_error
from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.core.errors import ExportError, InfPopError, NoAnswerError, Problem
from infpop_operator.export.choice import choose_trials
from infpop_operator.export.tables import TABLE_FORMATS, render_table


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """Where the trials go, and what tells their study from others of the same name."""

    form: str
    output: Path | None
    tracking_uri: str | None
    origin: str


def run(
    source: str, *, form: str, output: Path | None, options: Mapping[str, str | None], cluster: Mapping[str, str | None]
) -> ExitCode:
    """Write all trials of the study in `source` in the format `form`.

    Args:
        source: what `read_results` reads.
        form: csv, jsonl, parquet, benchmark-report or mlflow.
        output: a file; of benchmark reports and MLflow a directory.
        options: `pool` and `round` choose trials; `tracking-uri` is an MLflow server.
        cluster: namespace, context and kubeconfig of `study/NAME`.
    """
    try:
        table = read_results(source, **cluster)
        rows = choose_trials(table.trials, pool=options["pool"], round_number=options["round"])
        origin = _origin(source, rows)
        target = _Target(form=form, output=output, tracking_uri=options["tracking-uri"], origin=origin)
        sys.stderr.writelines(f"{note}\n" for note in table.notes)
        _WRITERS.get(form, _write_table)(rows, target)
    except NoAnswerError as error:
        print_error(f"{source}: cannot be read now.", error)
        return ExitCode.INTERNAL_ERROR
    except InfPopError as error:
        return print_error(f"{source}: cannot be exported.", error)
    return ExitCode.FOUND


def _origin(source: str, rows: Sequence[TrialResultRow]) -> str:
    """Return what tells the study from others of the same name, from wherever it is exported."""
    if source.startswith(ON_CLUSTER):
        return rows[0].source if rows else source  # the rows know the namespace
    return str(Path(source).resolve())


def _write_table(rows: Sequence[TrialResultRow], target: _Target) -> None:
    if target.output is None and not TABLE_FORMATS[target.form].is_text and sys.stdout.isatty():
        raise _error("--output", "", f"{target.form} is binary, and standard output is a terminal", "Name a file")
    content = render_table(rows, target.form)
    if target.output is not None:
        _write(target.output, content)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(content)  # as it is: the terminal's encoding would replace characters
    sys.stdout.buffer.flush()


def _write_reports(rows: Sequence[TrialResultRow], target: _Target) -> None:
    """Write a directory, the index last; reports that an earlier index names and the new one does not are removed."""
    if target.output is None:
        raise _error("--output", "", "benchmark-report writes a file for each trial", "Name a directory")
    reports = importlib.import_module("infpop_operator.export.benchmark_reports")
    directory = target.output
    files: dict[str, bytes] = reports.render_reports(rows, target.origin)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        index = directory / reports.INDEX
        earlier: list[str] = reports.listed_reports(index.read_bytes()) if index.exists() else []
        if not index.exists() and any(directory.iterdir()):
            raise _error("--output", str(directory), "has other files", "Name a new or empty directory")
        for name, content in files.items():
            write_atomically(directory / name, content)
        for name in set(earlier) - files.keys():
            (directory / name).unlink(missing_ok=True)
    except OSError as error:
        raise _not_written(directory, error) from error
    without = sum(row.throughput_tokens_per_second is None for row in rows)
    sys.stderr.write(f"{directory}: {len(files) - 1} reports; {reports.INDEX} also has {without} trials without one.\n")


def _write_runs(rows: Sequence[TrialResultRow], target: _Target) -> None:
    """Log to a server or to files; where the user named neither, to the server of MLflow's own variable."""
    if target.output is not None and target.tracking_uri is not None:
        raise _error("--tracking-uri", target.tracking_uri, "--output names another place", "Give one of them")
    environment = os.environ  # noqa: TID251 - the edge
    server = target.tracking_uri or environment.get("MLFLOW_TRACKING_URI")
    destination = target.output or server
    if not destination:
        remedy = "Name a server with --tracking-uri or MLFLOW_TRACKING_URI, or a directory with --output"
        raise _error("--tracking-uri", "", "mlflow needs a place to log to", remedy)
    environment.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # InfPop reports nothing to anyone
    runs = importlib.import_module("infpop_operator.export.mlflow_runs")
    tracking = importlib.import_module("infpop_operator.adapters.mlflow_tracking")
    try:
        done: Mapping[str, int] = tracking.log_rounds(runs.to_tracked_rounds(rows, target.origin), destination)
    except OSError as error:
        raise _not_written(Path(destination), error) from error
    counts = ", ".join(f"{count} {what}" for what, count in done.items())
    sys.stderr.write(f"{destination}: runs of trials: {counts}.\n")


_WRITERS = {"benchmark-report": _write_reports, "mlflow": _write_runs}


def _write(file: Path, content: bytes) -> None:
    try:
        write_atomically(file, content)
    except OSError as error:
        raise _not_written(file, error) from error


def _not_written(path: Path, error: OSError) -> ExportError:
    remedy = "Name a place that exists and that you may write to"
    return _error("--output", str(path), f"cannot be written ({error.strerror})", remedy)


def _error(field: str, value: str, message: str, remedy: str) -> ExportError:
    return ExportError(str(Problem(field=field, value=value, message=message, remedy=remedy)))
