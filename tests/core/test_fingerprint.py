"""Identities: what may be compared with what, and names that are the same for the same run."""

from dataclasses import replace
from datetime import timedelta

import pytest

from factories.studies import make_cell, make_pool, make_study
from infpop_operator.core import fingerprint
from infpop_operator.core.fingerprint import measurement_identity, run_name
from infpop_operator.core.model import Algorithm, Budget, Objective, PlannedTrial, SearchSpace, Study
from infpop_runner.contract import EngineSpec, FileSource, MeasurementSpec, ModelSpec, SimulationSpec, WorkloadSpec

STUDY = make_study()
FILE = WorkloadSpec(source=FileSource(path="/elsewhere/prompts.jsonl"), samples=8, max_new_tokens=5)


@pytest.mark.parametrize(
    "changed",
    [
        make_study(model=ModelSpec(name="/moved/model")),
        make_study(workload=FILE),
        make_study(space=SearchSpace(gpu_counts=(1,), batch_sizes=(1, 1024))),
        make_study(objective=Objective(metric="throughputPerGPU")),
        make_study(budget=Budget(max_trials=44, deadline=timedelta(hours=1))),
        make_study(algorithm=Algorithm(name="random")),
        make_study(measurement=MeasurementSpec(load_timeout_seconds=60)),
        make_study(pools=(make_pool(memory_bytes=2**36),)),
    ],
)
def test_what_does_not_change_a_number_keeps_what_was_measured(changed: Study) -> None:
    """A moved file, a larger budget, another objective or space: nothing is measured again."""
    assert measurement_identity(changed, changed.pools[0]) == measurement_identity(STUDY, STUDY.pools[0])


@pytest.mark.parametrize(
    "changed",
    [
        make_study(model=ModelSpec(name="model", dtype="float16")),
        make_study(model_fingerprint="m2"),
        make_study(engine=EngineSpec(name="simulated", simulation=SimulationSpec(), enforce_eager=True)),
        make_study(workload=WorkloadSpec(source=FILE.source, samples=9, max_new_tokens=5)),
        make_study(workload=WorkloadSpec(source=FILE.source, samples=8, max_new_tokens=6)),
        make_study(workload_fingerprint="w2"),
        make_study(measurement=MeasurementSpec(min_repeat_seconds=20)),
        make_study(algorithm=Algorithm(trials_per_run=4)),
        make_study(algorithm=Algorithm(seed=1)),
        make_study(pools=(make_pool(fingerprint="f2"),)),
        make_study(pools=(make_pool(software="vllm 0.33.0, torch 2.13.0"),)),
        make_study(pools=(make_pool(cpu_millicores=8000),)),
    ],
)
def test_what_changes_a_number_changes_the_identity(changed: Study) -> None:
    """Numbers that may differ for a reason other than the configuration are never put side by side."""
    assert measurement_identity(changed, changed.pools[0]) != measurement_identity(STUDY, STUDY.pools[0])


def test_memory_is_part_of_the_identity_where_the_devices_are_cpus() -> None:
    """There the limit is what the engine makes its cache of: numbers under another one are never put beside these."""
    identities = [
        measurement_identity(STUDY, make_pool(device="cpu", memory_bytes=amount)) for amount in (None, 2**34, 2**35)
    ]
    assert len(set(identities)) == 3


def test_another_method_of_measuring_changes_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of a runner that measures in another way are never put beside older ones."""
    before = measurement_identity(STUDY, STUDY.pools[0])
    monkeypatch.setattr(fingerprint, "MEASUREMENT_VERSION", fingerprint.MEASUREMENT_VERSION + 1)
    assert measurement_identity(STUDY, STUDY.pools[0]) != before


def _name(study: Study = STUDY, **changes: object) -> str:
    arguments: dict[str, object] = {
        "pool": "a100",
        "round_number": 1,
        "attempt": 1,
        "longer": False,
        "trials": (PlannedTrial(index=0, configuration=make_cell(1, 8)),),
    }
    return run_name(study, **{**arguments, **changes})


def test_planning_the_same_run_twice_names_it_the_same() -> None:
    """A restart between planning and starting makes no second run."""
    assert _name() == _name()


def test_each_run_has_a_name_of_its_own() -> None:
    """Another attempt, round, pool, configuration or study is another run."""
    others = [
        _name(attempt=2),
        _name(round_number=2),
        _name(pool="v100"),
        _name(longer=True),
        _name(trials=(PlannedTrial(index=0, configuration=make_cell(1, 16)),)),
        _name(trials=(PlannedTrial(index=0, configuration=make_cell(1, 8, block_size=16)),)),
        _name(replace(STUDY, key="other/study")),
    ]
    assert len({_name(), *others}) == len(others) + 1


def test_the_longest_study_name_still_makes_a_label_value() -> None:
    """A run's name is a Kubernetes label value: 63 characters at most."""
    assert len(_name(replace(STUDY, name="x" * 63))) == 63
