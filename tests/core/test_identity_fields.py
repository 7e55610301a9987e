"""Every field of a study's inputs: which of them start a new identity, and which do not.

The tables name every field. A new field must be added to one side of its table.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import timedelta

import pytest
from pydantic import BaseModel

from factories.studies import make_cell, make_pool, make_study
from infpop_operator.core.extra_metrics import ExtraMetric
from infpop_operator.core.fingerprint import measurement_identity, run_name
from infpop_operator.core.model import PlannedTrial, Run
from infpop_operator.core.study import Algorithm, Budget, Configuration, Objective, Pool, Retune, SearchSpace, Study
from infpop_runner.contract import (
    EngineSpec,
    FormulaLandscape,
    MeasurementSpec,
    ModelFacts,
    ModelSpec,
    RecordedLandscape,
    SimulationSpec,
    SyntheticSource,
    WorkloadSpec,
)

STUDY = make_study()
VLLM = EngineSpec(name="vllm")
RECORDED = RecordedLandscape(path="p", gpu_model="g", engine="e", model="m")

# Each field with a non-default value. True: the field may change numbers, so it changes the identity.
STUDY_FIELDS: Mapping[str, tuple[object, bool]] = {
    "key": ("other/study", False),
    "namespace": ("other", False),
    "name": ("other", False),
    "model": (ModelSpec(name="model", dtype="float16"), True),
    "engine": (VLLM, True),
    "workload": (WorkloadSpec(source=SyntheticSource(prompt_tokens=8), samples=9, max_new_tokens=5), True),
    "space": (SearchSpace(gpu_counts=(1,), batch_sizes=(1,)), False),
    "objective": (Objective(metric="throughputPerGPU"), False),
    "algorithm": (Algorithm(seed=1), True),
    "budget": (Budget(max_trials=1, deadline=timedelta(hours=1)), False),
    "measurement": (MeasurementSpec(repeats=5), True),
    "pools": ((make_pool(), make_pool(name="v100", fingerprint="f2")), False),
    "model_fingerprint": ("m2", True),
    "workload_fingerprint": ("w2", True),
    "baseline": (make_cell(1, 8), False),
    "model_facts": (ModelFacts(attention_heads=8), False),
    "suspended": (True, False),
    "metrics": ((ExtraMetric(name="power", query="sum(p)", unit="watts"),), True),
    "retune": (Retune(policy="Never"), False),
    "reuse": ("SameIdentity", False),
    "publishes": (True, False),
}
MODEL_FIELDS: Mapping[str, tuple[object, bool]] = {
    "name": ("/moved/model", False),  # the fingerprint covers it
    "revision": ("abc", True),
    "dtype": ("bfloat16", True),
    "load_format": ("dummy", True),
}
ENGINE_FIELDS: Mapping[str, tuple[object, bool]] = {
    "name": ("hf-pipeline", True),
    "gpu_memory_utilization": (0.5, True),
    "max_num_batched_tokens": (4096, True),
    "enforce_eager": (True, True),
    "args": ({"block_size": 32}, True),
    "simulation": (SimulationSpec(noise_ratio=0.1), True),
}
SIMULATION_FIELDS: Mapping[str, tuple[object, bool]] = {
    "landscape": (FormulaLandscape(best_gpu_count=2), True),
    "noise_ratio": (0.1, True),
    "load_seconds": (1.0, True),
    "repeat_seconds": (1.0, True),
}
WORKLOAD_FIELDS: Mapping[str, tuple[object, bool]] = {
    "source": (SyntheticSource(prompt_tokens=9), False),  # the fingerprint covers it
    "samples": (9, True),
    "max_new_tokens": (6, True),
}
MEASUREMENT_FIELDS: Mapping[str, tuple[object, bool]] = {
    "warmup_batches": (2, True),
    "repeats": (5, True),
    "min_repeat_seconds": (20.0, True),
    "max_spread_ratio": (0.5, True),
    "load_timeout_seconds": (60.0, False),
    "measure_timeout_seconds": (60.0, False),
    "mode": ("adaptive", False),  # how much of the same value is measured
    "interval_ratio": (0.05, False),
}
ALGORITHM_FIELDS: Mapping[str, tuple[object, bool]] = {
    "name": ("grid", False),
    "seed": (1, True),
    "trials_per_run": (2, True),
}
POOL_FIELDS: Mapping[str, tuple[object, bool]] = {
    "name": ("renamed", False),
    "device": ("cpu", False),  # covered by its fingerprint
    "fingerprint": ("f2", True),
    "software": ("vllm 0.33.0", True),
    "gpu_model": ("H100", False),  # covered by its fingerprint
    "device_count": (4, False),
    "total_device_count": (16, False),
    "usable_device_count": (2, False),
    "price_per_gpu_hour": (9.0, False),
    "cpu_millicores": (8000, True),
    "memory_bytes": (2**34, False),  # where the devices are GPUs
    "gpu_memory_mib": (40960, False),  # these four are covered by the fingerprint
    "compute_capability": ("9.0", False),
    "driver_major": ("580", False),
    "mig": ("1g.5gb", False),
    "known_as": ("f0", False),
    "schedule_timeout": (timedelta(hours=1), False),
    "pod_template": ((("env.NCCL_ALGO", '"Ring"'),), True),
}
TABLES = (
    (Study, STUDY_FIELDS),
    (Pool, POOL_FIELDS),
    (Algorithm, ALGORITHM_FIELDS),
    (ModelSpec, MODEL_FIELDS),
    (EngineSpec, ENGINE_FIELDS),
    (SimulationSpec, SIMULATION_FIELDS),
    (WorkloadSpec, WORKLOAD_FIELDS),
    (MeasurementSpec, MEASUREMENT_FIELDS),
)


def names_of(kind: type) -> set[str]:
    """Return the names of the fields of a value's type."""
    return set(kind.model_fields) if issubclass(kind, BaseModel) else {field.name for field in fields(kind)}


