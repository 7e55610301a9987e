"""`infpop replay search`: its tables, its JSON and its errors."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infpop_operator.cli.main import app
from local.local_studies import run_infpop
from replay.landscape_files import peak_lines, write_file

pytestmark = pytest.mark.process


def make_landscapes(directory: Path) -> Path:
    """Write a model on each engine, and one that works nowhere."""
    return write_file(
        directory,
        *peak_lines("V100", (2, 32), model="a-model-with-quite-a-long-name-7b-in-1024-out-1024-16-bit"),
        *peak_lines("A100", (4, 16), model="large", engine="hf", fits=32),
        "A100,hf,none,1,8,infeasible,",
    )


def replay(path: Path, *more: object) -> tuple[int, str, str]:
    """Return the exit code and the outputs of a replay with two seeds."""
    options = ("--algorithm", "random", "--seeds", 2, "--processes", 1, *more)
    done = run_infpop("replay", "search", path, *options, cwd=path.parent)
    return (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("columns", [80, 120])
def test_the_tables_fit_the_terminal_and_say_what_was_left_out(tmp_path: Path, columns: int) -> None:
    """No column of numbers is cut."""
    options = ("--algorithm", "random", "--seeds", "1", "--processes", "1")
    command = ["replay", "search", str(make_landscapes(tmp_path)), *options]
    done = CliRunner().invoke(app, command, env={"COLUMNS": str(columns)})
    out = done.stdout
    assert done.exit_code == 0
    assert max(map(len, out.splitlines())) <= columns
    assert "random on vllm" in out
    assert "random on hf" in out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.startswith(("all (2)", "hf (1)"))}
    assert len(rows["all"]) == len(rows["hf"]) == 12
    assert "…" not in out, out
    assert "Left out, because nothing works there: none on A100 (hf)" in out


def test_the_json_is_the_same_with_several_processes(tmp_path: Path) -> None:
    """It has a summary of all and of each engine, and each landscape."""
    path = make_landscapes(tmp_path)
    first = replay(path, "--json", tmp_path / "one.json", "--short-measurement", "--noise", "0.02")
    assert (first[0], first[2]) == (0, "")
    document = json.loads((tmp_path / "one.json").read_text())
    assert document["algorithm"] == "random"
    assert list(document["summary"]) == ["all", "vllm", "hf"]
    assert {"mean", "median", "p90"} == set(document["summary"]["vllm"]["trials_to_99"])
    assert {"mean", "geometric_mean"} == set(document["summary"]["hf"]["gpu_seconds_to_99"])
    assert {"geometric_mean", "worst", "worst_grid"} == set(document["summary"]["all"]["cost_ratio_to_paper"])
    assert [grid["configurations"] for grid in document["grids"]] == [15, 15]
    more = ("--short-measurement", "--noise", "0.02", "--processes", 2)
    assert replay(path, "--json", tmp_path / "two.json", *more) == first
    assert (tmp_path / "two.json").read_text() == (tmp_path / "one.json").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--algorithm", "best"), "--algorithm: best: is not known. Use one of: landscape, tpe, anneal, random, grid,"),
        (("--trials-per-run", "9"), "--trials-per-run: 9: is not understood. Write a number from 1 to 8, or auto."),
        (("--noise", "2"), "--noise: 2.0: is not a relative standard deviation. Write a number from 0 to 1"),
        (("--json", "nowhere/x.json"), "--json: nowhere/x.json: the directory nowhere does not exist. Create it."),
    ],
)
def test_a_wrong_option_is_named_with_its_remedy(tmp_path: Path, options: tuple[str, str], message: str) -> None:
    """Nothing is replayed, and the exit code is that of bad input."""
    code, out, err = replay(make_landscapes(tmp_path), *options)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())


def test_a_file_in_which_nothing_works_is_refused(tmp_path: Path) -> None:
    """The message says what would be there."""
    code, _, err = replay(write_file(tmp_path, "A100,hf,none,1,8,infeasible,"))
    assert code == 2
    assert "has no configuration that works" in " ".join(err.split())
