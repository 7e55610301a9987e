"""From a study to the engine arguments, and to the arguments that the user is advised to serve with."""

import ast

import pytest

from factories.studies import make_cell, make_study
from infpop_operator.core.engine_args import engine_args, engine_settings
from infpop_operator.core.model import PlannedTrial, Run
from infpop_operator.core.run_spec import LONGER_FACTOR, build_run_spec
from infpop_operator.core.study import Configuration, Study
from infpop_runner.contract import EngineSpec, MeasurementSpec, RunSpec
from infpop_runner.engines.vllm_args import build_engine_args

VLLM = EngineSpec(name="vllm", args={"block_size": 32})


def spec_of(study: Study, cell: Configuration, *, longer: bool = False) -> RunSpec:
    """Return the run spec of one trial as the runner reads it."""
    trials = (PlannedTrial(index=0, configuration=cell),)
    run = Run(name="run", pool="a100", round=1, attempt=1, trials=trials, longer=longer)
    return RunSpec.model_validate_json(build_run_spec(study, run).model_dump_json())


def args_of(study: Study, cell: Configuration) -> tuple[str, ...]:
    """Return the arguments with which `study` serves `cell` on its first pool."""
    return engine_args(engine_settings(study, study.pools[0]), cell)


@pytest.mark.parametrize(("tokens", "expected"), [(2048, 2048), (128, 256)])
def test_a_searched_step_limit_reaches_the_engine(tokens: int, expected: int) -> None:
    """The searched value is passed to vLLM and recommended to the user, raised to the batch size."""
    study, cell = make_study(engine=VLLM), make_cell(2, 256, max_num_batched_tokens=tokens, swap_space=1)
    spec = spec_of(study, cell)
    assert spec.engine.max_num_batched_tokens == tokens
    assert spec.engine.args == {"block_size": 32, "swap_space": 1}
    args = build_engine_args(spec, batch_sizes=(256,), longest_prompt=8)
    assert args["max_num_batched_tokens"] == expected
    assert f"--max-num-batched-tokens={expected}" in args_of(study, cell)


def test_without_a_searched_limit_the_study_decides() -> None:
    """The study's limit holds for every configuration that does not set its own."""
    study = make_study(engine=VLLM)
    assert spec_of(study, make_cell(1, 8)).engine == study.engine


def test_a_pipeline_gets_its_arguments_as_they_were_measured() -> None:
    """Engine arguments of a pipeline are those of the model itself, in the runner and in what the user copies."""
    engine = EngineSpec(name="hf-pipeline", args={"attn_implementation": "sdpa"})
    given = dict(part.split("=", 1) for part in args_of(make_study(engine=engine), make_cell(1, 8, low_cpu=True)))
    assert ast.literal_eval(given["model_kwargs"]) == {"attn_implementation": "sdpa", "low_cpu": True}
    assert "attn_implementation" not in given
    assert not any(part.startswith("model_kwargs") for part in args_of(make_study(), make_cell(1, 8)))


@pytest.mark.parametrize("seconds", [10.0, 1200.0, 3600.0])
def test_a_longer_measurement_is_one_that_the_runner_accepts(seconds: float) -> None:
    """The second attempt is three times as long, within the limits of the contract."""
    study = make_study(measurement=MeasurementSpec(min_repeat_seconds=seconds))
    longer = spec_of(study, make_cell(1, 8), longer=True).measurement
    assert longer.min_repeat_seconds == min(seconds * LONGER_FACTOR, 3600.0)
    assert longer.measure_timeout_seconds == study.measurement.measure_timeout_seconds * LONGER_FACTOR
