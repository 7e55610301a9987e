"""Arguments of transformers' `pipeline`, built from a run and nothing else."""

from infpop_runner.contract import PINNED_ARGUMENTS, RunSpec
from infpop_runner.engines.errors import EngineRefusedError
from infpop_runner.engines.protocol import Scalar


def build_pipeline_args(spec: RunSpec) -> dict[str, Scalar]:
    """Return the keyword arguments of `pipeline`; the run's own `engine.args` go to the model and are not in here.

    On GPUs `device_map="auto"` spreads the layers over the visible devices. That is no tensor parallelism: one device
    works at a time.

    Raises:
        EngineRefusedError: more than one device on a CPU, or an argument of the user that InfPop pins.
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
    """Return the keyword arguments of each generation: greedy, and exactly `max_new_tokens` ids for each sequence."""
    tokens = spec.workload.max_new_tokens
    return {
        "do_sample": False,
        "num_beams": 1,
        "max_new_tokens": tokens,
        "min_new_tokens": tokens,
        "pad_token_id": pad_token_id,
        "return_tensors": True,
    }
