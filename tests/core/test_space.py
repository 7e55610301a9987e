"""Cells of a search space, and the certain knowledge that saves measurements."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories.studies import SPACE, make_cell, make_pool, make_study, make_trial, make_trials
from infpop_operator.core.model import TrialState
from infpop_operator.core.space import cells, merge_facts, ruled_out
from infpop_operator.core.study import Configuration, ExtraParameter, Pool, SearchSpace
from infpop_runner.contract import EngineSpec, InfeasibleReason, ModelFacts

VLLM = EngineSpec(name="vllm")
PIPELINE = EngineSpec(name="hf-pipeline")


def test_a_space_has_each_combination_once_in_ascending_order() -> None:
    """Cells are ordered by GPU count, batch size and extra values, and none comes twice."""
    space = SearchSpace(
        gpu_counts=(1, 2), batch_sizes=(4, 8), extra=(ExtraParameter(name="mode", values=("slow", "fast")),)
    )
    assert cells(space) == tuple(
        make_cell(gpus, batch, mode=mode) for gpus in (1, 2) for batch in (4, 8) for mode in ("slow", "fast")
    )
    assert len(set(cells(SPACE))) == len(cells(SPACE)) == 44


def test_extra_parameters_are_sorted_by_name_however_the_study_lists_them() -> None:
    """A configuration is equal to itself whatever the order of the study's extra parameters."""
    one, two = ExtraParameter(name="b", values=(1,)), ExtraParameter(name="a", values=(2,))
    assert cells(SearchSpace(gpu_counts=(1,), batch_sizes=(1,), extra=(one, two))) == (make_cell(1, 1, a=2, b=1),)


def test_booleans_and_equal_numbers_are_different_values() -> None:
    """A flag stays a flag although `True == 1`, whichever space is asked for first."""
    for values in ((1, 0), (True, False), (1, 0)):
        extra = (ExtraParameter(name="flag", values=values),)
        found = cells(SearchSpace(gpu_counts=(1,), batch_sizes=(1,), extra=extra))
        assert [repr(cell.extra[0][1]) for cell in found] == [repr(value) for value in values]


@pytest.mark.parametrize(
    ("engine", "pool", "heads", "expected"),
    [
        (VLLM, make_pool(), 32, {}),
        (VLLM, make_pool(), None, {}),
        (VLLM, make_pool(), 28, {8: "HeadsNotDivisible"}),
        (VLLM, make_pool(), 71, {2: "HeadsNotDivisible", 4: "HeadsNotDivisible", 8: "HeadsNotDivisible"}),
        (PIPELINE, make_pool(), 71, {}),
        (
            PIPELINE,
            make_pool(device="cpu"),
            32,
            {2: "UnsupportedGpuCount", 4: "UnsupportedGpuCount", 8: "UnsupportedGpuCount"},
        ),
        (VLLM, make_pool(device="cpu", device_count=2), 32, {4: "UnsupportedGpuCount", 8: "UnsupportedGpuCount"}),
        (VLLM, make_pool(device_count=None), 32, {}),
    ],
)
def test_gpu_counts_that_cannot_work_are_ruled_out_before_any_run(
    engine: EngineSpec, pool: Pool, heads: int | None, expected: dict[int, str]
) -> None:
    """Heads that do not split, missing devices and pipelines on several CPUs cost no run."""
    facts = ModelFacts(attention_heads=heads, key_value_heads=1)
    found = ruled_out(make_study(engine=engine), pool, (), facts)
    assert {(cell.gpu_count, verdict.reason) for cell, verdict in found.items()} == set(expected.items())
    assert len(found) == len(expected) * len(SPACE.batch_sizes)
    assert all(verdict.detail for verdict in found.values())


def test_declared_facts_serve_until_an_engine_reports_its_own() -> None:
    """config.json rules cells out before the first load; a loaded engine's facts override it field by field."""
    study = make_study(engine=VLLM, model_facts=ModelFacts(attention_heads=28, key_value_heads=4))
    assert {cell.gpu_count for cell in ruled_out(study, make_pool(), (), None)} == {8}
    assert not ruled_out(study, make_pool(), (), ModelFacts(attention_heads=32))
    merged = merge_facts(study.model_facts, ModelFacts(attention_heads=32))
    assert merged == ModelFacts(attention_heads=32, key_value_heads=4)
    assert merge_facts(None, None) == ModelFacts()


