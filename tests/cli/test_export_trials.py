"""`infpop export` with all trials: from where it takes them, which, where it writes them, and when it refuses."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.api_server import STUDIES, api_server
from export.reading_reports import read_reports
from infpop_operator.adapters.result_sources import read_results
from infpop_operator.cli.main import app
from infpop_operator.export.benchmark_reports import INDEX
from infpop_operator.export.tables import TABLE_FORMATS, read_table
from replay.landscape_files import HEADER
from report.study_objects import ended
from upgrade.old_data import GOLDEN

FINISHED = GOLDEN / "local-finished"
# Modules that import a package of an extra, or one of each other.
_IMPORTERS = ("export.parquet_table", "export.benchmark_report", "export.benchmark_reports", "adapters.mlflow_tracking")
CELLS = [
    "A100,vllm,Bloom-1b7,1,1,ok,37.5",
    "A100,vllm,Bloom-1b7,1,2,infeasible,",
    "V100,vllm,Bloom-1b7,2,1,ok,20.5",
]


def invoke(*arguments: object) -> Result:
    """Run the command line in this process, on a terminal of 80 columns."""
    return CliRunner().invoke(app, ["export", *map(str, arguments)], env={"COLUMNS": "80"})


def refusal(*arguments: object) -> str:
    """Return the message of a command that must print no result and end with code 2."""
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), (result.exception, result.output)
    return " ".join(result.stderr.split())


def write_landscape(directory: Path) -> Path:
    """Write a file of recorded cells on two GPU models."""
    file = directory / "cells.csv"
    file.write_text("\n".join([HEADER.strip(), *CELLS, ""]))
    return file


def files_in(directory: Path) -> dict[str, bytes]:
    """Return the content of each file of a directory."""
    return {file.name: file.read_bytes() for file in directory.iterdir()}


@pytest.mark.parametrize("form", TABLE_FORMATS)
def test_a_table_has_the_trials_of_its_source(tmp_path: Path, form: str) -> None:
    """What is printed and what is written are the same bytes, and they give the trials of the source again."""
    file = tmp_path / "trials"
    printed, written = invoke(FINISHED, "--format", form), invoke(FINISHED, "--format", form, "--output", file)
    assert (printed.exit_code, written.exit_code, written.output) == (0, 0, "")
    assert printed.stdout_bytes == file.read_bytes()
    assert read_table(file.read_bytes(), form) == read_results(str(FINISHED)).trials


def test_recorded_cells_are_a_source(tmp_path: Path) -> None:
    """A CSV of cells becomes trials, a pool for each GPU model; --pool and --round choose among them."""
    file = write_landscape(tmp_path)
    rows = read_table(invoke(file, "--format", "jsonl").stdout_bytes, "jsonl")
    assert [(row.pool, row.batch_size, row.throughput_tokens_per_second) for row in rows] == [
        ("A100", 1, 37.5),
        ("A100", 2, None),
        ("V100", 1, 20.5),
    ]
    for option in (("--pool", "V100"), ("--pool", "V100", "--round", "1"), ("--pool", "V100", "--round", "last")):
        assert read_table(invoke(file, "--format", "csv", *option).stdout_bytes, "csv") == rows[2:]
    assert "--pool: T4: has no trials. Use A100, V100." in refusal(file, "--format", "csv", "--pool", "T4")
    assert "--round: 2: has no trials. Use 1, last." in refusal(file, "--format", "csv", "--round", "2")


def test_a_study_on_a_cluster_is_a_source(tmp_path: Path) -> None:
    """Each trial says from which namespace it is, and a study in another round is told apart by its number."""
    body = ended()
    with api_server({f"{STUDIES}/codellama": (200, body)}, tmp_path) as config:
        result = invoke("study/codellama", "--format", "csv", "--kubeconfig", config)
    rows = read_table(result.stdout_bytes, "csv")
    assert {row.source for row in rows} == {"study/serving/codellama"}
    assert {row.pool for row in rows} == {"a100", "v100"}
    assert sum(row.is_best for row in rows) == 2


def test_a_study_in_progress_is_exported_as_it_is() -> None:
    """The note goes to standard error, so that the table stays one."""
    result = invoke(GOLDEN / "local-interrupted", "--format", "csv")
    assert result.exit_code == 0
    assert "the study was interrupted before its end" in result.stderr
    assert read_table(result.stdout_bytes, "csv") == read_results(str(GOLDEN / "local-interrupted")).trials


def test_benchmark_reports_are_a_directory(tmp_path: Path) -> None:
    """A later export of fewer trials removes the reports that it does not list, and no file of anyone else."""
    file, directory = write_landscape(tmp_path), tmp_path / "new" / "reports"
    arguments = (file, "--format", "benchmark-report", "--output", directory)
    result = invoke(*arguments)
    assert result.exit_code == 0
    assert result.stderr.split("reports: ")[1] == "2 reports; landscape.json also has 1 trials without one.\n"
    assert read_reports(files_in(directory)) == read_results(str(file)).trials
    (directory / "notes.txt").write_text("mine")
    assert invoke(*arguments, "--pool", "V100").exit_code == 0
    (report,) = files_in(directory).keys() - {INDEX, "notes.txt"}
    assert [entry["report"] for entry in json.loads((directory / INDEX).read_text())["trials"]] == [report]


def test_benchmark_reports_do_not_mix_with_other_files(tmp_path: Path) -> None:
    """A directory that holds something else is left alone, and so is a place that cannot be written."""
    file = write_landscape(tmp_path)
    arguments = (file, "--format", "benchmark-report", "--output")
    assert "has other files. Name a new or empty directory." in refusal(*arguments, tmp_path)
    assert list(tmp_path.iterdir()) == [file]
    assert "cannot be written (" in refusal(*arguments, file)
    assert "benchmark-report writes a file for each trial" in refusal(file, "--format", "benchmark-report")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / INDEX).write_text("{}")
    assert "landscape.json: is not an index of benchmark reports" in refusal(*arguments, tmp_path / "other")


def test_runs_are_logged_to_files_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--output is a directory of MLflow; without it the user names a server."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "")
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")  # and whatever the command sets is taken back after the test
    arguments = (write_landscape(tmp_path), "--format", "mlflow", "--output", tmp_path / "mlruns")
    assert invoke(*arguments).stderr.endswith("runs of trials: 3 added, 0 replaced, 0 unchanged.\n")
    assert invoke(*arguments).stderr.endswith("runs of trials: 0 added, 0 replaced, 3 unchanged.\n")
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"  # noqa: TID251 - InfPop reports nothing to anyone
    assert "--output names another place" in refusal(*arguments, "--tracking-uri", "http://127.0.0.1:9")
    assert "Name a server with --tracking-uri or MLFLOW_TRACKING_URI" in refusal(*arguments[:3])


@pytest.mark.parametrize(
    ("form", "option", "message"),
    [
        ("csv", ("--newest",), "--newest: is for formats with the best result, and csv has all trials. Leave it out."),
        ("mlflow", ("--name", "a"), "--name: a: is for formats with the best result, and mlflow has all trials."),
        ("kserve", ("--round", "1"), "--round: 1: is for formats with all trials, and kserve has the best result."),
    ],
)
def test_an_option_of_other_formats_is_refused(form: str, option: tuple[str, ...], message: str) -> None:
    """An option that would have no effect is an error."""
    assert message in refusal(FINISHED, "--format", form, *option)


@pytest.mark.parametrize(
    ("form", "package", "extra"),
    [
        ("parquet", "pyarrow", "report"),
        ("benchmark-report", "llmd_benchmark_report", "report"),
        ("mlflow", "mlflow", "mlflow"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str, package: str, extra: str
) -> None:
    """Without the extra a format says what to install, from the index and in a checkout."""
    monkeypatch.setitem(sys.modules, package, None)
    for module in _IMPORTERS:
        monkeypatch.delitem(sys.modules, f"infpop_operator.{module}", raising=False)
    message = refusal(FINISHED, "--format", form, "--output", tmp_path / "out")
    assert f"infpop export needs {package}, which is not installed here." in message
    assert f"Run: pip install '.[{extra}]' in a checkout of InfPop" in message


@pytest.mark.process
def test_parquet_is_not_printed_on_a_terminal() -> None:
    """Binary output would disturb the terminal; a pipe is fine, as the test of the tables shows."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "infpop_operator.cli.main", "export", str(FINISHED), "--format", "parquet"]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 2
    assert b"parquet is binary, and standard output is a terminal. Name a file." in done.stderr