def identity(study: Study) -> str:
    """Return the identity of the study on its first pool."""
    return measurement_identity(study, study.pools[0])


@pytest.mark.parametrize(("kind", "table"), TABLES)
def test_every_field_is_classified(kind: type, table: Mapping[str, object]) -> None:
    """A new field must be put on one side of its table."""
    assert set(table) == names_of(kind)


@pytest.mark.parametrize("field", STUDY_FIELDS)
def test_a_field_of_the_study_makes_another_measurement_where_it_changes_numbers(field: str) -> None:
    """Fields that only say how long, where or why keep earlier measurements valid."""
    value, changes = STUDY_FIELDS[field]
    assert getattr(STUDY, field) != value
    assert (identity(replace(STUDY, **{field: value})) != identity(STUDY)) is changes


@pytest.mark.parametrize("field", POOL_FIELDS)
def test_a_field_of_the_pool_makes_another_measurement_where_it_changes_numbers(field: str) -> None:
    """Names, prices and device counts keep earlier measurements valid."""
    value, changes = POOL_FIELDS[field]
    pool = make_pool()
    assert getattr(pool, field) != value
    changed = measurement_identity(STUDY, replace(pool, **{field: value}))
    assert (changed != measurement_identity(STUDY, pool)) is changes


@pytest.mark.parametrize("field", ALGORITHM_FIELDS)
def test_a_field_of_the_algorithm_makes_another_measurement_where_it_changes_numbers(field: str) -> None:
    """The search algorithm may change; the seed draws prompts, and shared engine loads change the measured state."""
    value, changes = ALGORITHM_FIELDS[field]
    changed = replace(STUDY, algorithm=replace(STUDY.algorithm, **{field: value}))
    assert (identity(changed) != identity(STUDY)) is changes


def test_how_many_trials_share_a_load_makes_no_other_measurement() -> None:
    """Only whether trials share a load counts, not how many."""
    two, eight = (replace(STUDY, algorithm=Algorithm(trials_per_run=count)) for count in (2, 8))
    assert identity(two) == identity(eight)


def test_automatic_companions_make_no_other_measurement() -> None:
    """A study that leaves it to the search how many trials share a load keeps what it measured with one in each."""
    one, auto = (replace(STUDY, algorithm=Algorithm(trials_per_run=count)) for count in (1, "auto"))
    assert identity(one) == identity(auto)


