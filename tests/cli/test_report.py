"""The command `infpop report`, and the report that `infpop tune` writes at its end."""

import csv
import json
import sys
from pathlib import Path

import pytest

from html_report.contents import two_of_all
from infpop_operator.adapters.score_file import read_scores
from infpop_operator.cli import report
from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.cli.report import write_report
from infpop_operator.core.errors import ReportError
from local.local_studies import run_infpop, write_study

LANDSCAPE = """gpu_model,engine,model,gpu_count,batch_size,outcome,throughput_tokens_per_second
A100,vllm,m-7b,1,1,ok,100
A100,vllm,m-7b,1,2,infeasible,
A100,vllm,m-7b,2,1,ok,150
V100,vllm,m-7b,1,1,ok,50
"""


def make(tmp_path: Path, *sources: str, **options: object) -> ExitCode:
    """Run the command on a landscape of two GPU models."""
    (tmp_path / "cells.csv").write_text(LANDSCAPE)
    defaults: dict[str, object] = {
        "output": tmp_path / "report", "scores": None, "batch_size": 1, "prices": [], "figures": False, "force": False,
        "namespace": None, "context": None, "kubeconfig": None,
    }  # fmt: skip
    return report.run(list(sources) or [str(tmp_path / "cells.csv")], **(defaults | options))  # type: ignore[arg-type]


def test_a_report_is_a_page_statistics_and_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints the path of the page, and everything else lies beside it."""
    assert make(tmp_path) is ExitCode.FOUND
    assert capsys.readouterr().out == f"{tmp_path / 'report' / 'index.html'}\n"
    found = {str(path.relative_to(tmp_path / "report")) for path in (tmp_path / "report").rglob("*.*")}
    tables = {f"tables/{name}.csv" for name in ("trials", "rounds", "best", "alternatives")}
    assert found == {"index.html", "statistics.json", ".infpop-report.json", *tables}
    statistics = json.loads((tmp_path / "report" / "statistics.json").read_text())
    assert {"question", "test", "n", "statistic", "p_value", "p_corrected", "effect"} <= statistics[0].keys()


def test_a_price_gives_costs(tmp_path: Path) -> None:
    """A price of one GPU model and one of all others: GPUs * price / (tokens/s * 3600) * 1,000,000."""
    make(tmp_path, prices=["3.6", "V100=1.8"])
    with (tmp_path / "report" / "tables" / "best.csv").open(newline="") as stream:
        costs = {row["gpu_model"]: float(row["cost_per_million_tokens"]) for row in csv.DictReader(stream)}
    assert costs == pytest.approx({"A100": 3.6 * 2 / (150 * 3600) * 1e6, "V100": 1.8 / (50 * 3600) * 1e6})


def test_a_price_of_no_gpu_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelled GPU model would be a report without costs, and without a word."""
    assert make(tmp_path, prices=["a100=3.6"]) is ExitCode.BAD_INPUT
    assert "--price: a100: no trial has this GPU model. Use one of: A100, V100." in capsys.readouterr().err


@pytest.mark.parametrize("price", ["", "a", "A100=", "-1", "0", "nan", "inf", "A100=3,67"])
def test_what_is_no_price_is_refused(tmp_path: Path, price: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the option, the value and the form of a price; nothing is written."""
    assert make(tmp_path, prices=[price]) is ExitCode.BAD_INPUT
    assert f"--price: {price}: is no price. Write a number above 0, or GPU=NUMBER" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_a_source_that_does_not_exist_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad input, and no directory is left."""
    assert make(tmp_path, "missing.csv") is ExitCode.BAD_INPUT
    assert "missing.csv" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,score\nm,1\n", "lacks the columns model"),
        ("model,score\nm,1\nm,2\n", "line 3: m: is named twice"),
        ("model,score\nm,good\n", "line 2, score: good: is no number"),
        ("model,score\nm,nan\n", "line 2, score: nan: is no number"),
        ("model,score\nm\n", "line 2, score: : is no number"),
        ("\udcff", "cannot be read"),
    ],
)
def test_a_wrong_score_is_named(tmp_path: Path, text: str, message: str) -> None:
    """The message has file, line and remedy."""
    path = tmp_path / "scores.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ReportError) as caught:
        read_scores(path)
    assert message in str(caught.value)


def test_scores_are_read(tmp_path: Path) -> None:
    """A model that is not in the results does no harm."""
    path = tmp_path / "scores.csv"
    path.write_text("\ufeffscore,model\n41.5,a-1b\n3e1,other\n")
    assert read_scores(path) == {"a-1b": 41.5, "other": 30.0}
    write_report(two_of_all(), tmp_path / "report", scores=read_scores(path), has_figures=False)
    assert '"score":41.5' in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.process
def test_tune_ends_with_a_report_beside_its_results(tmp_path: Path) -> None:
    """It names the page, and the figures of the one landscape lie beside it; a second report replaces the first."""
    study = write_study(tmp_path)
    for _ in range(2):
        done = run_infpop("tune", study, "--output", "out", "--report", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith("Report: out/report/index.html\n")
    figures = [path.name for path in (tmp_path / "out" / "report" / "figures").iterdir()]
    assert {Path(name).suffix for name in figures} == {".png", ".svg"}
    assert any(name.startswith("landscape-") for name in figures)


@pytest.mark.process
def test_a_report_that_cannot_be_written_fails_no_study(tmp_path: Path) -> None:
    """The study has found its best: exit code 0, its page and status, and one line that says how to get the report."""
    study = write_study(tmp_path)
    assert run_infpop("tune", study, "--output", "out", cwd=tmp_path).returncode == 0
    (tmp_path / "out" / "report").write_text("a file in the way")
    done = run_infpop("tune", study, "--output", "out", "--report", cwd=tmp_path)
    assert done.returncode == 0
    assert "Best configuration found" in done.stdout
    assert "Report: not written (--output: out/report: is not a directory" in done.stdout
    assert "The results are complete; write it with: infpop report out --output out/report" in done.stdout


def test_without_the_extra_tune_says_how_to_get_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names the extra and the command that writes the report afterwards."""
    from infpop_operator.cli import tune  # noqa: PLC0415 - its import is slow

    monkeypatch.delitem(sys.modules, "infpop_operator.cli.report")
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    line = tune._report(tmp_path)
    assert line.startswith(
        "Report: needs plotly. Run: pip install '.[report]' in a checkout of InfPop, then: infpop report"
    )
