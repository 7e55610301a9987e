"""What the caller does with standard output ends no command in a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from local.local_studies import own_environment

INFPOP = f"{sys.executable} -m infpop_operator.cli.main"


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell, in which `infpop` is the program, and return its exit code and what it wrote."""
    argv = ["bash", "-c", f'infpop() {{ {INFPOP} "$@"; }}; {line}']
    environment = {**own_environment(), "HOME": str(cwd)}
    return subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["crds", "schema", "--help"])
def test_output_that_does_not_fit_is_said(tmp_path: Path, command: str) -> None:
    """A file on a full disk is not taken for complete: exit code 1 and one line say so."""
    done = shell(f"infpop {command} > /dev/full", tmp_path)
    assert done.returncode == 1
    assert done.stderr == "infpop: standard output cannot be written (No space left on device).\n"


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    """`infpop crds | head -1` shows one line and nothing else."""
    done = shell("infpop crds | head -1", tmp_path)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_closed_streams_are_no_error(tmp_path: Path) -> None:
    """A command that a daemon starts without standard output does its work."""
    done = shell("infpop schema >&-; echo $?; infpop show none 2>&-; echo $?", tmp_path)
    assert done.stdout.split() == ["0", "2"]
    assert "Traceback" not in done.stderr
