"""What the names in a file of recorded landscapes say about engine, model and hardware."""

import pytest

from infpop_operator.replay.subjects import engine_key, engine_of_name, memory_mib_of_name, parameters_of_name


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Bloom-1b7", 1.7e9),
        ("Bloom-7b1", 7.1e9),
        ("Codellama-34b-hf", 34e9),
        ("Starcoder2-7b", 7e9),
        ("meta-llama/Llama-2-70b-hf", 70e9),
        ("facebook/opt-350m", 350e6),
        ("Llama-2-13B", 13e9),
        ("Qwen2.5-0.5B-Instruct", 0.5e9),
        ("mistralai/Mixtral-8x7B-v0.1", 45.92e9),
        ("Phi-1", None),
        ("gpt2", None),
        ("4bit-model", None),
    ],
)
def test_a_models_name_says_how_many_parameters_it_has(name: str, parameters: float | None) -> None:
    """A mixture of experts counts with all of them; a name without a size says nothing."""
    assert parameters_of_name(name) == parameters


@pytest.mark.parametrize(
    ("name", "gib"),
    [
        ("A100", 40),
        ("NVIDIA A100-SXM4-80GB", 80),
        ("V100", 32),
        ("Tesla V100-PCIE-16GB", 16),
        ("NVIDIA A10G", 24),
        ("NVIDIA H200", 141),
        ("AMD MI300X", 192),
        ("Intel PVC", 128),
        ("Habana Gaudi2", 96),
        ("some accelerator", None),
    ],
)
def test_a_gpus_name_says_how_much_memory_it_has(name: str, gib: int | None) -> None:
    """A size in the name wins; a name that is not known says nothing."""
    assert memory_mib_of_name(name) == (None if gib is None else gib * 1024)


def test_engines_are_known_by_several_names() -> None:
    """Those that InfPop does not have keep the name of the file."""
    names = ("vLLM", "hf", "transformers", "TensorRT-LLM")
    assert [engine_key(name) for name in names] == ["vllm", "hf", "hf", "tensorrt-llm"]
    assert [engine_of_name(name) for name in names] == ["vllm", "hf-pipeline", "hf-pipeline", None]
