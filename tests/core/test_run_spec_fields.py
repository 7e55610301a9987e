"""Every field of a run spec and of the serving arguments, from a study whose values all differ."""

from dataclasses import replace

import pytest

from factories.studies import make_cell, make_pool, make_study
from infpop_operator.core.engine_args import engine_args, engine_settings
from infpop_operator.core.model import PlannedTrial, Run
from infpop_operator.core.run_spec import build_run_spec, pool_named
from infpop_operator.core.study import Algorithm, Configuration, Study
from infpop_runner.contract import (
    EngineSpec,
    MeasurementSpec,
    ModelSpec,
    RunSpec,
    SyntheticSource,
    TrialSpec,
    WorkloadSpec,
)

MODEL = ModelSpec(name="org/model", revision="abc", dtype="bfloat16", load_format="dummy")
VLLM = EngineSpec(
    name="vllm",
    gpu_memory_utilization=0.7,
    max_num_batched_tokens=4096,
    enforce_eager=True,
    args={"block_size": 32, "kv_cache_dtype": "auto"},
)
MEASUREMENT = MeasurementSpec(
    warmup_batches=2,
    repeats=5,
    min_repeat_seconds=20,
    max_spread_ratio=0.4,
    load_timeout_seconds=100,
    measure_timeout_seconds=200,
)
STUDY = make_study(
    key="serving/study",
    namespace="serving",
    name="my-study",
    model=MODEL,
    engine=VLLM,
    workload=WorkloadSpec(source=SyntheticSource(prompt_tokens=9), samples=7, max_new_tokens=6),
    algorithm=Algorithm(seed=11),
    measurement=MEASUREMENT,
    pools=(make_pool(), make_pool(name="cpus", device="cpu", fingerprint="f2")),
)
RUN = Run(
    name="my-study-0123456789",
    pool="cpus",
    round=3,
    attempt=2,
    trials=(
        PlannedTrial(
            index=5,
            configuration=make_cell(2, 64, block_size=16, swap_space=4),
            needs_tokens_per_second=120.0,
        ),
        PlannedTrial(index=4, configuration=make_cell(2, 8, block_size=16, swap_space=4)),
    ),
    to_beat_tokens_per_second=900.0,
)


def test_every_field_of_a_run_reaches_its_runner() -> None:
    """No field keeps its default; trials come in ascending batch size; searched arguments override pinned ones."""
    spec = build_run_spec(STUDY, RUN, scrape_grace_seconds=30)
    expected = {
        "contract_version": 1,
        "namespace": "serving",
        "study": "my-study",
        "pool": "cpus",
        "round": 3,
        "run": "my-study-0123456789",
        "model": MODEL,
        "engine": VLLM.model_copy(update={"args": {"block_size": 16, "kv_cache_dtype": "auto", "swap_space": 4}}),
        "workload": STUDY.workload,
        "device": "cpu",
        "gpu_count": 2,
        "trials": (
            TrialSpec(index=4, batch_size=8),
            TrialSpec(index=5, batch_size=64, needs_tokens_per_second=120.0),
        ),
        "measurement": MEASUREMENT,
        "seed": 11,
        "scrape_grace_seconds": 30.0,
        "to_beat_tokens_per_second": 900.0,
    }
    assert set(expected) == set(RunSpec.model_fields)
    assert {name: getattr(spec, name) for name in RunSpec.model_fields} == expected
    assert build_run_spec(STUDY, RUN).scrape_grace_seconds == 0.0
    assert build_run_spec(STUDY, replace(RUN, pool="a100")).device == "cuda"


def test_a_run_in_order_keeps_its_order() -> None:
    """Its runner measures the trials as they were given, whatever their batch sizes."""
    spec = build_run_spec(STUDY, replace(RUN, in_order=True))
    assert [trial.batch_size for trial in spec.trials] == [64, 8]
    assert spec.model_copy(update={"trials": spec.trials[::-1]}) == build_run_spec(STUDY, RUN)


def test_a_longer_run_changes_how_long_is_measured_and_nothing_else() -> None:
    """Repeats and the trial timeout are three times as long; the load timeout does not change."""
    longer = build_run_spec(STUDY, replace(RUN, longer=True))
    times = {"min_repeat_seconds": 60.0, "measure_timeout_seconds": 600.0}
    assert longer.measurement == MEASUREMENT.model_copy(update=times)
    assert longer.model_copy(update={"measurement": MEASUREMENT}) == build_run_spec(STUDY, RUN)


