"""Results of one round count only if they were measured with the same prompts, software and GPUs."""

from dataclasses import replace

import pytest

from factories.studies import START, at, make_cell, make_measured, make_pool, make_study
from infpop_operator.core.comparability import reject_incomparable
from infpop_operator.core.decide import decide
from infpop_operator.core.history import failures
from infpop_operator.core.model import EndedRun, Finished, Hardware, History, Lost, PlannedTrial, Run, StartedRun
from infpop_runner.contract import Broken, Provenance, RunResult, decode_result, encode_message

FIRST = {
    "workload_hash": "a" * 8,
    "engine_version": "0.32.0",
    "torch_version": "2.13.0+cu130",
    "gpu_model": "NVIDIA A100-SXM4-40GB",
}
CHANGES = [
    ("workload_hash", "b" * 8, "WorkloadChanged"),
    ("engine_version", "0.33.0", "SoftwareChanged"),
    ("torch_version", "2.14.0+cu130", "SoftwareChanged"),
    ("gpu_model", "NVIDIA A100-SXM4-80GB", "GpuChanged"),
]


def make_run(number: int = 1, **changes: object) -> Run:
    """Return a run of one trial."""
    trials = (PlannedTrial(index=number, configuration=make_cell(1, 4)),)
    run = Run(name=f"study-{number}", pool="a100", round=1, attempt=1, trials=trials)
    return replace(run, **changes)


def make_end(run: Run, *, reached: bool = True, **provenance: object) -> Finished:
    """Return the end of a run whose trial was measured, or of one that broke before it `reached` the trial."""
    result = RunResult(
        run=run.name,
        trials=(make_measured(5.0, index=run.trials[0].index, batch_size=4),) if reached else (),
        provenance=Provenance.model_validate({"engine": "vllm"} | FIRST | provenance),
        broken=None if reached else Broken(reason="EngineCrash"),
        started_at=START,
        ended_at=START,
    )
    return Finished(result=result, ended_at=START)


def make_ended(run: Run, observation: Finished | Lost | None = None) -> EndedRun:
    """Return a run that ended in the environment in which the round started, unless a keyword says otherwise."""
    return EndedRun(run=run, started_at=START, observation=observation or make_end(run))


@pytest.mark.parametrize(("field", "value", "reason"), CHANGES)
def test_another_measure_than_the_rounds_first_is_not_a_measurement(field: str, value: str, reason: str) -> None:
    """A change behind an unchanged name costs the run, and the message gives the old and the new value."""
    seen = reject_incomparable(make_run(2), make_end(make_run(2), **{field: value}), [make_ended(make_run())])
    assert isinstance(seen, Lost)
    assert seen.reason == reason
    assert seen.counts
    assert value in seen.detail
    assert FIRST[field] in seen.detail


@pytest.mark.parametrize(("field", "value", "reason"), CHANGES)
def test_a_rejected_run_ended_when_it_ended(field: str, value: str, reason: str) -> None:
    """The rejected run keeps its own end time, so that its GPU time and the pause after it are right."""
    end = replace(make_end(make_run(2), **{field: value}), ended_at=at(33))
    seen = reject_incomparable(make_run(2), end, [make_ended(make_run())])
    assert isinstance(seen, Lost)
    assert seen == Lost(reason=reason, detail=seen.detail, ended_at=at(33))
    assert seen.detail.index(value) < seen.detail.index(FIRST[field])


def test_the_first_change_is_the_one_in_the_message() -> None:
    """Prompts before software, the engine before PyTorch, the GPU last."""
    changed = {field: value for field, value, _ in CHANGES}
    for field, value, reason in CHANGES:
        seen = reject_incomparable(make_run(2), make_end(make_run(2), **changed), [make_ended(make_run())])
        assert isinstance(seen, Lost)
        assert (seen.reason, value in seen.detail, FIRST[field] in seen.detail) == (reason, True, True)
        del changed[field]


def test_the_round_is_measured_by_the_first_result_that_says_it() -> None:
    """A later result in the history changes nothing."""
    later = make_ended(make_run(2), make_end(make_run(2), engine_version="0.33.0"))
    before = [make_ended(make_run()), later]
    assert isinstance(reject_incomparable(make_run(3), later.observation, before), Lost)
    same = make_end(make_run(3))
    assert reject_incomparable(make_run(3), same, before) is same


@pytest.mark.parametrize("field", FIRST)
def test_what_is_not_known_is_not_held_against_a_result(field: str) -> None:
    """An older runner or a truncated message reports less; the next result that reports the value is compared to it."""
    silent = make_end(make_run(2), **{field: None})
    assert reject_incomparable(make_run(2), silent, [make_ended(make_run())]) is silent
    before = [make_ended(make_run(), make_end(make_run(), **{field: None})), make_ended(make_run(2))]
    same = make_end(make_run(3))
    assert reject_incomparable(make_run(3), same, before) is same
    assert isinstance(reject_incomparable(make_run(3), make_end(make_run(3), **{field: "other"}), before), Lost)


@pytest.mark.parametrize("changes", [{"round": 2}, {"pool": "v100"}])
def test_another_round_or_pool_has_a_measure_of_its_own(changes: dict[str, object]) -> None:
    """An upgrade starts a new round, and pools may run different images on different GPUs."""
    run = make_run(2, **changes)
    end = make_end(run, **{field: value for field, value, _ in CHANGES})
    assert reject_incomparable(run, end, [make_ended(make_run())]) is end


