"""Loads that fail in every attempt: when they are set aside, what they cost, and what they say of other cells."""

from cProfile import Profile
from dataclasses import replace
from pstats import Stats

import pytest

from core.planning import LATER, make_small_study
from factories.runs import make_ended, make_finish, make_history, make_loss, make_round, make_run
from factories.studies import make_cell, make_trial
from infpop_operator.core.load_failures import LOAD_FAILS, above_memory, free_failures, load_outlook, smallest_of_each
from infpop_operator.core.model import EndedRun, Trial, TrialState
from infpop_operator.core.plan import plan_pool
from infpop_operator.core.study import Budget, ExtraParameter, SearchSpace, Study

STUDY = make_small_study()


def died(gpus: int, batch: int, number: int, *, index: int = 0) -> EndedRun:
    """Return a run whose runner reported that the engine did not load."""
    run = make_run(f"died-{gpus}-{number}", cells=[make_cell(gpus, batch)], index=index)
    return make_ended(run, make_finish(run, [None], broken="EngineCrash", load_seconds=None))


def lost(gpus: int, batch: int, number: int, *, reason: str = "Killed") -> EndedRun:
    """Return a run that ended without a result."""
    return make_ended(make_run(f"lost-{gpus}-{number}", cells=[make_cell(gpus, batch)]), make_loss(reason))


def measured(gpus: int, batch: int = 8, *, index: int = 7) -> EndedRun:
    """Return a run of one cell that was measured."""
    run = make_run(f"done-{gpus}-{batch}", cells=[make_cell(gpus, batch)], index=index)
    return make_ended(run, make_finish(run))


def aside(*ended: EndedRun, study: Study = STUDY) -> list[tuple[int, str, int]]:
    """Return the GPU counts that are set aside, with the reason and the number of attempts."""
    found = load_outlook(study, study.pools[0], make_round(), make_history(ended=ended)).set_aside
    return [(each.gpu_count, each.reason, each.attempts) for each in found]


def free(*ended: EndedRun) -> int:
    """Return how many of these runs use no failure budget."""
    return len(free_failures(STUDY, make_history(ended=ended)))


THRICE = tuple(died(2, 8, number) for number in range(3))


def test_a_load_is_set_aside_after_three_attempts_while_another_may_work() -> None:
    """The cause is that of the last attempt; one attempt less, or a success in between, and it is tried again."""
    assert aside(*THRICE) == [(2, LOAD_FAILS, 3)]
    assert aside(*THRICE[:2]) == []
    assert aside(*THRICE, measured(2)) == []
    found = load_outlook(STUDY, STUDY.pools[0], make_round(), make_history(ended=THRICE)).set_aside
    assert found[0].detail == "EngineCrash: EngineCrash of died-2-2"
    only = make_small_study(space=replace(STUDY.space, gpu_counts=(2,)))
    assert aside(*THRICE, study=only) == []


def test_a_load_that_failed_with_large_batches_alone_has_one_more_attempt() -> None:
    """Its last attempt has the smallest batch: if that does not load, no batch does."""
    large = tuple(died(2, 64, number) for number in range(3))
    assert aside(*large) == []
    assert aside(*large, died(2, 8, 3, index=1)) == [(2, LOAD_FAILS, 4)]
    history = make_history(ended=(measured(1), *large[:2]))
    run = plan_pool(STUDY, STUDY.pools[0], history, LATER).next_run
    assert run is not None
    assert (run.trials[0].configuration, run.attempt) == (make_cell(2, 8), 1)


@pytest.mark.parametrize("reason", ["ImagePull", "MissingSecret", "Deleted", "SoftwareChanged"])
def test_what_breaks_every_load_is_no_reason_to_set_one_aside(reason: str) -> None:
    """A missing image or model has nothing to do with the GPU count, and uses the failure budget."""
    losses = tuple(lost(2, 8, number, reason=reason) for number in range(3))
    assert aside(measured(1), *losses) == []
    assert free(measured(1), *losses) == 0


def test_failures_of_a_load_use_no_budget_while_others_work() -> None:
    """A runner's own report is believed at once, a run without a result only when the load is set aside."""
    assert free(died(2, 8, 0)) == 1
    assert free(died(2, 8, 0), died(1, 8, 0, index=1)) == 0
    assert free(measured(1), died(2, 8, 0)) == 1
    assert free(measured(1), lost(2, 8, 0), lost(2, 8, 1)) == 0
    assert free(measured(1), *(lost(2, 8, number) for number in range(3))) == 3


def test_a_load_that_answered_does_not_fail() -> None:
    """A refusal is an answer: the failures before it count as those of an unlucky machine."""
    run = make_run("answer", cells=[make_cell(2, 64)], index=3)
    answer = make_ended(run, make_finish(run, ["GpuOutOfMemory"], load_seconds=None))
    assert aside(*THRICE[:2], answer, THRICE[2]) == []


def broken(batch: int, *, failures: int = 3, reason: str = "EngineCrash", detail: str = "") -> Trial:
    """Return a broken trial on two GPUs."""
    trial = make_trial(make_cell(2, batch), TrialState.BROKEN)
    return replace(trial, failures=failures, reason=reason, detail=detail)


@pytest.mark.parametrize(
    ("trial", "bounded"),
    [
        (broken(16, reason="HostOutOfMemory"), True),
        (broken(16, detail="torch.OutOfMemoryError: HIP out of memory"), True),
        (broken(16, detail="Cannot allocate memory"), True),
        (broken(16), False),
        (broken(16, reason="HostOutOfMemory", failures=2), False),
    ],
)
def test_a_batch_that_always_breaks_bounds_larger_ones_only_if_memory_is_named(trial: Trial, *, bounded: bool) -> None:
    """Any other cause says nothing of another batch size, and no cause of another GPU count."""
    cells = [make_cell(2, 8), make_cell(2, 16), make_cell(2, 32), make_cell(1, 32)]
    assert above_memory([trial], cells) == ({make_cell(2, 32)} if bounded else set())


def test_each_load_has_its_smallest_cell_in_any_order() -> None:
    """A load is a GPU count with its extra values."""
    cells = [make_cell(2, 16), make_cell(1, 32, a=1), make_cell(2, 8), make_cell(1, 8), make_cell(1, 16, a=1)]
    assert set(smallest_of_each(cells).values()) == {make_cell(2, 8), make_cell(1, 8), make_cell(1, 16, a=1)}
    assert smallest_of_each(reversed(cells)) == smallest_of_each(cells)


def test_the_effort_for_a_plan_hardly_grows_with_the_loads_that_failed() -> None:
    """Forty failed loads in a space of 4,000 cells: each cell is read some times, not once for each of them."""
    extra = (ExtraParameter(name="a", values=tuple(range(400))),)
    space = SearchSpace(gpu_counts=(1,), batch_sizes=tuple(range(1, 11)), extra=extra)
    study = make_small_study(space=space, budget=Budget(max_trials=100))
    runs = [make_run(f"died-{a}", cells=[make_cell(1, 1, a=a)], index=a) for a in range(40)]
    ended = tuple(make_ended(run, make_finish(run, [None], broken="EngineCrash", load_seconds=None)) for run in runs)

    def calls(number: int) -> int:
        with Profile() as profile:
            plan_pool(study, study.pools[0], make_history(ended=ended[:number]), LATER)
        return int(Stats(profile).total_calls)

    calls(1)  # the first plan imports the search
    few, many = calls(2), calls(40)
    assert many < 1.5 * few
