"""Which trials of a broken run are retried, with which other trials, how often and for how long."""

from dataclasses import replace

import pytest

from core.planning import ALONE, FOUR, LOAD, ONE_LOAD, SHARED, SPACE, chosen, make_small_study, next_run
from factories.runs import make_ended, make_finish, make_loss, make_run
from factories.studies import make_cell
from infpop_operator.core.fingerprint import run_name
from infpop_operator.core.model import DELETED, EndedRun, Finished, Lost, Run

COUNTED, FREE, GONE = make_loss(), make_loss("Preempted", counts=False), make_loss(DELETED)


@pytest.mark.parametrize(
    ("losses", "attempt"),
    [
        ([COUNTED], 2),
        ([COUNTED, COUNTED], 3),
        ([COUNTED, COUNTED, COUNTED], None),
        ([FREE] * 9, 10),
        ([COUNTED, COUNTED, FREE, FREE], 5),
        ([COUNTED, COUNTED, COUNTED, FREE], None),
        ([GONE], 2),
        ([GONE, GONE], None),
        ([COUNTED, GONE], None),
        ([GONE, COUNTED], 3),
        ([GONE, COUNTED, COUNTED], None),
    ],
)
def test_a_trial_has_two_retries_and_one_after_a_deletion(losses: list[Lost], attempt: int | None) -> None:
    """Each attempt has a number; losses outside the budget use no retry; then the search continues elsewhere."""
    ended = (make_ended(replace(ALONE, name=f"run-{number}"), loss) for number, loss in enumerate(losses))
    run = next_run(make_small_study(space=ONE_LOAD), *ended)
    expected = (ALONE.trials, attempt) if attempt else (make_run(cells=LOAD[1:2], index=1).trials, 1)
    assert (run.trials, run.attempt) == expected


def test_an_invalid_trial_is_measured_once_more_alone_and_longer() -> None:
    """Valid trials of its load are not measured again; a second invalid result is final."""
    study = make_small_study(algorithm=FOUR)
    first = make_ended(SHARED, make_finish(SHARED, [1.0, "UnstableRepeats", 3.0, 4.0]))
    run = next_run(study, first)
    again = replace(SHARED, trials=SHARED.trials[1:2], attempt=2, longer=True)
    assert run == replace(again, name=run_name(study, again))
    second = make_ended(run, make_finish(run, ["ShortOutput"]))
    assert chosen(next_run(study, first, second)) == [make_cell(1, batch) for batch in SPACE.batch_sizes]


def test_a_longer_run_that_broke_is_tried_again_as_a_longer_one() -> None:
    """A lost machine does not make an unstable measurement stable."""
    study = make_small_study()
    first = make_ended(ALONE, make_finish(ALONE, ["UnstableRepeats"]))
    longer = next_run(study, first)
    again = next_run(study, first, make_ended(longer, make_loss()))
    assert (again.trials, again.attempt, again.longer) == (ALONE.trials, 3, True)


def retry(observation: Finished | Lost, *more: EndedRun, run: Run = SHARED) -> tuple[list[int], int]:
    """Return the trials and the attempt that follow when a shared load ends in this way."""
    again = next_run(make_small_study(algorithm=FOUR, space=ONE_LOAD), make_ended(run, observation), *more)
    return ([trial.index for trial in again.trials], again.attempt)


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        (make_loss(), [0, 1, 2, 3]),
        (make_finish(SHARED, [None] * 4, broken="LoadTimeout", load_seconds=None), [0, 1, 2, 3]),
        (make_finish(SHARED, [1.0, None, None, None], broken="EngineCrash"), [1]),
        (make_finish(SHARED, [1.0, None, None, None], broken="Stopped"), [1, 2, 3]),
        (make_finish(SHARED, [1.0, 2.0, None, None]), [2]),
    ],
)
def test_the_trials_of_a_broken_load_continue_together_but_for_its_suspect(
    observation: Finished | Lost, expected: list[int]
) -> None:
    """The batch on which the engine died is loaded alone; if no trial is to blame, the same load is retried."""
    assert retry(observation) == (expected, 2)


def test_the_innocents_of_a_load_continue_together_after_its_suspect() -> None:
    """The suspect never returns to the load that it broke, measured or lost."""
    crash = make_finish(SHARED, [1.0, None, None, None], broken="EngineCrash")
    suspect = replace(SHARED, name="suspect", trials=SHARED.trials[1:2], attempt=2)
    assert retry(crash, make_ended(suspect)) == ([2, 3], 2)
    lost = [make_ended(replace(suspect, name=f"suspect-{number}"), make_loss()) for number in range(2)]
    assert retry(crash, *lost) == ([2, 3], 2)


def test_innocents_that_come_first_leave_the_suspect_for_later() -> None:
    """If the largest batch of a load is listed first, the innocent trials are retried before the suspect."""
    run = make_run("shared", cells=LOAD[::-1])
    crash = make_finish(run, [None, None, None, 1.0], broken="EngineCrash")
    assert retry(crash, run=run) == ([0, 1], 2)
    innocents = make_ended(replace(run, name="innocents", trials=run.trials[:2], attempt=2))
    assert retry(crash, innocents, run=run) == ([2], 2)


def test_a_group_leaves_out_what_has_another_run_or_no_retry_left() -> None:
    """The attempt number is one more than the highest among the retried trials."""
    second = replace(SHARED, name="second", trials=SHARED.trials[1:2])
    assert retry(make_loss(), make_ended(second, make_loss(counts=False))) == ([0, 2, 3], 2)
    tired = tuple(make_ended(replace(second, name=f"tired-{number}"), make_loss()) for number in range(2))
    study = make_small_study(algorithm=FOUR, space=ONE_LOAD)
    again = next_run(study, *tired, make_ended(SHARED, make_loss()))
    assert ([trial.index for trial in again.trials], again.attempt) == ([0, 2, 3], 2)
    fresh = tuple(make_ended(end.run, make_loss(counts=False)) for end in tired)
    again = next_run(study, *fresh, make_ended(SHARED, make_loss()))
    assert ([trial.index for trial in again.trials], again.attempt) == ([0, 1, 2, 3], 4)


def test_a_trial_that_was_ruled_out_since_it_broke_is_not_tried_again() -> None:
    """A smaller batch that ran out of memory shows how the trial would end, alone and in its group."""
    study = make_small_study(algorithm=FOUR)
    pair = make_run("pair", cells=LOAD[2:], index=2)
    lost = make_ended(pair, make_loss())
    full = make_ended(
        make_run("full", cells=LOAD[:2]), make_finish(make_run("full", cells=LOAD[:2]), [1.0, "GpuOutOfMemory"])
    )
    assert chosen(next_run(study, lost, full)) == [make_cell(1, batch) for batch in SPACE.batch_sizes]
    between = make_run("between", cells=[make_cell(2, 48)], index=9)
    out = make_ended(between, make_finish(between, ["GpuOutOfMemory"]))
    assert chosen(next_run(study, lost, out)) == [LOAD[2]]


def test_a_trial_that_left_the_search_space_is_not_tried_again() -> None:
    """The user no longer wants that configuration."""
    lost = make_ended(make_run(cells=[make_cell(2, 48)]), make_loss())
    assert chosen(next_run(make_small_study(space=ONE_LOAD), lost)) == [LOAD[0]]
    assert chosen(next_run(make_small_study(space=ONE_LOAD, baseline=make_cell(2, 48)), lost)) == [make_cell(2, 48)]
