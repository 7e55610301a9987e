"""The command `infpop compare`: what it prints, at which widths, and its exit codes."""

import json
from pathlib import Path

import pytest
from rich.cells import cell_len

from infpop_operator.cli import compare
from infpop_operator.cli.exit_codes import ExitCode

HEADER = "gpu_model,engine,model,gpu_count,batch_size,outcome,throughput_tokens_per_second"
MODEL = "an-owner/a-rather-long-model-name-of-13b-parameters-instruct"


def write(directory: Path, name: str, factor: float, workload: str = "128") -> str:
    """Write a landscape of two GPU models and return its path."""
    lines = [f"{HEADER},input_tokens"]
    for gpu, speed in (("V100", 1.0), ("NVIDIA-A100-SXM4-40GB", 123.456)):
        for gpus in (1, 2, 4, 8):
            for batch in (1, 16, 1024):
                rate = f"ok,{speed * factor * gpus * batch}" if (gpus, batch) != (1, 1024) else "infeasible,"
                lines.append(f"{gpu},vllm,{MODEL},{gpus},{batch},{rate},{workload}")
    path = directory / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def run(first: str, second: str, *, as_json: bool = False) -> ExitCode:
    """Run the command without a cluster."""
    return compare.run(first, second, namespace=None, context=None, kubeconfig=None, as_json=as_json)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_width_cuts_a_number_or_a_line(
    width: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line fits, and the numbers of both sides stand in it whole."""
    monkeypatch.setenv("COLUMNS", str(width))
    path = write(tmp_path, "a.csv", 1.5)
    assert run(f"{path}#gpu-model=V100", f"{path}#gpu-model=nvidia-a100-sxm4-40gb") is ExitCode.FOUND
    printed = capsys.readouterr().out
    assert max(map(cell_len, printed.splitlines())) <= width
    assert "…" not in printed
    best = next(line.split() for line in printed.splitlines() if "8 x 1024" in line)
    assert best[-1] == "123"
    assert {"12,288", "1,517,027"} <= set(best)
    assert "11 pairs: B is 123 times A in the geometric mean" in " ".join(printed.split())


def test_a_file_has_no_lines_of_spaces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not a terminal has no width, and nothing is filled up to it."""
    monkeypatch.delenv("COLUMNS", raising=False)
    path = write(tmp_path, "a.csv", 1.5)
    assert run(f"{path}#gpu-model=V100", f"{path}#gpu-model=nvidia-a100-sxm4-40gb") is ExitCode.FOUND
    assert len(capsys.readouterr().out) < 5000


def test_a_directory_is_named_by_its_end_in_the_narrow_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its whole path stands over its cells, so the column needs only what tells it from others."""
    monkeypatch.setenv("COLUMNS", "80")
    path = Path(write(tmp_path, "a.csv", 1.5))
    path.write_text(path.read_text().replace(MODEL, "/home/user/.cache/infpop/models/tiny-llama"))
    assert run(f"{path}#gpu-model=V100", f"{path}#gpu-model=V100") is ExitCode.FOUND
    printed = capsys.readouterr().out
    assert any(line.startswith("tiny-llama") for line in printed.splitlines())
    assert printed.count("/home/user/.cache/infpop/models/tiny-llama") == 1


def test_what_must_not_be_compared_is_refused_with_an_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says what differs, and no number is printed."""
    code = run(write(tmp_path, "a.csv", 1), write(tmp_path, "b.csv", 2, workload="512"))
    assert code is ExitCode.NO_RECOMMENDATION
    assert "workload: in 128 against in 512" in capsys.readouterr().out


def test_json_has_every_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers are numbers, and an unknown interval is null."""
    assert run(write(tmp_path, "a.csv", 1), write(tmp_path, "b.csv", 2), as_json=True) is ExitCode.FOUND
    document = json.loads(capsys.readouterr().out)
    assert document["comparable"] is True
    assert [pair["ratio"] for pair in document["cells"]] == [2.0] * 22
    assert document["cells"][0]["ratio_interval"] is None


def test_a_bad_side_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the value and what there is."""
    path = write(tmp_path, "a.csv", 1)
    assert run(path, f"{path}#gpu-model=H100") is ExitCode.BAD_INPUT
    assert "gpu-model=H100: no trial has it. Choose one of: NVIDIA-A100-SXM4-40GB, V100." in capsys.readouterr().err
