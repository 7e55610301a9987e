"""The examples of docs/export.md are what `infpop export` prints for one study."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.api_server import STUDIES, api_server
from infpop_operator.cli.commands_results import ExportFormat
from infpop_operator.cli.main import app
from infpop_operator.export.formats import FORMATS
from report.study_objects import Body, ended

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
EXAMPLES = re.findall(r"```console\n\$ (infpop export [^\n]*)\n(.*?)```(?:\n\n```yml\n(.*?)```)?", PAGE, re.DOTALL)
NAME = "codellama-7b"


def documented_study() -> Body:
    """Return the study of the page."""
    body = ended(model={"name": "codellama/CodeLlama-7b-hf"})
    body["metadata"] |= {"name": NAME}
    *first, memory = body["status"]["best"]["engineArgs"]
    extra = '--speculative-config={"method": "ngram", "num_speculative_tokens": 4}'
    body["status"]["best"] |= {"engineArgs": [*first, "--max-model-len=4096", memory, extra], "maxModelLen": 4096}
    for row in body["status"]["pools"]:
        row["image"] = "registry.example.com/infpop-runner:0.19.1"
    return body


@pytest.mark.parametrize(("command", "printed", "part"), EXAMPLES)
def test_an_example_is_what_the_command_prints(command: str, printed: str, part: str, tmp_path: Path) -> None:
    """The block under a command is its output, or a part of it, character by character."""
    with api_server({f"{STUDIES}/{NAME}": (200, documented_study())}, tmp_path) as config:
        done = CliRunner().invoke(app, [*shlex.split(command)[1:], "--kubeconfig", config])
    assert done.exit_code == 0, done.stderr
    assert printed in done.stdout
    assert part in done.stdout


def test_every_format_is_documented() -> None:
    """The table has every format, and each but the published values.yaml has an example."""
    with_example = {ExportFormat(re.search(r"--format (\S+)", command)[1]) for command, _, _ in EXAMPLES}
    assert set(FORMATS) - with_example == {ExportFormat.HELM_VALUES}
    assert [form for form in FORMATS if f"| `{form}` |" not in PAGE] == []


def test_the_facts_are_named_with_their_sources() -> None:
    """Each list of another project's fields says where it was read and at which version."""
    folder = Path(__file__).parents[1] / "export" / "facts"
    for file in folder.iterdir():
        facts = json.loads(file.read_text())
        assert "github.com" in facts["source"]
        assert re.search(r"[0-9a-f]{40}", facts["version"])
