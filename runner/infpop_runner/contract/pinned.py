"""Engine arguments that a study cannot set as such: they define what is measured, or have a field of their own.

One list for every engine, so that the side that checks a study and the side that carries it out never disagree. An
argument that only another engine knows is refused all the same: here it would be called by a wrong name.
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
