"""Every field of a document reaches the core, the runner or the Pod unchanged: compared field by field."""

from datetime import timedelta
from pathlib import PurePosixPath

import pytest

from api.documents import VALID
from api.whole_studies import FACTS, POOLS, WHOLE, converted, simulated, with_source
from infpop_operator.api.parse import parse_object
from infpop_operator.core.extra_metrics import ExtraMetric
from infpop_operator.core.model import PlannedTrial, Run
from infpop_operator.core.run_spec import build_run_spec
from infpop_operator.core.study import (
    Algorithm,
    Budget,
    Configuration,
    Constraint,
    ExtraParameter,
    Objective,
    Plateau,
    Retune,
    SearchSpace,
    Study,
)
from infpop_runner.contract import (
    BuiltinSource,
    EngineSpec,
    FileSource,
    FormulaLandscape,
    HuggingFaceSource,
    MeasurementSpec,
    ModelSpec,
    RecordedLandscape,
    RunSpec,
    SimulationSpec,
    SyntheticSource,
    TrialSpec,
    WorkloadSource,
    WorkloadSpec,
)

BASE = PurePosixPath("/studies")

EXPECTED = Study(
    key="serving/tune-codegen",
    namespace="serving",
    name="tune-codegen",
    model=ModelSpec(name="org/codegen", revision="model-revision", dtype="float16", load_format="dummy"),
    engine=EngineSpec(
        name="vllm",
        gpu_memory_utilization=0.71,
        max_num_batched_tokens=4097,
        enforce_eager=True,
        args={"block_size": 48, "swap_space": 2.5, "enable_lora": True, "kv_cache_dtype": "fp8"},
        simulation=None,
    ),
    workload=WorkloadSpec(
        source=HuggingFaceSource(
            dataset="org/prompts",
            config="source-config",
            split="source-split",
            field="source-field",
            revision="source-revision",
        ),
        samples=77,
        max_new_tokens=33,
    ),
    space=SearchSpace(
        gpu_counts=(2, 5, 9),
        batch_sizes=(3, 24, 96),
        extra=(
            ExtraParameter(name="attention", values=("text", False)),
            ExtraParameter(name="long_prefill", values=(7, True, 0.625)),
        ),
    ),
    objective=Objective(
        metric="queue",
        constraints=(
            Constraint(metric="spread", maximum=0.4, minimum=0.1),
            Constraint(metric="batchSecondsP95", maximum=57.0, minimum=None),
            Constraint(metric="power", maximum=None, minimum=11.5),
        ),
        goal="Minimize",
        power_metric="power",
        second_metric="throughputPerGPU",
    ),
    algorithm=Algorithm(name="landscape", seed=1234, trials_per_run=6),
    budget=Budget(
        max_trials=41,
        parallel_trials=14,
        max_concurrent_gpus=43,
        max_failed_trials=12,
        max_gpu_hours=15.5,
        deadline=timedelta(hours=1, minutes=2, seconds=3, milliseconds=4),
        plateau=Plateau(trials=13, improvement_ratio=0.025, confidence=0.85),
        confirm=False,
    ),
    measurement=MeasurementSpec(
        mode="full",
        warmup_batches=17,
        repeats=10,
        min_repeat_seconds=16.0,
        max_spread_ratio=0.35,
        load_timeout_seconds=21 * 60.0,
        measure_timeout_seconds=22 * 60.0,
    ),
    pools=POOLS,
    model_fingerprint="fingerprint-of-the-model",
    workload_fingerprint="fingerprint-of-the-workload",
    baseline=Configuration(gpu_count=4, batch_size=47),
    retune=Retune(policy="Manual", debounce=timedelta(minutes=24), max_per_day=5),
    reuse="SameIdentity",
    model_facts=FACTS,
    suspended=False,  # set by the caller, as are the pools
    metrics=(
        ExtraMetric(
            name="power",
            query='max by (Hostname, UUID, gpu) (avg_over_time(DCGM_FI_DEV_POWER_USAGE{namespace="$namespace",'
            'pod="$pod"}[$window]) or avg_over_time(DCGM_FI_DEV_POWER_USAGE{exported_namespace="$namespace",'
            'exported_pod="$pod"}[$window]))',
            unit="watts",
            across_gpus="sum",
        ),
        ExtraMetric(name="queue", query='sum(queue{pod="$pod"})', unit="count"),
    ),
    publishes=True,
)
DEFAULT = Study(
    key="serving/study",
    namespace="serving",
    name="study",
    model=ModelSpec(name="org/model", revision=None, dtype="auto", load_format="auto"),
    engine=EngineSpec(
        name="vllm",
        gpu_memory_utilization=0.85,
        max_num_batched_tokens=8192,
        enforce_eager=False,
        args={},
        simulation=None,
    ),
    workload=WorkloadSpec(source=BuiltinSource(name="code-infilling-v1"), samples=1033, max_new_tokens=128),
    space=SearchSpace(gpu_counts=(1, 2), batch_sizes=(1, 8), extra=()),
    objective=Objective(metric="throughput", constraints=(), goal=None, power_metric=None),
    algorithm=Algorithm(name="landscape", seed=0, trials_per_run="auto"),
    budget=Budget(
        max_trials=20,
        parallel_trials=1,
        max_concurrent_gpus=8,
        max_failed_trials=5,
        max_gpu_hours=None,
        deadline=None,
        plateau=None,
        confirm=True,
    ),
    measurement=MeasurementSpec(
        mode="adaptive",
        warmup_batches=1,
        repeats=3,
        min_repeat_seconds=10.0,
        max_spread_ratio=0.25,
        load_timeout_seconds=1800.0,
        measure_timeout_seconds=1800.0,
    ),
    pools=POOLS,
    model_fingerprint="fingerprint-of-the-model",
    workload_fingerprint="fingerprint-of-the-workload",
    baseline=None,
    retune=Retune(policy="OnPoolChange", debounce=timedelta(minutes=10), max_per_day=2),
    model_facts=FACTS,
    suspended=False,
    metrics=(),
)


