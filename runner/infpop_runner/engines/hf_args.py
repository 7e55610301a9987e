"""Build the arguments of transformers' `pipeline` from a run spec alone."""

from infpop_runner.contract import PINNED_ARGUMENTS, RunSpec
from infpop_runner.engines.errors import EngineRefusedError
from infpop_runner.engines.protocol import Scalar


def build_pipeline_args(spec: RunSpec) -> dict[str, Scalar]:
    """Return the keyword arguments of `pipeline`, without the run's `engine.args`, which go to the model.

    On GPUs `device_map="auto"` spreads the layers over the visible devices. This is not tensor parallelism: one device
    works at a time.

    Raises:
        EngineRefusedError: more than one device on a CPU, or the user sets an argument that InfPop pins.
    """
    if spec.device == "cpu" and spec.gpu_count > 1:
        raise EngineRefusedError(
            "UnsupportedGpuCount", f"a transformers pipeline on the CPU is one device, gpu_count is {spec.gpu_count}"
        )
    if pinned := sorted(PINNED_ARGUMENTS & spec.engine.args.keys()):
        raise EngineRefusedError("RejectedArguments", f"engine.args: {', '.join(pinned)} is set by InfPop; remove it")
    args: dict[str, Scalar] = {"task": "text-generation", "dtype": spec.model.dtype}
    args |= {"device_map": "auto"} if spec.device == "cuda" else {"device": "cpu"}
    return args if spec.model.revision is None else args | {"revision": spec.model.revision}


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
