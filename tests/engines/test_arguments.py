"""The arguments that are passed to the engines, built from plain values."""

import pytest

from engines.specs import make_run_spec
from infpop_runner.contract import PINNED_ARGUMENTS, RunSpec
from infpop_runner.engines.environment import build_environment
from infpop_runner.engines.errors import EngineRefusedError
from infpop_runner.engines.hf_args import (
    build_generation_args,
    build_hub_args,
    build_model_args,
    build_pipeline_args,
    build_tokenizer_args,
)
from infpop_runner.engines.user_args import (
    engine_values,
    refuse_unknown,
    refuse_unknown_keys,
    trusts_remote_code,
    unknown_message,
)
from infpop_runner.engines.vllm_args import build_engine_args
from infpop_runner.engines.vllm_args import build_tokenizer_args as vllm_tokenizer_args

CUDA = make_run_spec(
    device="cuda",
    gpu_count=4,
    batches=(16,),
    model={"name": "org/model", "revision": "abc", "dtype": "float16", "load_format": "dummy"},
    engine={"name": "vllm", "args": {"block_size": 32}},
    seed=7,
)


def test_vllm_arguments_on_gpus() -> None:
    """Everything that changes a number is pinned, and the user's own arguments are added."""
    assert build_engine_args(CUDA, batch_sizes=(16,), longest_prompt=100) == {
        "model": "org/model",
        "revision": "abc",
        "tokenizer_revision": "abc",
        "dtype": "float16",
        "load_format": "dummy",
        "tensor_parallel_size": 4,
        "max_num_seqs": 16,
        "max_num_batched_tokens": 2048,
        "max_model_len": 104,
        "enforce_eager": True,
        "enable_prefix_caching": False,
        "seed": 7,
        "disable_log_stats": False,
        "gpu_memory_utilization": 0.85,
        "block_size": 32,
    }


def test_one_load_for_several_batches_is_made_for_the_largest() -> None:
    """With several trials the limit is the largest batch, and the scheduler must be able to lower it."""
    spec = make_run_spec(
        device="cuda",
        gpu_count=2,
        batches=(2, 8),
        engine={"gpu_memory_utilization": 0.7, "enforce_eager": False, "max_num_batched_tokens": 1000},
        workload={"max_new_tokens": 37},
        seed=11,
    )
    assert build_engine_args(spec, batch_sizes=(2, 8), longest_prompt=100) == {
        "model": "model",
        "dtype": "auto",
        "load_format": "auto",
        "tensor_parallel_size": 2,
        "max_num_seqs": 8,
        "max_num_batched_tokens": 1000,
        "max_model_len": 137,
        "enforce_eager": False,
        "enable_prefix_caching": False,
        "seed": 11,
        "disable_log_stats": False,
        "gpu_memory_utilization": 0.7,
        "scheduler_cls": "infpop_runner.engines.batch_limit.batch_limited_scheduler",
    }


def test_vllm_on_a_cpu_takes_a_fixed_cache_and_no_share_of_a_gpu() -> None:
    """On a CPU the KV cache has a fixed size, which the user may change; without a revision none is passed."""
    args = build_engine_args(make_run_spec(gpu_count=2), batch_sizes=(4,), longest_prompt=1)
    assert args == {
        "model": "model",
        "dtype": "auto",
        "load_format": "auto",
        "tensor_parallel_size": 2,
        "max_num_seqs": 4,
        "max_num_batched_tokens": 2048,
        "max_model_len": 5,
        "enforce_eager": True,
        "enable_prefix_caching": False,
        "seed": 0,
        "disable_log_stats": False,
        "kv_cache_memory_bytes": 1 << 30,
    }
    changed = make_run_spec(engine={"args": {"kv_cache_memory_bytes": 5}})
    assert build_engine_args(changed, batch_sizes=(4,), longest_prompt=1)["kv_cache_memory_bytes"] == 5


@pytest.mark.parametrize("name", sorted(PINNED_ARGUMENTS))
def test_arguments_that_define_the_measurement_cannot_be_overridden(name: str) -> None:
    """An argument that InfPop sets is refused by name, whatever its value."""
    spec = make_run_spec(engine={"args": {name: 1}})
    with pytest.raises(EngineRefusedError, match=name) as refused:
        build_engine_args(spec, batch_sizes=(4,), longest_prompt=1)
    assert refused.value.reason == "RejectedArguments"
    with pytest.raises(EngineRefusedError, match=name):
        build_pipeline_args(spec)


