"""The reason why a cell is ruled out, message by message, and which facts are known of a model."""

from dataclasses import replace

import pytest

from factories.studies import make_cell, make_pool, make_study, make_trial, make_trials
from infpop_operator.core.model import Trial, TrialState
from infpop_operator.core.space import RuledOut, cells, merge_facts, ruled_out
from infpop_operator.core.study import Configuration, ExtraParameter, SearchSpace
from infpop_runner.contract import EngineSpec, InfeasibleReason, ModelFacts

VLLM = EngineSpec(name="vllm")
PIPELINE = EngineSpec(name="hf-pipeline")
SPACE = SearchSpace(gpu_counts=(1, 2, 4), batch_sizes=(8, 16))
STUDY = make_study(space=SPACE)


def why(cell: Configuration, *trials: Trial, study: object = STUDY, **pool: object) -> RuledOut | None:
    """Return why a cell of the space is ruled out."""
    facts = pool.pop("facts", None)
    return ruled_out(study, make_pool(**pool), trials, facts).get(cell)


@pytest.mark.parametrize(("devices", "ruled"), [(1, True), (2, False), (3, False), (None, False)])
def test_a_run_cannot_have_more_devices_than_its_pool_has_for_one(devices: int | None, *, ruled: bool) -> None:
    """A run cannot combine the devices of several nodes."""
    found = why(make_cell(2, 8), device_count=devices, total_device_count=8)
    detail = f"2 devices requested, but pool a100 has {devices} for one run"
    assert found == (RuledOut(reason="UnsupportedGpuCount", detail=detail) if ruled else None)


@pytest.mark.parametrize(
    ("engine", "device", "gpus", "ruled"),
    [
        (PIPELINE, "cpu", 2, True),
        (PIPELINE, "cpu", 1, False),
        (PIPELINE, "cuda", 2, False),
        (VLLM, "cpu", 2, False),
        (STUDY.engine, "cpu", 2, False),
    ],
)
def test_only_a_pipeline_on_cpus_is_bound_to_one_device(
    engine: EngineSpec, device: str, gpus: int, *, ruled: bool
) -> None:
    """VLLM runs on several devices."""
    found = why(make_cell(gpus, 8), study=make_study(space=SPACE, engine=engine), device=device)
    detail = f"a transformers pipeline uses one CPU device, not {gpus}"
    assert found == (RuledOut(reason="UnsupportedGpuCount", detail=detail) if ruled else None)


@pytest.mark.parametrize(
    ("engine", "heads", "gpus", "ruled"),
    [
        (VLLM, 6, 4, True),
        (VLLM, 6, 2, False),
        (VLLM, 8, 4, False),
        (VLLM, 3, 1, False),
        (VLLM, None, 4, False),
        (PIPELINE, 6, 4, False),
        (STUDY.engine, 6, 4, False),
    ],
)
def test_only_vllm_splits_attention_heads_over_gpus(
    engine: EngineSpec, heads: int | None, gpus: int, *, ruled: bool
) -> None:
    """A pipeline splits layers instead, and vLLM replicates key-value heads."""
    facts = ModelFacts(attention_heads=heads, key_value_heads=1)
    found = why(make_cell(gpus, 8), study=make_study(space=SPACE, engine=engine), facts=facts)
    detail = f"{heads} attention heads cannot be split evenly over {gpus} GPUs"
    assert found == (RuledOut(reason="HeadsNotDivisible", detail=detail) if ruled else None)


def test_the_first_reason_is_reported() -> None:
    """Reasons that need no trial come first, and the device limit comes before the attention heads."""
    study = make_study(space=SPACE, engine=VLLM)
    full = make_trial(make_cell(4, 8), "GpuOutOfMemory")
    facts = ModelFacts(attention_heads=6)
    reasons = [
        why(make_cell(4, 16), full, study=study, device_count=2, facts=facts),
        why(make_cell(4, 16), full, study=study, facts=facts),
        why(make_cell(4, 16), full, study=study),
    ]
    assert [each and each.reason for each in reasons] == ["UnsupportedGpuCount", "HeadsNotDivisible", "GpuOutOfMemory"]


@pytest.mark.parametrize(("batch", "ruled"), [(4, False), (8, False), (16, True)])
def test_only_a_larger_batch_of_the_same_load_runs_out_of_memory_for_certain(batch: int, *, ruled: bool) -> None:
    """The same batch size is known from its own trial, and a smaller one may well fit."""
    space = replace(SPACE, batch_sizes=(4, 8, 16), extra=(ExtraParameter(name="a", values=(1, 2)),))
    study, full = make_study(space=space), make_trial(make_cell(2, 8, a=1), "GpuOutOfMemory")
    expected = RuledOut(reason="GpuOutOfMemory", detail="batch 8 already ran out of memory on 2 GPUs")
    assert why(make_cell(2, batch, a=1), full, study=study) == (expected if ruled else None)
    others = (make_cell(1, batch, a=1), make_cell(4, batch, a=1), make_cell(2, batch, a=2))
    assert not [cell for cell in others if why(cell, full, study=study)]
    alone = why(make_cell(1, 16, a=1), make_trial(make_cell(1, 8, a=1), "GpuOutOfMemory"), study=study)
    assert alone == RuledOut(reason="GpuOutOfMemory", detail="batch 8 already ran out of memory on 1 GPU")