def test_out_of_memory_rules_out_larger_batches_of_the_same_load_alone() -> None:
    """Another GPU count or other load-time parameters may well have room."""
    modes = ExtraParameter(name="mode", values=("slow", "fast"))
    space = SearchSpace(gpu_counts=(1, 2), batch_sizes=(1, 2, 4, 8), extra=(modes,))
    trials = (make_trial(make_cell(2, 2, mode="fast"), "GpuOutOfMemory"),)
    found = ruled_out(make_study(space=space), make_pool(), trials, None)
    assert set(found) == {make_cell(2, 4, mode="fast"), make_cell(2, 8, mode="fast")}
    assert {verdict.reason for verdict in found.values()} == {"GpuOutOfMemory"}


@pytest.mark.parametrize("reason", ["HeadsNotDivisible", "UnsupportedGpuCount"])
def test_a_gpu_count_found_impossible_is_not_tried_with_another_batch(reason: InfeasibleReason) -> None:
    """These reasons concern the GPU count, so one trial settles all its batch sizes and no other GPU count."""
    found = ruled_out(make_study(), make_pool(), (make_trial(make_cell(4, 64), reason),), None)
    assert {cell.gpu_count for cell in found} == {4}
    assert len(found) == len(SPACE.batch_sizes) - 1
    assert {verdict.reason for verdict in found.values()} == {reason}


def test_an_incompatible_gpu_rules_out_the_whole_pool() -> None:
    """No configuration runs on a device for which the build has no kernels."""
    found = ruled_out(make_study(), make_pool(), (make_trial(make_cell(1, 1), "IncompatibleGPU"),), None)
    assert len(found) == 43


@pytest.mark.parametrize("outcome", ["RejectedArguments", "NotRecorded", TrialState.BROKEN, TrialState.INVALID, 10.0])
def test_nothing_else_says_anything_about_other_cells(outcome: float | InfeasibleReason | TrialState) -> None:
    """A rejected argument, a broken run or a number concerns only its own cell."""
    assert not ruled_out(make_study(), make_pool(), (make_trial(make_cell(1, 1), outcome),), None)


def test_what_is_measured_is_never_called_impossible() -> None:
    """A measured larger batch stays valid even if a smaller one ran out of memory later; broken ones need no retry."""
    trials = make_trials(
        [
            (make_cell(1, 512), 100.0),
            (make_cell(1, 256), "GpuOutOfMemory"),
            (make_cell(1, 1024), TrialState.BROKEN),
        ]
    )
    assert set(ruled_out(make_study(), make_pool(), trials, None)) == {make_cell(1, 1024)}


@given(st.sets(st.sampled_from(cells(SPACE)), max_size=8), st.randoms(use_true_random=False))
def test_pruning_is_the_same_in_any_order_of_trials_and_never_crosses_gpu_counts(
    failed: set[Configuration], random: Random
) -> None:
    """Out-of-memory pruning depends on what failed, not when, and covers only larger batches at that GPU count."""
    trials = make_trials([(cell, "GpuOutOfMemory") for cell in sorted(failed)])
    found = ruled_out(make_study(), make_pool(), trials, None)
    shuffled = list(trials)
    random.shuffle(shuffled)
    assert set(ruled_out(make_study(), make_pool(), tuple(shuffled), None)) == set(found)
    smallest = {gpus: min(cell.batch_size for cell in failed if cell.gpu_count == gpus) for gpus, *_ in _keys(failed)}
    for cell in cells(SPACE):
        larger = cell.gpu_count in smallest and cell.batch_size > smallest[cell.gpu_count]
        assert (cell in found) == (larger and cell not in failed)


def _keys(failed: set[Configuration]) -> set[tuple[int, object]]:
    return {cell.load_key for cell in failed}
