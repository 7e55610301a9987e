"""The engine arguments that a study cannot set in `args`: they define what is measured, where, or have their own field.

There is one list for all engines, so that the operator, which checks a study, and the runner, which executes it, never
disagree. An argument that only another engine knows is also refused: here it would be a wrong name for another one.
"""

import difflib
import re
from collections.abc import Set as AbstractSet

_MEASURED = frozenset(
    {
        "batch_size",
        "device",
        "disable_log_stats",
        "dtype",
        "enable_prefix_caching",
        "enforce_eager",
        "gpu_memory_utilization",
        "load_format",
        "max_model_len",
        "max_num_active_seqs",
        "max_num_batched_tokens",
        "max_num_seqs",
        "model",
        "model_weights",
        "revision",
        "scheduler_cls",
        "seed",
        "skip_tokenizer_init",
        "task",
        "tensor_parallel_size",
        "tokenizer",
        "tokenizer_revision",
        "torch_dtype",
    }
)
# What changes the number of devices of a run, or the machines or processes that it runs on: a run is counted, scheduled
# and limited as `gpu_count` devices of one node. Expert parallelism and decode context parallelism are not among
# them: they divide the work among the same devices.
_PLACEMENT = frozenset(
    {
        "data_parallel_size",
        "data_parallel_size_local",
        "device_ids",
        "device_map",
        "device_mesh",
        "distributed_config",
        "distributed_executor_backend",
        "max_memory",
        "nnodes",
        "num_gpus",
        "pipeline_parallel_size",
        "prefill_context_parallel_size",
        "tp_plan",
        "tp_size",
        "worker_cls",
    }
)
PINNED_ARGUMENTS = _MEASURED | _PLACEMENT
# The same by their form, for engines and versions that have others of this kind. RE2 and Python read it alike.
PLACEMENT_PATTERN = (
    "^(.*_)?(parallel_size|gpu_count|n_gpus?|num_(gpus?|nodes|devices)|nnodes|world_size|(node|local)_rank"
    "|device_(map|mesh|ids?)|(tp|pp|dp|cp|ep|pcp)(_size|_plan|_degree)?)$"
    "|^(data_parallel|elastic_ep|enable_elastic_ep|distributed_executor|distributed_config|ray|worker_use|master_addr"
    "|master_port|placement_group)($|_)|_use_ray$|_processor_device$"
)
# The pattern finds these too, because RE2 cannot exclude a name.
SAME_DEVICES = frozenset({"decode_context_parallel_size"})
_PLACEMENT_NAME = re.compile(PLACEMENT_PATTERN)


def is_placement(name: str) -> bool:
    """Return whether an argument changes how many devices a run uses, or where it runs."""
    plain = _plain(name)
    return plain not in SAME_DEVICES and (plain in _PLACEMENT or _PLACEMENT_NAME.search(plain) is not None)


def pinned_name(name: str) -> str | None:
    """Return the pinned argument that `name` means in any spelling, None if it is free.

    Dashes, capitals and beginnings of a name count, because an engine's command line takes them; a single word is no
    beginning, because `token` is an argument of its own beside `tokenizer`.
    """
    plain = _plain(name)
    if plain in PINNED_ARGUMENTS or is_placement(plain):
        return plain
    longer = sorted(pinned for pinned in PINNED_ARGUMENTS if pinned.startswith(plain))
    return longer[0] if longer and "_" in plain else None


def pinned_message(name: str) -> str | None:
    """Return why a study cannot set the argument `name`, None if it can."""
    pinned = pinned_name(name)
    if pinned is None:
        return None
    what = "" if pinned == name else f"means {pinned}, which "
    if is_placement(pinned):
        return f"{what}changes how many GPUs a run uses or where it runs, which InfPop sets"
    return f"{what}is set by InfPop"


def unknown_argument_remedy(name: str, known: AbstractSet[str]) -> str:
    """Return the remedy for an argument that is not among `known`: the most similar one that a study may set."""
    free = sorted(each for each in known if not each.startswith("_") and pinned_message(each) is None)
    close = difflib.get_close_matches(_plain(name), free, n=1)
    return f"Did you mean {close[0]}?" if close else "Remove it"


def _plain(name: str) -> str:
    return name.strip("-").replace("-", "_").lower()
