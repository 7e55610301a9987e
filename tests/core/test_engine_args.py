"""The engine settings that a round records give the same arguments as the study that opened it."""

import pytest

from factories.studies import SIMULATED, make_cell, make_pool, make_study
from infpop_operator.core.engine_args import engine_args, engine_settings, recorded_engine_args
from infpop_runner.contract import EngineSpec, ModelSpec

ENGINES = (
    SIMULATED,
    EngineSpec(name="vllm", gpu_memory_utilization=0.7, enforce_eager=True, args={"kv_cache_dtype": "fp8", "x": False}),
    EngineSpec(name="hf-pipeline", max_num_batched_tokens=4096, args={"attn_implementation": "eager"}),
)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_round_gives_the_arguments_that_its_study_gave(engine: EngineSpec, device: str) -> None:
    """The round's arguments hold, whatever the study says by then."""
    pool, cell = make_pool(device=device), make_cell(2, 64, max_num_batched_tokens=512, y="z")
    study = make_study(engine=engine, model=ModelSpec(name="m", revision="r1", dtype="float16"), pools=(pool,))
    assert recorded_engine_args(engine_settings(study, pool), cell) == engine_args(study, cell)


def test_only_an_engine_on_gpus_is_given_a_share_of_their_memory() -> None:
    """In a study with pools of both kinds, each round has the arguments of its own pool."""
    pools = (make_pool(), make_pool(name="cpu", device="cpu"))
    study, cell = make_study(engine=ENGINES[1], pools=pools), make_cell(1, 8)
    on_gpus, on_cpus = (recorded_engine_args(engine_settings(study, pool), cell) for pool in pools)
    assert set(on_gpus) - set(on_cpus) == {"--gpu-memory-utilization=0.7"}
