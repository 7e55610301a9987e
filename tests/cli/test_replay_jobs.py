"""The file of `infpop replay`: what happens if it cannot be written once the work is done."""

import json
from pathlib import Path

import pytest

from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.cli.replay_jobs import write_output


def test_results_are_written_only_where_a_file_is_named(tmp_path: Path) -> None:
    """Without a file the table was all that was asked for."""
    assert write_output(None, {"a": 1}) is ExitCode.FOUND
    assert write_output(tmp_path / "found.json", {"a": 1}) is ExitCode.FOUND
    assert json.loads((tmp_path / "found.json").read_text()) == {"a": 1}


def test_a_file_that_cannot_be_written_is_named_with_its_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is that of bad input, and the message says that nothing of the table is missing."""
    path = tmp_path / "gone" / "found.json"
    assert write_output(path, {}) is ExitCode.BAD_INPUT
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"{path}: cannot be written."
    assert lines[1].startswith(f"  --json: {path}: No such file or directory. Name another file; the table above is")