@pytest.mark.parametrize(
    ("reason", "cell", "detail"),
    [
        ("HeadsNotDivisible", make_cell(2, 16), "trial 4 found this GPU count infeasible"),
        ("UnsupportedGpuCount", make_cell(2, 16), "trial 4 found this GPU count infeasible"),
        ("IncompatibleGPU", make_cell(4, 8), "trial 4 found this pool's GPUs incompatible"),
        ("UnsupportedModel", make_cell(4, 8), "trial 4 found this pool's engine too old for the model"),
    ],
)
def test_a_trial_says_why_or_is_named(reason: InfeasibleReason, cell: Configuration, detail: str) -> None:
    """The trial's own message is passed on where it has one."""
    trial = make_trial(make_cell(2, 8), reason, index=3)
    assert why(cell, trial) == RuledOut(reason=reason, detail=detail)
    assert why(cell, replace(trial, detail="said so")) == RuledOut(reason=reason, detail="said so")
    assert (why(make_cell(4, 8), trial) is None) == (reason not in {"IncompatibleGPU", "UnsupportedModel"})


@pytest.mark.parametrize(
    ("reason", "cell", "ruled"),
    [
        ("HeadsNotDivisible", make_cell(2, 16, a=2), True),
        ("UnsupportedGpuCount", make_cell(2, 16, a=1), True),
        ("UnsupportedGpuCount", make_cell(2, 16, a=2), False),
        ("IncompatibleGPU", make_cell(4, 8, a=1), True),
        ("IncompatibleGPU", make_cell(4, 8, a=2), False),
        ("UnsupportedModel", make_cell(4, 8, a=2), False),
    ],
)
def test_another_extra_argument_may_work(reason: InfeasibleReason, cell: Configuration, *, ruled: bool) -> None:
    """An extra argument may choose another quantisation or code: only the heads are divided alike with all of them."""
    space = replace(SPACE, extra=(ExtraParameter(name="a", values=(1, 2)),))
    assert (why(cell, make_trial(make_cell(2, 8, a=1), reason), study=make_study(space=space)) is not None) == ruled


def test_an_infeasible_trial_after_others_still_counts() -> None:
    """Earlier numbers and failures neither hide the infeasible trial nor rule anything out."""
    trials = make_trials(
        [(make_cell(2, 8), 5.0), (make_cell(1, 8), TrialState.BROKEN), (make_cell(4, 8), "GpuOutOfMemory")]
    )
    assert set(ruled_out(STUDY, make_pool(), trials, None)) == {make_cell(4, 16)}


def test_cells_of_trials_and_extra_ones_are_judged_as_those_of_the_space_are() -> None:
    """A broken trial outside the space and a baseline can be ruled out; a cell's own trial does not rule itself out."""
    full, broken, running = make_trials(
        [
            (make_cell(2, 8), "GpuOutOfMemory"),
            (make_cell(2, 48), TrialState.BROKEN),
            (make_cell(2, 64), TrialState.RUNNING),
        ]
    )
    found = ruled_out(STUDY, make_pool(), (full, broken, running), None, also=(make_cell(2, 32), make_cell(1, 32)))
    assert set(found) == {make_cell(2, batch) for batch in (16, 32, 48, 64)}
    measured = make_trial(make_cell(2, 16), 5.0, index=9)
    assert make_cell(2, 16) not in ruled_out(STUDY, make_pool(), (full, measured), None)
    assert next(iter(found)) == make_cell(2, 16)


@pytest.mark.parametrize("field", ModelFacts.model_fields)
def test_each_fact_that_an_engine_reported_wins_over_the_declared_one(field: str) -> None:
    """A fact that only one of the two knows is kept."""
    declared = ModelFacts(attention_heads=1, key_value_heads=2, parameters=3, weight_bytes=4)
    measured = ModelFacts.model_validate({field: 9})
    assert merge_facts(declared, measured) == declared.model_copy(update={field: 9})
    assert merge_facts(measured, declared) == declared
    assert merge_facts(declared, None) == merge_facts(None, declared) == declared


def test_cells_come_in_the_order_of_their_values() -> None:
    """Extra values keep the order in which the study lists them, sorted or not."""
    extra = (ExtraParameter(name="b", values=(2, 1)), ExtraParameter(name="a", values=("y", "x")))
    space = SearchSpace(gpu_counts=(1, 2), batch_sizes=(4,), extra=extra)
    assert [(cell.gpu_count, dict(cell.extra)) for cell in cells(space)] == [
        (gpus, {"a": a, "b": b}) for gpus in (1, 2) for a in ("y", "x") for b in (2, 1)
    ]


@pytest.mark.parametrize("reason", ["GpuOutOfMemory", "IncompatibleGPU", "HeadsNotDivisible"])
def test_a_run_that_broke_rules_nothing_out(reason: str) -> None:
    """Only a result from the runner rules a cell out, even where a lost run has the same reason."""
    broken = replace(make_trial(make_cell(2, 8), TrialState.BROKEN), reason=reason)
    assert not ruled_out(STUDY, make_pool(), (broken,), None)
