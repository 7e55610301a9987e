"""`infpop replay retune`: its table, its JSON and its errors."""

import json
from pathlib import Path

import pytest

from local.local_studies import run_infpop
from replay.landscape_files import peak_lines, write_file

pytestmark = pytest.mark.process


def make_landscapes(directory: Path) -> Path:
    """Write two models on two GPU models, one of which cannot keep its configuration."""
    return write_file(
        directory,
        *peak_lines("V100", (2, 32), model="small"),
        *peak_lines("A100", (4, 32), model="small", top=3000.0, fits=128),
        *peak_lines("V100", (4, 64), model="large", engine="hf"),
        *peak_lines("A100", (4, 16), model="large", engine="hf", fits=32),
    )


def replay(path: Path, *more: object, old: str = "V100", new: str = "A100") -> tuple[int, str, str]:
    """Return the exit code and the outputs of a replay with one seed."""
    options = ("--from", old, "--to", new, "--seeds", 1, "--processes", 1, *more)
    done = run_infpop("replay", "retune", path, *options, cwd=path.parent)
    return (done.returncode, done.stdout, done.stderr)


def test_the_table_and_the_json_say_what_retuning_gains(tmp_path: Path) -> None:
    """No line is longer than 80 columns, nothing is written to standard error, and a second replay is the same."""
    path = make_landscapes(tmp_path)
    code, out, err = replay(path, "--json", tmp_path / "one.json")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert "hf, V100 → A100" in out
    assert "vllm, V100 → A100" in out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.startswith(("small", "large"))}
    assert rows["small"][1:9] == ["2", "x", "32", "4", "x", "32", "+25.0", "%"]
    assert rows["large"][7:9] == ["no", "memory"]
    document = json.loads((tmp_path / "one.json").read_text())
    assert list(document) == ["from", "to", "summary", "models"]
    assert document["summary"]["vllm"]["mean_improvement_percent"] == pytest.approx(25.0)
    assert document["summary"]["hf"]["baseline_infeasible"] == 1
    assert list(document["summary"]["hf"]["trials_to_99"]) == ["warm", "cold", "infpop-paper"]
    assert replay(path, "--json", tmp_path / "two.json", "--processes", 2) == (code, out, err)
    assert (tmp_path / "two.json").read_text() == (tmp_path / "one.json").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--from", "H100"), "gpu_model: H100: the file has no cells of this GPU model. Choose one of: A100, V100."),
        (("--gpu-memory", "V100=32"), "--gpu-memory: V100=32: is not understood. Write MODEL=NUMBER with GiB or MiB"),
        (
            ("--algorithm", "grid"),
            "--algorithm: grid: is not one that learns from an earlier round. Use one that starts",
        ),
        (("--json", "nowhere/x.json"), "--json: nowhere/x.json: the directory nowhere does not exist. Create it."),
        (("--json", "."), "--json: .: is a directory. Name a file."),
    ],
)
def test_a_wrong_option_is_named_with_its_remedy(tmp_path: Path, options: tuple[str, str], message: str) -> None:
    """Nothing is replayed, and the exit code is that of bad input."""
    code, out, err = replay(make_landscapes(tmp_path), *options)
    assert (code, out) == (2, "")
    assert message in err


def test_a_wrong_line_is_named_with_its_remedy(tmp_path: Path) -> None:
    """The message has the file, the line, the column and the value."""
    path = write_file(tmp_path, "V100,vllm,m,1,8,ok,10", "A100,vllm,m,1,x,ok,10")
    code, out, err = replay(path)
    assert (code, out) == (2, "")
    assert "landscapes.csv, line 3, column batch_size: x: is not a whole number of at least 1. Correct it." in err


def test_models_on_one_of_the_gpus_alone_are_nothing_to_replay(tmp_path: Path) -> None:
    """The message names both options."""
    path = write_file(tmp_path, "V100,vllm,m,1,8,ok,10", "A100,hf,m,1,8,ok,10")
    code, _, err = replay(path)
    assert code == 2
    assert "--from, --to: V100, A100: no model works on both." in err
