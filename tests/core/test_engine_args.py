"""The engine settings of a study on one of its pools, as a round records them."""

from typing import Literal

import pytest

from factories.studies import SIMULATED, make_cell, make_pool, make_study
from infpop_operator.core.engine_args import engine_args, engine_settings, named_arguments
from infpop_runner.contract import EngineSpec, ModelSpec


def test_only_an_engine_on_gpus_is_given_a_share_of_their_memory() -> None:
    """In a study with pools of both kinds, each round has the arguments of its own pool."""
    pools = (make_pool(), make_pool(name="cpu", device="cpu"))
    engine = EngineSpec(name="vllm", gpu_memory_utilization=0.7)
    study, cell = make_study(engine=engine, pools=pools), make_cell(1, 8)
    on_gpus, on_cpus = (engine_args(engine_settings(study, pool), cell) for pool in pools)
    assert set(on_gpus) - set(on_cpus) == {"--gpu-memory-utilization=0.7"}
    assert set(on_cpus) - set(on_gpus) == {"--kv-cache-memory-bytes=1073741824"}


def test_a_cache_size_of_the_study_takes_the_place_of_the_default() -> None:
    """Its own argument is there once, as the runner passes it."""
    engine = EngineSpec(name="vllm", args={"kv_cache_memory_bytes": 7})
    study = make_study(engine=engine, pools=(make_pool(device="cpu"),))
    args = engine_args(engine_settings(study, study.pools[0]), make_cell(1, 8))
    assert [each for each in args if "cache" in each] == ["--kv-cache-memory-bytes=7"]


def test_the_measured_context_length_is_an_argument_of_vllm_alone() -> None:
    """Without it vLLM takes the model's own context, for which there may be no memory; a pipeline has none."""
    for name, expected in (("vllm", ["--max-model-len=612"]), ("hf-pipeline", []), ("simulated", [])):
        study = make_study(engine=SIMULATED if name == "simulated" else EngineSpec(name=name))
        settings = engine_settings(study, study.pools[0])
        args = engine_args(settings, make_cell(1, 8), max_model_len=612)
        assert sorted(set(args) - set(engine_args(settings, make_cell(1, 8)))) == expected


ARGUMENTS: dict[str, str | int | float | bool] = {
    "attn_implementation": "sdpa",
    "speculative_config": '{"method": "ngram"}',
    "sizes": '[1, "a"]',
    "trust_remote_code": True,
    "enable_thing": False,
    "share": 0.5,
    "text": "a=b",
    "not_a_number": "NaN",
}


@pytest.mark.parametrize("name", ["vllm", "hf-pipeline"])
def test_arguments_are_read_back_by_their_python_names(name: Literal["vllm", "hf-pipeline"]) -> None:
    """What is published as text gives the same values again; a revision of digits stays text."""
    engine = EngineSpec(name=name, args=ARGUMENTS)
    study = make_study(engine=engine, model=ModelSpec(name="model", revision="1234567"))
    found = named_arguments(name, engine_args(engine_settings(study, study.pools[0]), make_cell(2, 8)))
    decoded = ARGUMENTS | {"speculative_config": {"method": "ngram"}, "sizes": [1, "a"]}
    if name == "vllm":
        assert found == decoded | {
            "tensor_parallel_size": 2,
            "max_num_seqs": 8,
            "max_num_batched_tokens": 8192,
            "gpu_memory_utilization": 0.85,
            "revision": "1234567",
        }
    else:
        own = {key: value for key, value in decoded.items() if key != "trust_remote_code"}
        hub = {"trust_remote_code": True, "revision": "1234567"}
        given = {"batch_size": 8, "dtype": "auto", "device_map": "auto"}
        assert found == given | hub | {"model_kwargs": own}
