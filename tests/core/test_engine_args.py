"""The engine settings of a study on one of its pools, as a round records them."""

from factories.studies import make_cell, make_pool, make_study
from infpop_operator.core.engine_args import engine_args, engine_settings
from infpop_runner.contract import EngineSpec


def test_only_an_engine_on_gpus_is_given_a_share_of_their_memory() -> None:
    """In a study with pools of both kinds, each round has the arguments of its own pool."""
    pools = (make_pool(), make_pool(name="cpu", device="cpu"))
    engine = EngineSpec(name="vllm", gpu_memory_utilization=0.7)
    study, cell = make_study(engine=engine, pools=pools), make_cell(1, 8)
    on_gpus, on_cpus = (engine_args(engine_settings(study, pool), cell) for pool in pools)
    assert set(on_gpus) - set(on_cpus) == {"--gpu-memory-utilization=0.7"}
