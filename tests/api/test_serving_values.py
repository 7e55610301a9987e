"""The values that delivery tools read: flat variables, and the values of a Helm release."""

import json
import re
import shlex
from dataclasses import replace

import pytest
import yaml

from factories.study_documents import make_study_document
from infpop_operator.api.parse import parse_object
from infpop_operator.api.serving_values import VARIABLES, ServingValues, render_values, serving_values, variables
from infpop_operator.api.status_model import Best

ARGS = [
    "--tensor-parallel-size=4",
    "--max-num-seqs=64",
    "--max-num-batched-tokens=8192",
    "--max-model-len=612",
    "--gpu-memory-utilization=0.85",
    "--dtype=float16",
    "--revision=main",
]
BEST = Best(
    pool="a100",
    round=2,
    gpu_count=4,
    batch_size=64,
    throughput="4312.5",
    throughput_per_gpu="1078.12",
    spread="0.01",
    max_model_len=612,
    run="study-7",
    engine_args=ARGS,
)
# Texts that some reader of a shell, of YAML or of Kubernetes' own variables takes for something else.
HOSTILE = ("a b", "'", '"', "$(HOME)", "$$", "${X}", "a: b # c", "[x", "\\", "ü", "\u2028", "\x85", "*&!%@`", "-", "{}")


def values_of(*args: str, engine: str = "vllm", **changes: object) -> ServingValues:
    """Return the values of a study with these arguments, by default those of vLLM on four GPUs."""
    body = make_study_document("study", "serving", engine={"name": engine})
    body["metadata"] |= {"uid": "u", "generation": 1}
    best = BEST.model_copy(update={"engine_args": list(args or ARGS)})
    image = "registry.example.com/vllm@sha256:1"
    found = serving_values(parse_object(body), best, gpu_product="NVIDIA-A100-SXM4-40GB", engine_image=image)
    return replace(found, **changes)


def test_every_value_of_a_result_is_a_variable() -> None:
    """The keys are those that the documentation lists, and each value is a text."""
    found = variables(values_of(reused_from="other"))
    assert tuple(found) == VARIABLES
    assert json.loads(found.pop("ARGS_JSON")) == ARGS
    assert shlex.split(found.pop("ARGS_SHELL")) == ARGS
    assert found == {
        "STUDY": "study",
        "POOL": "a100",
        "ROUND": "2",
        "MODEL": "example/model",
        "MODEL_REVISION": "main",
        "ENGINE": "vllm",
        "ENGINE_IMAGE": "registry.example.com/vllm@sha256:1",
        "GPU_COUNT": "4",
        "GPU_RESOURCE": "nvidia.com/gpu",
        "GPU_PRODUCT": "NVIDIA-A100-SXM4-40GB",
        "BATCH_SIZE": "64",
        "TENSOR_PARALLEL_SIZE": "4",
        "MAX_NUM_SEQS": "64",
        "MAX_NUM_BATCHED_TOKENS": "8192",
        "MAX_MODEL_LEN": "612",
        "GPU_MEMORY_UTILIZATION": "0.85",
        "DTYPE": "float16",
        "THROUGHPUT": "4312.5",
        "THROUGHPUT_PER_GPU": "1078.12",
        "REUSED_FROM": "other",
    }


def test_every_name_is_one_that_flux_and_a_shell_take() -> None:
    """Flux refuses all variables if one name has another character, such as the dot of a file name."""
    assert all(re.fullmatch("[A-Z_][A-Z0-9_]*", name) for name in VARIABLES)


def test_a_value_that_does_not_exist_is_left_out() -> None:
    """An empty text would be taken for a value."""
    pipeline = values_of("batch_size=64", "dtype='auto'", engine="hf-pipeline", gpu_product=None, engine_image=None)
    absent = set(VARIABLES) - variables(pipeline).keys()
    assert absent == {
        "ENGINE_IMAGE",
        "GPU_PRODUCT",
        "MODEL_REVISION",
        "TENSOR_PARALLEL_SIZE",
        "MAX_NUM_SEQS",
        "MAX_NUM_BATCHED_TOKENS",
        "MAX_MODEL_LEN",
        "GPU_MEMORY_UTILIZATION",
        "REUSED_FROM",
    }
    without = {"image", "gpuProduct", "modelRevision", "reusedFrom"}
    assert yaml.safe_load(render_values(pipeline))["infpop"].keys().isdisjoint(without)
    assert yaml.safe_load(render_values(values_of(reused_from="other")))["infpop"]["reusedFrom"] == "other"


@pytest.mark.parametrize("text", HOSTILE)
def test_an_argument_stays_one_argument(text: str) -> None:
    """In YAML after Flux put it there, in a shell, and in the values of a Helm release."""
    values = values_of("--x", text, f"--y={text}")
    found = variables(values)
    assert "\n" not in found["ARGS_JSON"]
    assert shlex.split(found["ARGS_SHELL"]) == list(values.args)
    in_yaml = yaml.safe_load(f"args: {found['ARGS_JSON']}\nafter: 1\n")
    assert in_yaml["after"] == 1
    assert [expanded(each) for each in in_yaml["args"]] == list(values.args)
    assert yaml.safe_load(render_values(values))["infpop"]["args"] == list(values.args)


def expanded(text: str) -> str:
    """Return an element of a container's args as Kubernetes passes it on, without any variable."""
    return re.sub(r"\$(\$|\([^)]*\))", lambda found: "$" if found.group(1) == "$" else "", text)


def test_the_values_of_a_helm_release_are_under_one_key() -> None:
    """A chart that does not know InfPop has no value of that name; numbers are numbers, and texts are texts."""
    found = yaml.safe_load(render_values(values_of()))
    assert list(found) == ["infpop"]
    own = found["infpop"]
    assert own["args"] == ARGS
    assert (own["gpuCount"], own["gpuResource"], own["throughput"]) == (4, "nvidia.com/gpu", "4312.5")
    assert own["arguments"]["max_model_len"] == 612
    assert own["arguments"]["gpu_memory_utilization"] == 0.85


@pytest.mark.parametrize("text", ["12e4567", "0x1f", "1_000", "yes", "Off", "n", "~", "null", "1.0", "-", "2026-01-01"])
def test_a_text_that_looks_like_something_else_is_quoted(text: str) -> None:
    """Readers of YAML disagree on them; a revision such as 12e4567 would be a number."""
    assert f'modelRevision: "{text}"' in render_values(values_of(model_revision=text))
