"""The engine arguments that a study cannot set in `args`: they define what is measured, or have their own field.

There is one list for all engines, so that the operator, which checks a study, and the runner, which executes it, never
disagree. An argument that only another engine knows is also refused: here it would be a wrong name for another one.
"""

PINNED_ARGUMENTS = frozenset(
    {
        "batch_size",
        "device",
        "device_map",
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
        "revision",
        "scheduler_cls",
        "seed",
        "skip_tokenizer_init",
        "task",
        "tensor_parallel_size",
        "tokenizer",
        "tokenizer_revision",
        "torch_dtype",
        "tp_plan",
    }
)
