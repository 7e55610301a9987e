"""The configuration that an engine uses if its user sets none: one GPU, and the engine's own batch size."""

from infpop_operator.core.model import UNSEEN, Hardware
from infpop_operator.core.study import Configuration, SearchSpace
from infpop_runner.contract import EngineSpec

_MIB_PER_GIB = 1024
_LARGE_MIB, _LARGEST_MIB = 70 * _MIB_PER_GIB, 160 * _MIB_PER_GIB
_VLLM_BATCH, _VLLM_LARGE_BATCH = 256, 1024


def engine_default(engine: EngineSpec, space: SearchSpace, hardware: Hardware | None) -> Configuration | None:
    """Return the default configuration of an engine on some hardware, without any extra argument.

    It is None for vLLM on a pool that has had no node yet: its default depends on the GPUs, so it is measured once the
    node of the first run is known.

    For vLLM it is one GPU and the `max_num_seqs` of its offline `LLM` class: 1024 on GPUs with 160 GiB or more, and on
    GPUs with 70 GiB or more that are not A100s; 256 on all others, and where the memory is unknown; never more than
    `max_num_batched_tokens`. A transformers pipeline has one GPU and one prompt at a time. A simulated engine has no
    default: its smallest cell stands for one.

    Source: vLLM 0.32.0, `EngineArgs.get_batch_defaults` and `_set_default_max_num_seqs_and_batched_tokens_args` in
    `vllm/engine/arg_utils.py`; `transformers.Pipeline` has `batch_size` 1.
    """
    match engine.name:
        case "vllm" if hardware is not None and hardware.fingerprint == UNSEEN:
            return None
        case "vllm":
            batch = min(_vllm_batch(hardware), engine.max_num_batched_tokens)
            return Configuration(gpu_count=1, batch_size=batch)
        case "hf-pipeline":
            return Configuration(gpu_count=1, batch_size=1)
        case "simulated":
            return Configuration(gpu_count=space.gpu_counts[0], batch_size=space.batch_sizes[0])


def _vllm_batch(hardware: Hardware | None) -> int:
    memory = 0 if hardware is None or hardware.gpu_memory_mib is None else hardware.gpu_memory_mib
    is_a100 = hardware is not None and "a100" in (hardware.gpu_model or "").lower()
    is_large = memory >= _LARGEST_MIB or (memory >= _LARGE_MIB and not is_a100)
    return _VLLM_LARGE_BATCH if is_large else _VLLM_BATCH