def test_every_field_of_a_study_reaches_the_core() -> None:
    """Each value arrives in its own field and unit, and lists that the core keeps sorted arrive sorted."""
    assert converted(parse_object(WHOLE)) == EXPECTED


def test_a_study_that_leaves_everything_out_has_the_documented_defaults() -> None:
    """The schema fills in what the user leaves out, with the same meaning in every version."""
    assert converted(parse_object(VALID)) == DEFAULT


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("builtin", BuiltinSource(name="code-infilling-v1")),
        ("file", FileSource(path="/studies/data/prompts.jsonl", field="file-field")),
        ("config-map", FileSource(path="/workload/map-key.jsonl", field="map-field")),
        (
            "preset",
            HuggingFaceSource(
                dataset="loubnabnl/humaneval_infilling",
                config="HumanEval-SingleLineInfilling",
                split="test",
                field="prompt",
                revision="preset-revision",
            ),
        ),
        ("synthetic", SyntheticSource(prompt_tokens=321)),
    ],
)
def test_every_source_of_prompts_is_handed_on(name: str, expected: WorkloadSource) -> None:
    """Each kind of source keeps its own fields; a relative path is relative to the study's directory."""
    study = converted(parse_object(with_source(name)), base=BASE)
    assert study.workload == WorkloadSpec(source=expected, samples=77, max_new_tokens=33)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "formula",
            FormulaLandscape(
                peak_tokens_per_second=987.5,
                best_gpu_count=3,
                best_batch_size=58,
                falloff_ratio=0.375,
                largest_batch_per_gpu=131,
            ),
        ),
        (
            "recorded",
            RecordedLandscape(
                path="/studies/data/cells.csv",
                gpu_model="recorded-gpu",
                engine="recorded-engine",
                model="recorded-model",
            ),
        ),
    ],
)
def test_every_landscape_of_the_simulated_engine_is_handed_on(
    name: str, expected: FormulaLandscape | RecordedLandscape
) -> None:
    """The study sets what is replayed and how long it takes in simulated time."""
    engine = converted(parse_object(simulated(name)), base=BASE).engine
    replay = SimulationSpec(landscape=expected, noise_ratio=0.0625, load_seconds=9.0, repeat_seconds=1.5)
    assert engine == EXPECTED.engine.model_copy(update={"name": "simulated", "simulation": replay})


def test_a_local_model_and_a_key_take_the_place_of_the_names() -> None:
    """On one machine a directory replaces the model's name, and a caller may add a key to tell studies apart."""
    study = converted(parse_object(WHOLE), model_name="/models/codegen", key="serving/tune-codegen/uid")
    assert (study.model.name, study.key) == ("/models/codegen", "serving/tune-codegen/uid")


def test_a_study_without_a_namespace_is_in_none() -> None:
    """On one machine a study has only a name."""
    study = converted(parse_object({**VALID, "metadata": {"name": "alone"}}))
    assert (study.key, study.namespace, study.name) == ("/alone", "", "alone")


RUN = Run(
    name="tune-codegen-0123456789",
    pool="ranks",
    round=3,
    attempt=2,
    trials=(
        PlannedTrial(index=31, configuration=Configuration(gpu_count=5, batch_size=24, extra=(("attention", "text"),))),
        PlannedTrial(index=29, configuration=Configuration(gpu_count=5, batch_size=3, extra=(("attention", "text"),))),
    ),
)


def test_every_field_of_a_run_reaches_its_runner() -> None:
    """The runner gets the values of the study and of the run; trials are sorted by batch size."""
    assert build_run_spec(EXPECTED, RUN, scrape_grace_seconds=44.0) == RunSpec(
        namespace="serving",
        study="tune-codegen",
        pool="ranks",
        round=3,
        run="tune-codegen-0123456789",
        model=EXPECTED.model,
        engine=EXPECTED.engine.model_copy(update={"args": {**EXPECTED.engine.args, "attention": "text"}}),
        workload=EXPECTED.workload,
        device="cpu",
        gpu_count=5,
        trials=(TrialSpec(index=29, batch_size=3), TrialSpec(index=31, batch_size=24)),
        measurement=EXPECTED.measurement,
        seed=1234,
        scrape_grace_seconds=44.0,
    )
