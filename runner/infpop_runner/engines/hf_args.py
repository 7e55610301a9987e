"""Build the arguments of transformers' `pipeline`, model and tokenizer from a run spec alone."""

from typing import Any

from infpop_runner.contract import PIPELINE_HUB_ARGUMENTS, RunSpec
from infpop_runner.engines.errors import EngineRefusedError
from infpop_runner.engines.protocol import Scalar
from infpop_runner.engines.user_args import engine_values, refuse_pinned, trusts_remote_code

_FILE_ARGUMENTS = ("cache_dir", "local_files_only", "subfolder")


def build_pipeline_args(spec: RunSpec) -> dict[str, Scalar]:
    """Return the keyword arguments of `pipeline`, without those of `build_model_args`.

    On GPUs `device_map="auto"` spreads the layers over the visible devices. This is not tensor parallelism: one device
    works at a time.

    Raises:
        EngineRefusedError: more than one device on a CPU, or the user sets an argument that InfPop pins.
    """
    if spec.device == "cpu" and spec.gpu_count > 1:
        raise EngineRefusedError(
            "UnsupportedGpuCount", f"a transformers pipeline on the CPU is one device, gpu_count is {spec.gpu_count}"
        )
    refuse_pinned(spec)
    args: dict[str, Scalar] = {"task": "text-generation", "dtype": spec.model.dtype}
    args |= {"device_map": "auto"} if spec.device == "cuda" else {"device": "cpu"}
    return args | build_hub_args(spec)


def build_hub_args(spec: RunSpec) -> dict[str, Scalar]:
    """Return the arguments that configuration, tokenizer and model have in common.

    Custom code is allowed or forbidden explicitly: by default transformers would wait for an answer on the terminal.
    """
    args = {name: spec.engine.args[name] for name in PIPELINE_HUB_ARGUMENTS if name in spec.engine.args}
    args |= {"trust_remote_code": trusts_remote_code(spec)}
    return args if spec.model.revision is None else args | {"revision": spec.model.revision}


def build_tokenizer_args(spec: RunSpec) -> dict[str, Scalar]:
    """Return the keyword arguments with which the tokenizer of the model is loaded."""
    files = {name: spec.engine.args[name] for name in _FILE_ARGUMENTS if name in spec.engine.args}
    return {**build_hub_args(spec), **files, "padding_side": "left"}


def build_model_args(spec: RunSpec) -> dict[str, Any]:
    """Return the run's `engine.args` that go to the model, as transformers takes them.

    Raises:
        EngineRefusedError: a value is written as an object or a list, but is not JSON.
    """
    return {name: value for name, value in engine_values(spec).items() if name not in PIPELINE_HUB_ARGUMENTS}


def build_generation_args(spec: RunSpec, *, pad_token_id: int) -> dict[str, Scalar]:
    """Return the keyword arguments of each generation: greedy, with exactly `max_new_tokens` ids per sequence."""
    tokens = spec.workload.max_new_tokens
    return {
        "do_sample": False,
        "num_beams": 1,
        "max_new_tokens": tokens,
        "min_new_tokens": tokens,
        "pad_token_id": pad_token_id,
        "return_tensors": True,
    }
