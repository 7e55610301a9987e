"""The commands of the chart's Pods exist in the images."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from charts.helm import of_kind, rendered
from charts.values import EVERYTHING
from engines.specs import make_simulated_spec
from infpop_operator.cli.main import app

# Missing from the operator's image; see Dockerfile.operator.
ABSENT = ("accelerate", "datasets", "matplotlib", "pynvml", "torch", "transformers", "vllm")
PROGRAM = f"""
import sys
for name in {ABSENT!r}:
    sys.modules[name] = None
from infpop_runner.main import main
sys.exit(main())
"""


@pytest.mark.cluster
def test_commands_are_understood() -> None:
    """The operator's Pod and the Pod of `helm test` use arguments that the command line accepts."""
    documents = rendered(values=EVERYTHING)
    (deployment,), (pod,) = of_kind(documents, "Deployment"), of_kind(documents, "Pod")
    for spec in (deployment["spec"]["template"]["spec"], pod["spec"]):
        program, *arguments = spec["containers"][0]["command"]
        assert program == "infpop"
        assert CliRunner().invoke(app, [*arguments, "--help"]).exit_code == 0
        assert CliRunner().invoke(app, [*arguments, "--no-such-option", "--help"]).exit_code != 0


@pytest.mark.process
def test_the_operators_image_can_run_the_study_of_the_test(tmp_path: Path) -> None:
    """`helm test` pulls no engine: the operator's image suffices for a simulated run."""
    result = tmp_path / "result.json"
    environment = {"INFPOP_RUN_SPEC": make_simulated_spec().model_dump_json(), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--result", str(result)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    trials = json.loads(result.read_text())["trials"]
    assert {trial["outcome"] for trial in trials} == {"measured"}
