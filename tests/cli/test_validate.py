"""`infpop validate` checks studies for this machine or for a cluster, several at once, for people and for programs."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner, Result

from infpop_operator.api.yaml_lines import line_of
from infpop_operator.cli.main import app
from local.local_studies import study_document, write_study

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))
STUDIES = [path for path in EXAMPLES if "kind: ThroughputStudy" in path.read_text()]
TEXT = """\
kind: ThroughputStudy
spec:
  searchSpace:
    batchSize: [1,
      0]
  nodePools:
  - name: a
  - {name: b}
"""


def invoke(*arguments: object, text: str | None = None) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=text)


def on_a_cluster(**spec: Any) -> str:  # noqa: ANN401 - values of YAML
    """Return a study for a cluster as YAML."""
    document = yaml.safe_load((ROOT / "examples" / "cluster" / "simulated.yaml").read_text())
    document["spec"] |= spec
    return yaml.safe_dump(document)


def test_studies_for_a_cluster_need_neither_its_hardware_nor_an_engine() -> None:
    """The examples for clusters are valid on a machine that has no GPU, all in one command."""
    done = invoke("validate", "--for", "cluster", *STUDIES)
    assert done.exit_code == 0, done.output
    assert [line.partition(": ")[0] for line in done.stdout.splitlines()] == [str(path) for path in STUDIES]


def test_what_a_pod_cannot_find_is_refused_for_a_cluster() -> None:
    """A relative path is valid on one machine only."""
    text = on_a_cluster(model={"name": "./model"})
    done = invoke("validate", "--for", "cluster", "-", text=text)
    assert done.exit_code == 2
    assert "standard input: cannot be tuned on a cluster." in done.stderr
    assert "spec.model.name: ./model: is a relative path, which a Pod cannot resolve" in done.stderr


def test_each_of_several_studies_is_judged(tmp_path: Path) -> None:
    """One wrong study makes the command fail, and the others are still summarised."""
    good, missing = write_study(tmp_path), tmp_path / "missing.yaml"
    done = invoke("validate", missing, good)
    assert done.exit_code == 2
    assert f"{good}: valid." in done.stdout
    assert f"{missing}: cannot be tuned here (--for cluster checks it for one)." in done.stderr


def test_programs_get_problems_with_their_lines() -> None:
    """Each has field, value, message, remedy and line; standard error stays empty."""
    done = invoke("validate", "--json", "-", text=on_a_cluster(budget={"maxTrials": -1}))
    (found,) = json.loads(done.stdout)
    (problem,) = found["problems"]
    assert (done.exit_code, done.stderr, found["valid"]) == (2, "", False)
    assert (problem["field"], problem["value"]) == ("spec.budget.maxTrials", "-1")
    assert "maxTrials" in on_a_cluster(budget={"maxTrials": -1}).splitlines()[problem["line"] - 1]


def test_problems_are_in_the_order_of_the_file() -> None:
    """A person who goes through a pasted Pod mends one line after the other."""
    pod = {"containers": [{"name": "main", "args": []}], "hostNetwork": True, "restartPolicy": "Never"}
    text = on_a_cluster(engine={"name": "vllm", "podTemplate": {"spec": pod}})
    found = json.loads(invoke("validate", "--for", "cluster", "--json", "-", text=text).stdout)
    lines = [problem["line"] for problem in found[0]["problems"]]
    assert len(lines) == 4
    assert lines == sorted(lines)


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("kind", 1),
        ("spec.searchSpace.batchSize[1]", 5),
        ("spec.nodePools[1].name", 8),
        ("spec.nodePools[0].price", 7),
        ("spec.nodePools[7]", 6),
        ("metadata.name", None),
    ],
)
def test_a_field_has_the_line_of_what_is_there_of_it(field: str, line: int | None) -> None:
    """A missing field has the line of its nearest parent."""
    assert line_of(TEXT, field) == line


def test_the_schema_accepts_every_example_and_refuses_a_mistyped_field() -> None:
    """Editors check a study with it while it is written."""
    validator = jsonschema.Draft202012Validator(json.loads(invoke("schema").stdout))
    for path in STUDIES:
        assert list(validator.iter_errors(yaml.safe_load(path.read_text()))) == [], path
    wrong = study_document() | {"spec": {**study_document()["spec"], "serchSpace": {}}}
    assert any("serchSpace" in error.message for error in validator.iter_errors(wrong))