@pytest.mark.parametrize(("seconds", "expected"), [(1199.0, 3597.0), (1200.0, 3600.0), (1201.0, 3600.0)])
def test_a_repeat_is_never_longer_than_the_contract_allows(seconds: float, expected: float) -> None:
    """The maximum is an hour."""
    study = replace(STUDY, measurement=MeasurementSpec(min_repeat_seconds=seconds))
    assert build_run_spec(study, replace(RUN, longer=True)).measurement.min_repeat_seconds == expected


def args_of(study: Study, cell: Configuration) -> tuple[str, ...]:
    """Return the arguments with which `study` serves `cell` on its first pool."""
    return engine_args(engine_settings(study, study.pools[0]), cell)


def test_a_pool_is_found_by_its_name() -> None:
    """A pool that the study lacks is an error."""
    assert pool_named(STUDY, "cpus") == STUDY.pools[1]
    with pytest.raises(KeyError, match="gone"):
        build_run_spec(STUDY, replace(RUN, pool="gone"))


def test_the_arguments_of_vllm_are_those_of_the_study_and_the_configuration() -> None:
    """Every serving setting of the study is included; searched arguments replace pinned ones, booleans become flags."""
    cell = make_cell(2, 64, block_size=16, chunked=True, sleep=False)
    assert args_of(STUDY, cell) == (
        "--tensor-parallel-size=2",
        "--max-num-seqs=64",
        "--max-num-batched-tokens=4096",
        "--gpu-memory-utilization=0.7",
        "--dtype=bfloat16",
        "--revision=abc",
        "--enforce-eager",
        "--block-size=16",
        "--kv-cache-dtype=auto",
        "--chunked",
        "--no-sleep",
    )


def test_unset_fields_are_not_passed_to_vllm() -> None:
    """The engine's own defaults hold; on CPUs the size of the cache takes the place of the GPU memory share."""
    plain = make_study(engine=EngineSpec(name="vllm"), pools=(make_pool(device="cpu"),))
    assert args_of(plain, make_cell(1, 8)) == (
        "--tensor-parallel-size=1",
        "--max-num-seqs=8",
        "--max-num-batched-tokens=8192",
        "--kv-cache-memory-bytes=1073741824",
    )
    mixed = replace(plain, pools=(make_pool(device="cpu"), make_pool(name="gpus")))
    assert args_of(mixed, make_cell(1, 8)) == args_of(plain, make_cell(1, 8))


@pytest.mark.parametrize(("batch", "tokens"), [(4095, 4096), (4096, 4096), (4097, 4097)])
def test_a_step_takes_at_least_a_token_of_each_sequence(batch: int, tokens: int) -> None:
    """The step limit is raised to the batch size."""
    assert args_of(STUDY, make_cell(2, batch))[2] == f"--max-num-batched-tokens={tokens}"


def test_a_searched_step_limit_is_passed_once() -> None:
    """The searched value takes the place of the study's own."""
    args = args_of(STUDY, make_cell(2, 8, max_num_batched_tokens=512))
    assert [arg for arg in args if "batched" in arg] == ["--max-num-batched-tokens=512"]


def test_the_arguments_of_a_pipeline_are_keyword_arguments() -> None:
    """GPUs share the model by its device map, as in the runner; extra arguments are those of the model itself."""
    engine = EngineSpec(name="hf-pipeline", args={"attn_implementation": "sdpa"})
    study = replace(STUDY, engine=engine)
    assert args_of(study, make_cell(2, 64, low_cpu=True)) == (
        "batch_size=64",
        "dtype='bfloat16'",
        "device_map='auto'",
        "revision='abc'",
        "model_kwargs={'attn_implementation': 'sdpa', 'low_cpu': True}",
    )
    plain = make_study(engine=EngineSpec(name="hf-pipeline"))
    assert args_of(plain, make_cell(1, 8)) == ("batch_size=8", "dtype='auto'", "device_map='auto'")
    on_cpu = replace(plain, pools=(make_pool(device="cpu"),))
    assert args_of(on_cpu, make_cell(1, 8)) == ("batch_size=8", "dtype='auto'", "device='cpu'")


def test_a_simulation_has_no_arguments_to_copy() -> None:
    """The advice names only the configuration."""
    assert args_of(make_study(), make_cell(2, 8)) == ("--gpu-count=2", "--batch-size=8")
