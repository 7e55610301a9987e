"""The value types of the design: their order, derived values and defaults."""

from datetime import timedelta
from enum import StrEnum

import pytest

from factories.runs import make_ended, make_finish, make_loss, make_run
from factories.studies import make_cell, make_pool
from infpop_operator.core.decision import Verdict
from infpop_operator.core.errors import Problem, StudyError
from infpop_operator.core.landscape import CellState
from infpop_operator.core.model import DELETED, INTERRUPTED, NO_ROOM, SUSPENDED, Phase, TrialState
from infpop_operator.core.study import Algorithm, Budget, Configuration, Objective


def test_configurations_are_ordered_by_gpu_count_then_batch_size() -> None:
    """Extra arguments come last in the order."""
    ordered = [make_cell(1, 8), make_cell(1, 8, a=1), make_cell(1, 16), make_cell(2, 4)]
    assert sorted([ordered[2], ordered[0], ordered[3], ordered[1]]) == ordered


@pytest.mark.parametrize(
    ("cell", "shares"), [(make_cell(2, 64, a=1), True), (make_cell(4, 8, a=1), False), (make_cell(2, 8, a=2), False)]
)
def test_configurations_share_a_load_where_only_the_batch_size_differs(cell: Configuration, *, shares: bool) -> None:
    """GPU count and arguments are fixed when an engine is loaded."""
    assert (cell.load_key == make_cell(2, 8, a=1).load_key) is shares


def test_a_run_holds_the_gpus_of_its_configurations_while_it_lives() -> None:
    """A run holds them from its start to its end, and its GPU time is never negative."""
    run = make_run(cells=[make_cell(4, 8), make_cell(4, 16)])
    assert run.gpu_count == 4
    assert make_ended(run, make_finish(run, ended=25), began=10).gpu_seconds == 4 * 15
    assert make_ended(run, make_loss(ended=5), began=10).gpu_seconds == 0


def test_a_study_that_says_nothing_is_careful() -> None:
    """Defaults: twenty trials, one at a time, on at most eight GPUs, five failures, one trial for each engine load."""
    assert Budget() == Budget(
        max_trials=20,
        parallel_trials=1,
        max_concurrent_gpus=8,
        max_failed_trials=5,
        max_gpu_hours=None,
        deadline=None,
        plateau=None,
    )
    assert Algorithm() == Algorithm(name="tpe", seed=0, trials_per_run=1)
    assert Objective() == Objective(metric="throughput", constraints=(), goal=None, power_metric=None)
    assert Budget(deadline=timedelta(1)).deadline == timedelta(1)
    assert (make_pool().software, make_pool().cpu_millicores, make_pool().memory_bytes) == ("", None, None)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Phase, ["Starting", "ModelLoading", "WarmingUp", "Measuring", "Done"]),
        (TrialState, ["Running", "Measured", "Infeasible", "RacedOut", "Invalid", "Broken"]),
        (Verdict, ["Running", "Waiting", "Succeeded", "Stalled"]),
        (
            CellState,
            [
                "Measured",
                "RacedOut",
                "Infeasible",
                "Invalid",
                "Broken",
                "Running",
                "RuledOut",
                "Untried",
                "Outside",
            ],
        ),
    ],
)
def test_states_are_called_as_users_and_journals_know_them(kind: type[StrEnum], values: list[str]) -> None:
    """A status, a metric or a journal that holds one of these names can still be read."""
    assert [state.value for state in kind] == values


def test_reasons_of_our_own_are_called_as_users_know_them() -> None:
    """These reasons appear in conditions, Events and journals."""
    assert (INTERRUPTED, NO_ROOM, DELETED, SUSPENDED) == ("Interrupted", "NoRoom", "Deleted", "Suspended")


@pytest.mark.parametrize(
    ("value", "remedy", "expected"),
    [
        ("0s", "Remove it", "spec.budget.deadline: 0s: is no time. Remove it."),
        ("", "Set one", "spec.budget.deadline: is no time. Set one."),
        ("0s", "Did you mean 10s?", "spec.budget.deadline: 0s: is no time. Did you mean 10s?"),
    ],
)
def test_a_problem_is_one_sentence_after_another(value: str, remedy: str, expected: str) -> None:
    """It names the field, its value, what is wrong with it, and what to write instead."""
    problem = Problem(field="spec.budget.deadline", value=value, message="is no time", remedy=remedy)
    assert str(problem) == expected


def test_an_impossible_study_reports_every_problem() -> None:
    """One line for each, in order."""
    problems = [Problem(field=name, value="", message="is wrong", remedy="Mend it") for name in ("spec.a", "spec.b")]
    error = StudyError(problems)
    assert error.problems == tuple(problems)
    assert str(error) == "spec.a: is wrong. Mend it.\nspec.b: is wrong. Mend it."