@pytest.mark.parametrize(("largest", "limit"), [(2047, 2048), (2048, 2048), (2049, 2049), (4096, 4096)])
def test_a_batch_above_the_step_limit_raises_the_limit(largest: int, limit: int) -> None:
    """Every sequence of a batch gets a token in each step; the recorded arguments are the passed ones."""
    args = build_engine_args(make_run_spec(), batch_sizes=(8, largest), longest_prompt=1)
    assert (args["max_num_seqs"], args["max_num_batched_tokens"]) == (largest, limit)


@pytest.mark.parametrize("gpu_count", [1, 2, 8])
def test_a_pipeline_on_gpus_spreads_over_all_that_it_has(gpu_count: int) -> None:
    """One GPU is handled like several: the model is never partly left on the CPU."""
    spec = make_run_spec(device="cuda", gpu_count=gpu_count, model={"revision": "abc", "dtype": "float16"})
    expected = {"task": "text-generation", "dtype": "float16", "device_map": "auto", "revision": "abc"}
    assert build_pipeline_args(spec) == {**expected, "trust_remote_code": False}


def test_a_pipeline_on_a_cpu_is_one_device() -> None:
    """Without GPUs the CPU is passed; a model without a revision gets none."""
    expected = {"task": "text-generation", "dtype": "auto", "device": "cpu", "trust_remote_code": False}
    assert build_pipeline_args(make_run_spec(engine={"name": "hf-pipeline"})) == expected


def test_generation_is_greedy_and_of_exact_length() -> None:
    """The minimum and the maximum output length are equal, and nothing is sampled."""
    spec = make_run_spec(workload={"max_new_tokens": 37})
    assert build_generation_args(spec, pad_token_id=2) == {
        "do_sample": False,
        "num_beams": 1,
        "max_new_tokens": 37,
        "min_new_tokens": 37,
        "pad_token_id": 2,
        "return_tensors": True,
    }


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (make_run_spec(gpu_count=2), "UnsupportedGpuCount"),
        (make_run_spec(engine={"args": {"device_map": "cpu"}}), "RejectedArguments"),
    ],
)
def test_what_a_pipeline_cannot_do_is_refused(spec: RunSpec, reason: str) -> None:
    """Two devices on a CPU, or an argument that InfPop sets, is refused with its reason."""
    with pytest.raises(EngineRefusedError) as refused:
        build_pipeline_args(spec)
    assert refused.value.reason == reason


REMOTE = {"trust_remote_code": True, "code_revision": "def"}


def test_custom_code_is_allowed_or_forbidden_for_every_part_of_a_model() -> None:
    """The tokenizer, the configuration and the weights get the answer of the study; no terminal is asked."""
    spec = make_run_spec(
        model={"revision": "abc"}, engine={"args": {**REMOTE, "token": "t", "cache_dir": "/c", "x": 1}}
    )
    assert build_hub_args(spec) == {**REMOTE, "token": "t", "revision": "abc"}
    assert build_tokenizer_args(spec) == {**build_hub_args(spec), "cache_dir": "/c", "padding_side": "left"}
    assert build_pipeline_args(spec).items() >= build_hub_args(spec).items()
    assert build_model_args(spec) == {"cache_dir": "/c", "x": 1}
    assert build_tokenizer_args(make_run_spec())["trust_remote_code"] is False


def test_vllm_loads_its_tokenizer_as_its_model() -> None:
    """Custom code, revision, token and download folder of the model are also those of the tokenizer."""
    spec = make_run_spec(model={"revision": "abc"}, engine={"args": {**REMOTE, "hf_token": "t", "download_dir": "/c"}})
    expected = {**REMOTE, "token": "t", "cache_dir": "/c", "revision": "abc"}
    assert vllm_tokenizer_args(spec) == expected
    assert vllm_tokenizer_args(make_run_spec()) == {"trust_remote_code": False}


@pytest.mark.parametrize("text", ["true", True, "True", "TRUE"])
def test_only_a_clear_yes_allows_custom_code(text: object) -> None:
    """Python's spelling counts too; every other text, such as False, does not allow it."""
    assert trusts_remote_code(make_run_spec(engine={"args": {"trust_remote_code": text}}))
    for other in ("False", "no", "1", "", False, 0):
        assert not trusts_remote_code(make_run_spec(engine={"args": {"trust_remote_code": other}}))


