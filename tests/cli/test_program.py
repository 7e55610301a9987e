"""How the commands that messages name are written for this user."""

import subprocess
import sys
from pathlib import Path

import pytest

from infpop_operator.cli.program import program, with_program
from local.local_studies import own_environment


def install(directory: Path) -> Path:
    """Write a program `infpop` into a directory and return its path."""
    directory.mkdir(parents=True)
    path = directory / "infpop"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_program_on_the_path_is_named(tmp_path: Path) -> None:
    """An activated environment starts it by its whole path, and its name is enough to start it again."""
    started = install(tmp_path / "bin")
    assert program(str(started), f"/nowhere:{tmp_path / 'bin'}") == "infpop"


def test_a_program_elsewhere_is_named_as_it_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an empty path nor another InfPop on it finds this one; a space is quoted."""
    started, other = install(tmp_path / "a b/bin"), install(tmp_path / "other")
    monkeypatch.chdir(tmp_path / "a b")
    assert program("bin/infpop", "") == "bin/infpop"
    assert program(str(started), str(other.parent)) == f"'{started}'"


@pytest.mark.parametrize("started", ["/srv/infpop_operator/cli/main.py", "-c", "", "/nowhere/infpop"])
def test_what_is_no_program_keeps_the_name(started: str) -> None:
    """A module, a notebook and a program that is gone have no better name."""
    assert program(started, "") == "infpop"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Run: pip install x, then: infpop report a", "Run: pip install x, then: X report a"),
        ("infpop tune study.yaml --json", "X tune study.yaml --json"),
        ("List its trials with infpop export a --format csv", "List its trials with X export a --format csv"),
        ("`infpop tiny-model DIR` writes one", "`X tiny-model DIR` writes one"),
        ("Install it: infpop crds | kubectl apply", "Install it: X crds | kubectl apply"),
        ("Name a directory of infpop tune", "Name a directory of infpop tune"),
        ("infpop-results/a: bin/infpop tune: infpop itself", "infpop-results/a: bin/infpop tune: infpop itself"),
    ],
)
def test_only_commands_to_copy_are_rewritten(text: str, shown: str) -> None:
    """Neither the project's name, nor a path, nor a directory of results is a command."""
    assert with_program(text, "X") == shown


def test_an_error_names_a_program_that_the_user_can_start(tmp_path: Path) -> None:
    """Started by its path without an activated environment, it tells the user to run that path."""
    started = Path(sys.executable).with_name("infpop")
    (tmp_path / "cells.csv").write_text("model,gpus,batch,throughput\n")
    environment = {**own_environment(), "PATH": "/usr/bin:/bin"}
    argv = [started, "show", "cells.csv"]
    failed = subprocess.run(argv, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert f"Draw it with {started} report cells.csv" in failed.stderr