def test_runs_without_a_trial_neither_set_the_measure_nor_are_judged_by_it() -> None:
    """A run that broke before it measured keeps its own reason and does not define the round's environment."""
    broken = make_end(make_run(2), reached=False, engine_version="0.33.0")
    assert reject_incomparable(make_run(2), broken, [make_ended(make_run())]) is broken
    measured = make_end(make_run(3))
    assert reject_incomparable(make_run(3), measured, [make_ended(make_run(2), broken)]) is measured
    lost = Lost(reason="NodeLost", ended_at=START)
    assert reject_incomparable(make_run(3), lost, [make_ended(make_run())]) is lost
    assert reject_incomparable(make_run(3), measured, [make_ended(make_run(2), lost)]) is measured


EXACT = Hardware(fingerprint="f", gpu_model="NVIDIA-A100-SXM4-40GB", compute_capability="8.0")


@pytest.mark.parametrize(
    ("name", "hardware", "counts"),
    [
        ("NVIDIA A100-SXM4-40GB", EXACT, True),
        ("A100-SXM4-40GB", EXACT, True),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", EXACT, True),
        ("NVIDIA A100-SXM4-40GB", replace(EXACT, gpu_model="NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"), True),
        ("NVIDIA L4", replace(EXACT, gpu_model="NVIDIA-L4-SHARED"), True),
        ("NVIDIA RTX (Pro) 4000", replace(EXACT, gpu_model="NVIDIA-RTX-Pro-4000"), True),
        ("N" * 48, replace(EXACT, gpu_model="N" * 60), True),
        (None, EXACT, True),
        ("Tesla V100-SXM2-32GB", replace(EXACT, compute_capability=None), True),
        ("Tesla V100-SXM2-32GB", replace(EXACT, gpu_model="nvidia-tesla-a100"), True),
        ("Tesla V100-SXM2-32GB", replace(EXACT, gpu_model="Tesla V100-PCIE-16GB + Tesla V100-SXM2-32GB"), True),
        ("Tesla V100-SXM2-32GB", replace(EXACT, gpu_model=None), True),
        ("Tesla V100-SXM2-32GB", None, True),
        ("Tesla V100-SXM2-32GB", EXACT, False),
        ("NVIDIA A100-SXM4-80GB", EXACT, False),
        ("NVIDIA L40S", replace(EXACT, gpu_model="NVIDIA-L40"), False),
        ("M" * 48, replace(EXACT, gpu_model="N" * 60), False),
    ],
)
def test_the_first_result_of_a_round_is_of_the_gpus_that_its_labels_name(
    name: str | None,
    hardware: Hardware | None,
    counts: bool,  # noqa: FBT001 - both ways of it
) -> None:
    """An autoscaler may add other nodes than before; only the labels of GPU feature discovery name a GPU exactly."""
    end = make_end(make_run(), gpu_model=name)
    seen = reject_incomparable(make_run(), end, [], hardware)
    assert (seen is end) is counts
    if isinstance(seen, Lost):
        assert seen.reason == "GpuChanged"
        assert seen.detail == f"GPU changed: {name}, but this round measures {hardware and hardware.gpu_model}"
    if name is not None:
        known = make_ended(make_run(), end)
        assert reject_incomparable(make_run(2), end, [known], hardware) is end, "a round that has begun goes on"


def test_a_name_that_was_cut_is_the_same_name() -> None:
    """A result that is too long for a termination message keeps only the start of its GPU's name."""
    long = "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition of a data centre"
    whole = make_end(make_run(), gpu_model=long)
    many = tuple(make_measured(5.0, index=index, batch_size=index + 1) for index in range(8))
    provenance = whole.result.provenance.model_copy(update={"node": "n" * 253, "driver_version": "5" * 64})
    full = whole.result.model_copy(update={"trials": many, "provenance": provenance})
    size = len(encode_message(full).encode())
    cut = decode_result(encode_message(full, limit_bytes=size - 250))
    assert cut.provenance.gpu_model == long[:48]
    end = Finished(result=cut, ended_at=START)
    assert reject_incomparable(make_run(2), end, [make_ended(make_run(), whole)]) is end


def test_an_image_that_was_pushed_again_costs_failures_and_no_data_point() -> None:
    """Runs on changed software count as failures of the study, as runs with changed prompts do."""
    study = make_study()
    before = decide(study, History(started_at=START), {}, START)
    (run,) = before.start
    live = replace(before.history, active=(StartedRun(run=run, started_at=START),), ended=(make_ended(make_run()),))
    end = make_end(run, torch_version="2.14.0")
    (failure,) = failures(decide(study, live, {run.name: end}, START).history)
    assert isinstance(failure.observation, Lost)
    assert failure.observation.reason == "SoftwareChanged"


def test_an_upgrade_that_is_known_begins_a_round_and_is_not_a_failure() -> None:
    """Where the software versions are known, as on one machine, a resumed study continues in a new round."""
    study = make_study(pools=(make_pool(software="vllm 0.32.0"),))
    before = decide(study, History(started_at=START), {}, START)
    history = replace(before.history, ended=(make_ended(before.start[0]),))
    upgraded = replace(study, pools=(make_pool(software="vllm 0.33.0"),))
    resumed = decide(upgraded, history, {}, START)
    assert [entry.number for entry in resumed.history.rounds] == [1, 2]
    (run,) = resumed.start
    live = replace(resumed.history, active=(StartedRun(run=run, started_at=START),))
    done = decide(upgraded, live, {run.name: make_end(run, engine_version="0.33.0")}, START)
    assert failures(done.history) == ()
    assert isinstance(done.history.ended[-1].observation, Finished)