def test_structured_values_reach_the_engine_as_objects() -> None:
    """JSON becomes an object or a list for the engine, while the result records the text; templates stay text."""
    config = '{"method": "ngram", "num_speculative_tokens": 3}'
    given = {"speculative_config": config, "sizes": "[1, 2]", "template": "{{ a }}", "block_size": 16}
    spec = make_run_spec(engine={"args": given})
    assert engine_values(spec) == {
        "speculative_config": {"method": "ngram", "num_speculative_tokens": 3},
        "sizes": [1, 2],
        "template": "{{ a }}",
        "block_size": 16,
    }
    assert build_engine_args(spec, batch_sizes=(4,), longest_prompt=1)["speculative_config"] == config


@pytest.mark.parametrize("text", ["{'method': 'ngram'}", "{mode: 3}", "[1, 2", '{"a": NaN}', '{"a": 1, "a": 2}'])
def test_what_only_starts_like_json_is_refused_before_a_load(text: str) -> None:
    """The argument is named with what is wrong in it."""
    spec = make_run_spec(engine={"args": {"compilation_config": text}})
    with pytest.raises(EngineRefusedError, match=r"engine\.args\.compilation_config (is not JSON|has)") as refused:
        engine_values(spec)
    assert refused.value.reason == "RejectedArguments"


def test_an_unknown_argument_is_refused_with_the_one_that_was_meant() -> None:
    """A similar name is proposed, but never one that InfPop sets; nothing is refused if the names are not known."""
    known = {"block_size", "kv_cache_dtype", "max_model_len", "max_logprobs"}
    spec = make_run_spec(engine={"args": {"blok_size": 16}})
    with pytest.raises(EngineRefusedError, match=r"not an argument of vLLM 1\. Did you mean block_size\?") as refused:
        refuse_unknown(spec, known, "vLLM 1")
    assert refused.value.reason == "RejectedArguments"
    assert unknown_message("max_model_length", known, "vLLM 1").endswith(". Remove it")
    refuse_unknown(spec, frozenset(), "vLLM 1")
    refuse_unknown(make_run_spec(engine={"args": {"block_size": 16}}), known, "vLLM 1")


def test_an_unknown_key_of_a_structured_argument_is_refused() -> None:
    """Only objects are checked whose keys are known."""
    known = {"compilation_config": {"mode", "backend"}}
    refuse_unknown_keys({"compilation_config": {"mode": 3}, "hf_overrides": {"x": 1}, "n": 8}, known, "vLLM 1")
    refuse_unknown_keys({"compilation_config": 3}, known, "vLLM 1")
    with pytest.raises(EngineRefusedError, match=r"engine\.args\.compilation_config\.moode .*\. Did you mean mode\?"):
        refuse_unknown_keys({"compilation_config": {"moode": 3}}, known, "vLLM 1")


USUAL = {
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONWARNINGS": "ignore::UserWarning:multiprocessing.resource_tracker",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
}


@pytest.mark.parametrize(("ranks", "cores", "each"), [(1, 8, "8"), (2, 8, "4"), (3, 8, "2"), (8, 8, "1"), (4, 2, "1")])
def test_cores_are_shared_among_ranks(ranks: int, cores: int, each: str) -> None:
    """Ranks on a CPU do not compete for its cores; each has at least one."""
    environment = build_environment(make_run_spec(gpu_count=ranks), current={}, devices=(), cores=cores)
    threads = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": each}
    assert environment == {**USUAL, **threads, "CUDA_VISIBLE_DEVICES": ""}


def test_a_run_on_gpus_sees_its_own() -> None:
    """The devices are listed in order, and the CPU threads are left unchanged."""
    environment = build_environment(CUDA, current={}, devices=("3", "1"), cores=8)
    assert environment == {**USUAL, "CUDA_VISIBLE_DEVICES": "3,1"}


def test_a_run_on_a_cpu_sees_no_gpu() -> None:
    """The machine's GPUs are hidden from a run on the CPU."""
    environment = build_environment(make_run_spec(), current={"CUDA_VISIBLE_DEVICES": "0"}, devices=(), cores=8)
    assert environment["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize("name", [*USUAL, "OMP_NUM_THREADS", "VLLM_CPU_OMP_THREADS_BIND"])
def test_what_the_user_has_set_stays_except_the_devices(name: str) -> None:
    """The user's variables are kept; the devices are always the run's own."""
    current = {name: "the user's own", "CUDA_VISIBLE_DEVICES": "0,1,2,3,4"}
    environment = build_environment(make_run_spec(), current=current, devices=("1", "3"), cores=8)
    assert name not in environment
    assert environment["CUDA_VISIBLE_DEVICES"] == "1,3"
