"""What a real engine's runner refuses before it loads a model, and what reaches the engine as it was meant."""

import json
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engines.specs import make_run_spec
from infpop_operator.adapters.installed_engine import engine_arguments
from infpop_runner.contract import Infeasible, Measured, RunResult
from runner.launch import launch

TINY_MODEL = "infpop_runner.engines.tiny_model"  # loads torch, so not at module level
TOKENIZER = "from transformers import PreTrainedTokenizerFast\nclass Tiny(PreTrainedTokenizerFast):\n    pass\n"
TRUST = {"trust_remote_code": True}
ENGINES = ("vllm", "hf-pipeline")

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with random weights, written once."""
    directory: Path = tmp_path_factory.mktemp("model") / "tiny"
    import_module(TINY_MODEL).write_tiny_model(directory)
    return directory


def with_own_tokenizer(model: Path, directory: Path) -> Path:
    """Return a copy of the model whose tokenizer is code in its own directory."""
    shutil.copytree(model, directory)
    (directory / "tokenization_own.py").write_text(TOKENIZER)
    path = directory / "tokenizer_config.json"
    own = {"tokenizer_class": "Tiny", "auto_map": {"AutoTokenizer": [None, "tokenization_own.Tiny"]}}
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    return directory


def run(directory: Path, model: Path, engine: str, **changes: Any) -> RunResult:  # noqa: ANN401 - fields of a spec
    """Return the result of a run of this model."""
    args = {"name": engine, "args": changes.pop("args", {})}
    with launch(make_run_spec(model={"name": str(model)}, engine=args, **changes), directory) as running:
        return running.finish()


def refusal(result: RunResult) -> Infeasible:
    """Return the only trial, refused before a load."""
    (trial,) = result.trials
    assert isinstance(trial, Infeasible), (trial, result.broken)
    assert result.load_seconds is None
    return trial


@pytest.mark.parametrize("engine", ENGINES)
def test_a_tokenizer_with_code_of_its_own_needs_leave(tmp_path: Path, model: Path, engine: str) -> None:
    """The study's answer reaches the tokenizer of both engines; without it the run is refused at once."""
    own = with_own_tokenizer(model, tmp_path / "own")
    refused = refusal(run(tmp_path, own, engine))
    assert refused.reason == "RejectedArguments"
    assert "trust_remote_code" in refused.detail
    (tmp_path / "second").mkdir()
    (trial,) = run(tmp_path / "second", own, engine, args=TRUST).trials
    assert isinstance(trial, Measured), trial


@pytest.mark.parametrize(
    ("engine", "name", "meant"), [("vllm", "blok_size", "block_size"), ("hf-pipeline", "use_kernel", "use_kernels")]
)
def test_an_argument_that_the_engine_lacks_is_refused(
    tmp_path: Path, model: Path, engine: str, name: str, meant: str
) -> None:
    """The runner names the argument that was meant, before it loads anything."""
    refused = refusal(run(tmp_path, model, engine, args={name: 16}))
    assert refused.reason == "RejectedArguments"
    assert f"engine.args.{name} is not an argument of" in refused.detail
    assert f"Did you mean {meant}?" in refused.detail


def test_a_key_that_a_structure_of_vllm_lacks_is_refused(tmp_path: Path, model: Path) -> None:
    """VLLM 0.32 leaves out an unknown key of such an object silently: the run would measure something else."""
    refused = refusal(run(tmp_path, model, "vllm", args={"compilation_config": '{"moode": 0}'}))
    assert refused.reason == "RejectedArguments"
    assert "engine.args.compilation_config.moode is not an argument of vLLM" in refused.detail
    assert "Did you mean mode?" in refused.detail


@pytest.mark.parametrize("engine", ENGINES)
def test_prompts_longer_than_the_context_are_refused(tmp_path: Path, model: Path, engine: str) -> None:
    """The numbers of tokens and of positions are said before a load."""
    workload = {"source": {"kind": "synthetic", "prompt_tokens": 4096}}
    refused = refusal(run(tmp_path, model, engine, workload=workload))
    assert refused.reason == "RejectedArguments"
    assert "the longest prompt has 4096 tokens" in refused.detail
    assert "4100 positions, the model has 4096" in refused.detail


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_that_the_engine_does_not_know_is_refused(tmp_path: Path, model: Path, engine: str) -> None:
    """The engine's own list decides, and the remedy is about the engine, not about its arguments."""
    unknown = tmp_path / "unknown"
    shutil.copytree(model, unknown)
    config = json.loads((unknown / "config.json").read_text())
    (unknown / "config.json").write_text(
        json.dumps(config | {"architectures": ["TinyllmForCausalLM"], "model_type": "tinyllm"})
    )
    refused = refusal(run(tmp_path, unknown, engine))
    assert refused.reason == "UnsupportedModel"
    assert "is a TinyllmForCausalLM, which" in refused.detail


def test_an_object_reaches_vllm_as_an_object(tmp_path: Path, model: Path) -> None:
    """JSON of the study becomes the engine's own structure, and the result records it as text."""
    text = '{"max_position_embeddings": 64}'
    args = {"hf_overrides": text, "compilation_config": '{"mode": 0}'}
    result = run(tmp_path, model, "vllm", args=args)
    (trial,) = result.trials
    assert isinstance(trial, Measured), trial
    assert result.provenance.engine_args["hf_overrides"] == text
    (tmp_path / "long").mkdir()
    long = {"source": {"kind": "synthetic", "prompt_tokens": 61}}
    assert "the model has 64" in refusal(run(tmp_path / "long", model, "vllm", args=args, workload=long)).detail


def test_models_of_plugins_and_of_transformers_are_served_by_vllm() -> None:
    """The registry's tables of generating models count, and what plugins added; embedding models do not."""
    check = import_module("infpop_runner.engines.model_check")
    tables = {"_TEXT_GENERATION_MODELS": {"A": 1}, "_VLLM_MODELS": {"A": 1, "BertModel": 1}}
    known = check.vllm_known("1", SimpleNamespace(**tables), lambda: {"A", "BertModel", "PluginForCausalLM"})
    assert {"A", "PluginForCausalLM", "LlamaForCausalLM"} <= known.architectures
    assert "BertModel" not in known.architectures
    assert check.vllm_known("1", SimpleNamespace(), set).architectures == frozenset()
    assert "llama" in check.pipeline_known("1").model_types


@pytest.mark.parametrize(
    ("engine", "asked"), [("vllm", "vllm_offline.llm_arguments"), ("hf-pipeline", "hf_pipeline.model_arguments")]
)
def test_the_installed_engine_has_the_arguments_that_its_source_shows(engine: str, asked: str) -> None:
    """What `infpop validate` reads from the files is what the runner asks the imported engine for."""
    module, _, function = asked.partition(".")
    program = f"from infpop_runner.engines.{module} import {function}; print('|'.join({function}()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    names = done.stdout.splitlines()[-1].split("|")
    assert engine_arguments(engine) == {name for name in names if not name.startswith("_")} - {"self", "kwargs"}
