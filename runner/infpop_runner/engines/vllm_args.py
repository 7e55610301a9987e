"""Build the arguments of vLLM's offline `LLM` from a run spec alone.

Every argument that affects a measured number is pinned here, because vLLM's own defaults depend on its version, the
device and the entry point. The result records the arguments exactly as built.
"""

from collections.abc import Sequence

from infpop_runner.contract import CPU_KV_CACHE_BYTES, RunSpec
from infpop_runner.engines.protocol import Scalar
from infpop_runner.engines.user_args import refuse_pinned, trusts_remote_code

BATCH_LIMIT_SCHEDULER = "infpop_runner.engines.batch_limit.batch_limited_scheduler"
# vLLM's name of an argument -> the name that a tokenizer of transformers has for it
_TOKENIZER_ARGUMENTS = {"code_revision": "code_revision", "download_dir": "cache_dir", "hf_token": "token"}


def build_engine_args(spec: RunSpec, *, batch_sizes: Sequence[int], longest_prompt: int) -> dict[str, Scalar]:
    """Return the keyword arguments of `LLM` for one load that serves `batch_sizes`.

    Args:
        spec: the run.
        batch_sizes: ascending, not empty. More than one adds the scheduler that can lower the batch limit.
        longest_prompt: number of tokens of the longest prompt.

    Raises:
        EngineRefusedError: the user sets an argument that InfPop pins.
    """
    refuse_pinned(spec)
    args: dict[str, Scalar] = {
        "model": spec.model.name,
        "dtype": spec.model.dtype,
        "load_format": spec.model.load_format,
        "tensor_parallel_size": spec.gpu_count,
        "max_num_seqs": batch_sizes[-1],
        # vLLM refuses fewer tokens per step than concurrent sequences, each of which needs one.
        "max_num_batched_tokens": max(spec.engine.max_num_batched_tokens, batch_sizes[-1]),
        "max_model_len": longest_prompt + spec.workload.max_new_tokens,
        "enforce_eager": spec.engine.enforce_eager,
        "enable_prefix_caching": False,
        "seed": spec.seed,
        "disable_log_stats": False,
    }
    if spec.model.revision is not None:
        args |= {"revision": spec.model.revision, "tokenizer_revision": spec.model.revision}
    return {**args, **_device_args(spec), **_scheduler_args(batch_sizes), **spec.engine.args}


def build_tokenizer_args(spec: RunSpec) -> dict[str, Scalar]:
    """Return the keyword arguments with which the tokenizer of the model is loaded, as vLLM itself loads it."""
    given = {
        theirs: spec.engine.args[ours] for ours, theirs in _TOKENIZER_ARGUMENTS.items() if ours in spec.engine.args
    }
    args = {**given, "trust_remote_code": trusts_remote_code(spec)}
    return args if spec.model.revision is None else args | {"revision": spec.model.revision}


def _device_args(spec: RunSpec) -> dict[str, Scalar]:
    if spec.device == "cuda":
        return {"gpu_memory_utilization": spec.engine.gpu_memory_utilization}
    return {"kv_cache_memory_bytes": CPU_KV_CACHE_BYTES}


def _scheduler_args(batch_sizes: Sequence[int]) -> dict[str, Scalar]:
    return {"scheduler_cls": BATCH_LIMIT_SCHEDULER} if len(batch_sizes) > 1 else {}
