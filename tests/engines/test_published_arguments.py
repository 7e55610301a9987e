"""What is published has every argument with which the runner loads an engine, except those of a fair measurement."""

from typing import Any, Literal

import pytest

from engines.specs import make_run_spec
from factories.studies import make_pool, make_study
from infpop_operator.core.engine_args import engine_args, engine_settings, named_arguments
from infpop_operator.core.study import Configuration
from infpop_runner.contract import RunSpec
from infpop_runner.engines.hf_args import build_model_args, build_pipeline_args
from infpop_runner.engines.vllm_args import build_engine_args

FAIR = {  # neither whether a server starts nor how fast it is depends on these
    "disable_log_stats",  # statistics are on in a server as well
    "enable_prefix_caching",  # off while measuring: each prompt is computed
    "load_format",  # random weights need no download
    "scheduler_cls",  # holds one of several batch sizes of a load
    "seed",
}
SAME = {"tokenizer_revision"}  # vLLM takes the revision of the model
ARGS = {"block_size": 32, "kv_cache_dtype": "fp8", "trust_remote_code": True, "attn_implementation": "sdpa"}
DEVICES: tuple[Literal["cuda", "cpu"], ...] = ("cuda", "cpu")


def spec_of(engine: str, device: str, *, enforce_eager: bool = True) -> RunSpec:
    """Return a run on two devices, or on one CPU, that sets every field of its model and engine."""
    return make_run_spec(
        device=device,
        gpu_count=2 if device == "cuda" else 1,
        batches=(4, 16),
        model={"name": "org/model", "revision": "abc", "dtype": "float16", "load_format": "dummy"},
        engine={"name": engine, "gpu_memory_utilization": 0.7, "enforce_eager": enforce_eager, "args": ARGS},
        seed=7,
    )


def published(spec: RunSpec, *, max_model_len: int | None) -> dict[str, Any]:
    """Return what is published of the run's largest batch, by Python name."""
    pool = make_pool(device=spec.device)
    study = make_study(engine=spec.engine, model=spec.model, pools=(pool,))
    cell = Configuration(gpu_count=spec.gpu_count, batch_size=spec.trials[-1].batch_size)
    args = engine_args(engine_settings(study, pool), cell, max_model_len=max_model_len)
    return dict(named_arguments(spec.engine.name, args))


@pytest.mark.parametrize("enforce_eager", [True, False])
@pytest.mark.parametrize("device", DEVICES)
def test_vllm_is_served_as_it_was_measured(device: str, *, enforce_eager: bool) -> None:
    """A new argument of the runner is published too, or listed here with the reason why not."""
    spec = spec_of("vllm", device, enforce_eager=enforce_eager)
    loaded = build_engine_args(spec, batch_sizes=(4, 16), longest_prompt=100)
    assert loaded.keys() > FAIR | SAME
    wanted = {name: value for name, value in loaded.items() if name not in {*FAIR, *SAME, "model"}}
    if not enforce_eager:
        del wanted["enforce_eager"]  # as is the default of a server
    assert published(spec, max_model_len=104) == wanted


@pytest.mark.parametrize("device", DEVICES)
def test_a_pipeline_is_built_as_it_was_measured(device: str) -> None:
    """Its own arguments and those of the model, and the batch size, which the runner gives to each call."""
    spec = spec_of("hf-pipeline", device)
    loaded = {name: value for name, value in build_pipeline_args(spec).items() if name != "task"}
    assert published(spec, max_model_len=None) == {**loaded, "batch_size": 16, "model_kwargs": build_model_args(spec)}
