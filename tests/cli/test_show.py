"""`infpop show`: one page for a result wherever it is, its notes, its rounds, and its exit codes."""

import json
import re
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.api_server import STUDIES, api_server
from infpop_operator.cli.main import app
from infpop_operator.core.errors import Problem
from report.retuned_studies import retuned
from report.study_objects import ended, make_document, refused
from upgrade.old_data import GOLDEN


def invoke(*arguments: object) -> Result:
    """Run the command line in this process, on a terminal of 80 columns."""
    return CliRunner().invoke(app, ["show", *map(str, arguments)], env={"COLUMNS": "80"})


def test_a_directory_of_an_earlier_version_has_its_page() -> None:
    """It is that of `infpop tune`, without an engine, and nothing goes to standard error."""
    result = invoke(GOLDEN / "local-finished")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "study: simulated, org/model" in result.stdout
    assert "Configuration  2 GPUs, batch size 8" in result.stdout
    assert f"Files          {str(GOLDEN)[:20]}" in result.stdout


def test_a_model_is_shown_as_the_directory_that_was_measured(tmp_path: Path) -> None:
    """A study names it relative to its file, or by a name that only InfPop knows: a server could not load that."""
    directory = Path(shutil.copytree(GOLDEN / "local-finished", tmp_path / "out"))
    lines = [json.loads(line) for line in (directory / "journal.jsonl").read_text().splitlines()]
    opened = next(line["round"] for line in lines if "round" in line)
    opened["subject"] = [["model", "/models/llama (contents 12ab34cd)"]]
    (directory / "journal.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert "study: simulated, /models/llama\n" in invoke(directory).stdout


def test_what_is_missing_is_said_beside_the_page(tmp_path: Path) -> None:
    """A crash may leave a part of the files."""
    directory = Path(shutil.copytree(GOLDEN / "local-finished", tmp_path / "out"))
    (directory / "status.json").unlink()
    result = invoke(directory)
    assert result.exit_code == 0
    assert (
        result.stderr == f"{directory}: status.json is missing; the state of the study is taken from journal.jsonl.\n"
    )
    assert "★ 1,000" in result.stdout


def test_a_journal_alone_is_no_study_that_waits_for_an_operator(tmp_path: Path) -> None:
    """A page would say that nothing was tried: the command that lists its trials is named instead."""
    (tmp_path / "journal.jsonl").write_bytes((GOLDEN / "local-finished" / "journal.jsonl").read_bytes())
    result = invoke(tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"infpop export {tmp_path} --format csv" in result.stderr


def test_a_study_of_a_cluster_is_shown_as_by_status(tmp_path: Path) -> None:
    """The account may not read ConfigMaps here, which costs a round nothing but its serving arguments."""
    forbidden = {"reason": "Forbidden", "message": 'User "u" cannot list resource "configmaps" in API group ""'}
    answers = {
        f"{STUDIES}/codellama": (200, retuned()),
        "/api/v1/namespaces/serving/configmaps": (403, forbidden),
    }
    with api_server(answers, tmp_path) as config:
        page = invoke("study/codellama", "--kubeconfig", config)
        first = invoke("study/codellama", "--kubeconfig", config, "--round", 1)
        as_json = invoke("study/serving/codellama", "--kubeconfig", config, "--round", 1, "--pool", "a100", "--json")
    assert (page.exit_code, first.exit_code, as_json.exit_code) == (0, 0, 0)
    assert "you may not read ConfigMaps" in page.stderr
    assert "kubectl logs" not in page.stdout
    assert "Round 1 of pool a100" in first.stdout
    assert {row["round"] for row in json.loads(as_json.stdout)["trials"]} == {1}


def test_ages_are_by_the_clock_of_the_api_server(tmp_path: Path) -> None:
    """A laptop whose clock is years off shows the same page."""
    body = ended()
    times = [datetime.fromisoformat(each["lastTransitionTime"]) for each in body["status"]["conditions"]]
    with api_server({f"{STUDIES}/codellama": (200, body)}, tmp_path, now=max(times) + timedelta(seconds=90)) as config:
        page = invoke("study/codellama", "--kubeconfig", config)
    assert re.search(r"Succeeded 1:[23]\d ago", page.stdout), page.stdout


def test_json_is_the_status_as_it_was_read(tmp_path: Path) -> None:
    """A script also gets the fields of other versions."""
    status = {**ended()["status"], "ofANewerVersion": 1}
    (tmp_path / "codellama.json").write_text(json.dumps({**ended(), "status": status}))
    assert json.loads(invoke(tmp_path / "codellama.json", "--json").stdout) == status


def test_a_study_that_cannot_continue_has_its_exit_code(tmp_path: Path) -> None:
    """As for `infpop status`: 3, also for a study that the operator refused."""
    problem = Problem(field="spec.x", value="1", message="is wrong", remedy="Correct it")
    (tmp_path / "codellama.json").write_text(json.dumps(refused(make_document(), problem)))
    result = invoke(tmp_path / "codellama.json")
    assert result.exit_code == 3
    assert "Refused" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: cannot be shown.\n  nowhere: does not exist. Name a directory of infpop tune"),
        (
            [GOLDEN / "local-finished", "--round", 2],
            "--round: 2: there is no such round. Choose one of these pools and",
        ),
        ([GOLDEN / "local-finished", "--context", "x"], "only a study on a cluster has a context"),
        (["study/X"], "'X' is not a valid study name"),
    ],
)
def test_what_cannot_be_shown_is_bad_input(arguments: list[object], message: str) -> None:
    """The message says what to name instead, and nothing is printed."""
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
