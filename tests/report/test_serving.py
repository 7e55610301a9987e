"""The serving command, executed with hostile values: an argument stays one argument."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from factories.studies import make_study
from infpop_operator.core.engine_args import engine_args, engine_settings
from infpop_operator.core.study import Configuration
from infpop_operator.report.serving import render_serving
from infpop_runner.contract import EngineSpec

HOSTILE = [
    "a\nb",
    "a b  c",
    "'; touch pwned; '",
    '"$(touch pwned)`touch pwned`"',
    "\\",
    "\\\n",
    "--flag",
    "*",
    "!x",
    "~",
    "#",
    "\x1b[31m",
    "ü\u2028",
    "'''",
    '"""',
    "{0}%s",
    '{"a": {"b": [1, null, true, "x\'y"]}}',
]


def cell(value: str) -> Configuration:
    """Return a configuration with this value as an extra argument."""
    return Configuration(gpu_count=1, batch_size=8, extra=(("x_y", value),))


def serving_args(engine: EngineSpec, chosen: Configuration) -> tuple[str, ...]:
    """Return the arguments that a study with this engine shows for its best configuration."""
    study = make_study(engine=engine)
    return engine_args(engine_settings(study, study.pools[0]), chosen)


@pytest.mark.parametrize("value", HOSTILE)
def test_a_shell_passes_each_argument_unchanged(value: str, tmp_path: Path) -> None:
    """The command gives vLLM exactly the arguments of the best configuration, and runs nothing else."""
    program = tmp_path / "vllm"
    program.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    program.chmod(0o755)
    args = serving_args(EngineSpec(name="vllm"), cell(value))
    script = render_serving("vllm", value, args)
    assert script is not None
    done = subprocess.run(
        ["/bin/sh", "-c", script], cwd=tmp_path, env={"PATH": str(tmp_path)}, capture_output=True, check=True, text=True
    )
    assert json.loads(done.stdout) == ["serve", value, *args]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vllm"]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_program_passes_each_argument_unchanged(value: str) -> None:
    """The program calls the pipeline with the model's name and the values of the best configuration."""
    args = serving_args(EngineSpec(name="hf-pipeline"), cell(value))
    program = render_serving("hf-pipeline", value, args)
    assert program is not None
    seen: dict[str, object] = {}
    body = program.replace("from transformers import pipeline\n", "")
    exec(body, {"pipeline": lambda task, **given: seen.update(task=task, **given)})  # noqa: S102 - what a user does
    assert seen["model"] == value
    expected = {"a": {"b": [1, None, True, "x'y"]}} if value.startswith('{"a"') else value
    assert seen["model_kwargs"] == {"x_y": expected}


def test_structured_arguments_take_the_form_of_each_engine() -> None:
    """An object is JSON and a list several words for the command line of vLLM, and both are Python for a pipeline."""
    args = {"speculative_config": '{"method": "ngram"}', "sizes": '[1, "a"]', "trust_remote_code": True}
    chosen = Configuration(gpu_count=1, batch_size=8)
    vllm = serving_args(EngineSpec(name="vllm", args=args), chosen)
    assert vllm[-5:] == ('--speculative-config={"method": "ngram"}', "--sizes", "1", "a", "--trust-remote-code")
    pipeline = serving_args(EngineSpec(name="hf-pipeline", args=args), chosen)
    assert "trust_remote_code=True" in pipeline
    assert "model_kwargs={'speculative_config': {'method': 'ngram'}, 'sizes': [1, 'a']}" in pipeline
