"""Studies from the field: which of them `infpop validate` accepts, and what it says of the others."""

from importlib.util import find_spec
from pathlib import Path
from shutil import copytree

import pytest

from factories.machines import make_machine
from infpop_operator.core.errors import StudyError
from infpop_operator.local.prepare import Prepared, prepare


@pytest.fixture
def studies(field: Path, tmp_path: Path) -> Path:
    """A copy of the studies with what they name; a model that is only a config.json becomes a directory."""
    for folder in ("studies", "models", "prompts"):
        copytree(field / folder, tmp_path / folder)
    for config in (tmp_path / "models").glob("*.json"):
        directory = config.with_suffix("")
        directory.mkdir()
        (directory / "config.json").write_bytes(config.read_bytes())
    return tmp_path / "studies"


def prepared(path: Path) -> Prepared:
    """Return the study as `infpop validate` prepares it, on a machine with two CPU cores."""
    return prepare(path, make_machine(), tiny_model=path.parent / "no-tiny-model")


@pytest.mark.parametrize(
    ("name", "module"), [("C01-mlp-not-divisible", "vllm"), ("C03-custom-tokenizer", "transformers"), ("Y01", "vllm")]
)
def test_a_study_that_can_run_is_accepted(studies: Path, name: str, module: str) -> None:
    """An odd MLP may work on one rank, custom code is allowed by the study, and JSON text is an argument."""
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    assert prepared(studies / f"{name}.yaml").study.space.gpu_counts


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "C04-pipeline-parallel",
            ("pipeline_parallel_size", "changes how many GPUs a run uses", "searchSpace.gpuCount"),
        ),
        ("C05-surrogate", ("spec.workload.source.file.path", "line 2 has half of a character")),
        ("Y02", ("spec.engine.args.compilation_config", "Write it as JSON in quotes: '{\"mode\": 3}'")),
        ("Y13", ("spec.nodePools[0].gpuResource: ", "amd.com/gpu", "spec.nodePools[1].gpuResource: ", "mig-1g.5gb")),
    ],
)
def test_a_study_that_cannot_run_is_refused_with_its_remedy(studies: Path, name: str, parts: tuple[str, ...]) -> None:
    """The message names the field, the value and what to write instead, before anything starts."""
    with pytest.raises(StudyError) as refused:
        prepared(studies / f"{name}.yaml")
    assert all(part in str(refused.value) for part in parts), str(refused.value)


def test_structured_arguments_reach_the_run_as_written(studies: Path) -> None:
    """The object of speculative decoding is one JSON text in the run's specification."""
    if find_spec("vllm") is None:
        pytest.skip("vllm is not installed")
    args = prepared(studies / "Y01.yaml").study.engine.args
    assert args == {"speculative_config": '{"method":"ngram","num_speculative_tokens":3,"prompt_lookup_max":3}'}
