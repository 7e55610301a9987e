"""Which engine arguments a study may set, in every spelling."""

import pytest

from infpop_runner.contract import PINNED_ARGUMENTS, is_placement, pinned_message, pinned_name


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("tensor_parallel_size", "tensor_parallel_size"),
        ("tensor-parallel-size", "tensor_parallel_size"),
        ("--tensor-parallel-size", "tensor_parallel_size"),
        ("Tensor_Parallel_Size", "tensor_parallel_size"),
        ("tensor_parallel", "tensor_parallel_size"),
        ("pipeline-parallel", "pipeline_parallel_size"),
        ("gpu_memory_util", "gpu_memory_utilization"),
        ("max_num_seq", "max_num_seqs"),
        ("revision", "revision"),
    ],
)
def test_a_pinned_argument_is_found_in_every_spelling(name: str, means: str) -> None:
    """Dashes, capitals and beginnings of a name, which a command line takes, are no way round the list."""
    assert pinned_name(name) == means
    assert pinned_message(name) is not None


@pytest.mark.parametrize(
    "name",
    [
        # vLLM 0.32, by their full names
        *("pipeline_parallel_size", "data_parallel_size", "data_parallel_size_local", "data_parallel_rank"),
        *("data_parallel_backend", "prefill_context_parallel_size", "nnodes"),
        *("node_rank", "master_addr", "device_ids", "enable_elastic_ep", "distributed_executor_backend", "worker_cls"),
        # earlier versions, and the short names of its command line
        *("worker_use_ray", "engine_use_ray", "ray_workers_use_nsight", "context_parallel_size", "pp", "dp", "pcp"),
        # transformers 5.19
        *("device_map", "device_mesh", "max_memory", "tp_plan", "tp_size", "distributed_config"),
        # other engines
        *("num_gpus", "n_gpu", "world_size", "sequence_parallel_size", "ep_size", "num_nodes", "local_rank"),
    ],
)
def test_what_changes_the_devices_of_a_run_is_pinned(name: str) -> None:
    """A run never uses more devices than it is counted with, nor another machine."""
    assert is_placement(name)
    assert "changes how many GPUs a run uses or where it runs" in str(pinned_message(name))


@pytest.mark.parametrize(
    "name",
    [
        # All of vLLM 0.32. Expert parallelism, and decode context parallelism, divide the work among the same devices.
        *("decode_context_parallel_size", "decode-context-parallel-size", "dcp_size", "dcp_kv_cache_interleave_size"),
        *("block_size", "kv_cache_dtype", "enable_chunked_prefill", "enable_expert_parallel", "model_impl"),
        *("max_parallel_loading_workers", "tokenizer_mode", "cpu_offload_gb", "speculative_config", "load_config"),
        *("disable_custom_all_reduce", "trust_remote_code", "quantization", "hf_overrides", "numa_bind", "token"),
        *("long_prefill_token_threshold", "attention_backend", "renderer_num_workers", "enable_eplb", "seeds"),
        *("attn_implementation", "use_kernels", "low_cpu_mem_usage"),  # transformers 5.19
    ],
)
def test_other_arguments_are_free(name: str) -> None:
    """An argument that neither defines what is measured nor changes the devices is the user's own."""
    assert pinned_message(name) is None


def test_no_pinned_argument_is_free() -> None:
    """The list and the function agree."""
    assert all(pinned_name(name) == name for name in PINNED_ARGUMENTS)