@pytest.mark.parametrize(
    ("part", "field", "value", "changes"),
    [
        (part, field, *entry)
        for part, table in (
            ("model", MODEL_FIELDS),
            ("workload", WORKLOAD_FIELDS),
            ("measurement", MEASUREMENT_FIELDS),
        )
        for field, entry in table.items()
    ],
)
def test_a_field_of_what_the_runner_reads_makes_another_measurement_where_it_changes_numbers(
    part: str, field: str, value: object, *, changes: bool
) -> None:
    """Timeouts and the locations of model and prompts keep earlier measurements valid."""
    spec = getattr(STUDY, part)
    assert getattr(spec, field) != value
    changed = replace(STUDY, **{part: spec.model_copy(update={field: value})})
    assert (identity(changed) != identity(STUDY)) is changes


@pytest.mark.parametrize("field", ENGINE_FIELDS)
def test_every_field_of_the_engine_makes_another_measurement(field: str) -> None:
    """An engine that is given anything else may be faster or slower."""
    value, changes = ENGINE_FIELDS[field]
    study = make_study(engine=VLLM)
    changed = make_study(engine=VLLM.model_copy(update={field: value}))
    assert (identity(changed) != identity(study)) is changes


@pytest.mark.parametrize("field", SIMULATION_FIELDS)
def test_every_field_of_a_simulation_makes_another_measurement(field: str) -> None:
    """Replayed numbers of another landscape are never compared with these."""
    value, changes = SIMULATION_FIELDS[field]
    engine = STUDY.engine.model_copy(update={"simulation": SimulationSpec().model_copy(update={field: value})})
    assert (identity(replace(STUDY, engine=engine)) != identity(STUDY)) is changes


@pytest.mark.parametrize("name", ["path", "gpu_model", "engine", "model"])
def test_every_field_of_a_recorded_landscape_makes_another_measurement(name: str) -> None:
    """Each field selects other recorded numbers."""
    before, after = (
        make_study(engine=EngineSpec(name="simulated", simulation=SimulationSpec(landscape=landscape)))
        for landscape in (RECORDED, RECORDED.model_copy(update={name: "other"}))
    )
    assert identity(before) != identity(after)


RUN = Run(
    name="n", pool="a100", round=1, attempt=1, trials=(PlannedTrial(index=0, configuration=make_cell(1, 8, a=1)),)
)
# Each input of a run name with another value; its name is computed from all of these.
RUN_FIELDS: Mapping[str, object] = {
    "pool": "v100",
    "round": 2,
    "attempt": 2,
    "longer": True,
    "in_order": True,
    "confirms": True,
    "to_beat_tokens_per_second": 100.0,
    "trials": (*RUN.trials, PlannedTrial(index=1, configuration=make_cell(1, 16))),
}
TRIAL_FIELDS: Mapping[str, object] = {
    "index": 1,
    "configuration": make_cell(1, 16, a=1),
    "needs_tokens_per_second": 100.0,
}
CELL_FIELDS: Mapping[str, object] = {"gpu_count": 2, "batch_size": 16, "extra": (("a", 2),)}


def name_of(study: Study, run: Run) -> str:
    """Return the name that the run is given."""
    return run_name(study, run)


def test_everything_of_a_run_is_in_its_name() -> None:
    """Two runs that differ in any input have different names, so neither is taken for the other."""
    assert set(RUN_FIELDS) == names_of(Run) - {"name"}
    assert set(TRIAL_FIELDS) == names_of(PlannedTrial)
    assert set(CELL_FIELDS) == names_of(Configuration)
    (trial,) = RUN.trials
    changed = [replace(RUN, **{field: value}) for field, value in RUN_FIELDS.items()]
    changed += [replace(RUN, trials=(replace(trial, **{field: value}),)) for field, value in TRIAL_FIELDS.items()]
    changed += [
        replace(RUN, trials=(replace(trial, configuration=replace(trial.configuration, **{field: value})),))
        for field, value in CELL_FIELDS.items()
        if field != "batch_size"  # as in TRIAL_FIELDS
    ]
    names = [name_of(STUDY, run) for run in (RUN, *changed)]
    assert len(set(names)) == len(names)
    assert name_of(replace(STUDY, key="other/study"), RUN) not in names


def test_a_run_is_called_after_its_study() -> None:
    """The study's name as prefix makes a run easy to find; the hash suffix makes it unique."""
    prefix, _, tail = name_of(replace(STUDY, name="my-study"), RUN).rpartition("-")
    assert prefix == "my-study"
    assert len(tail) == 10
    assert set(tail) <= set("0123456789abcdef")
    assert len(identity(STUDY)) == 16
