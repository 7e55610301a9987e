"""Why a pool's round ends: trial budget, incompatible GPU, exhausted search space, plateau."""

from dataclasses import replace

import pytest

from core.planning import LOAD, OTHER_GPU, SPACE, each_measured, make_small_study, measured, planned
from factories.runs import Outcome, make_ended, make_loss, make_run, make_started
from factories.studies import make_cell
from infpop_operator.core.model import EndedRun
from infpop_operator.core.study import Budget, Objective, Plateau, SearchSpace, Study


@pytest.mark.parametrize(("limit", "ended"), [(3, "MaxTrialsReached"), (4, "MaxTrialsReached"), (5, None)])
def test_a_round_ends_with_the_last_trial_of_its_budget(limit: int, ended: str | None) -> None:
    """Trials of every state use it: running, broken without retries, infeasible and invalid ones."""
    study = make_small_study(budget=Budget(max_trials=limit, parallel_trials=9))
    twice = [make_ended(make_run(f"b{number}", cells=LOAD[:1]), make_loss()) for number in range(3)]
    unstable = [measured([make_cell(1, 8)], "UnstableRepeats", index=1) for _ in range(2)]
    full = measured([make_cell(1, 64)], "GpuOutOfMemory", index=2)
    live = make_started(run=make_run("live", cells=LOAD[3:], index=3))
    plan = planned(study, *twice, *unstable, full, active=(live,))
    assert plan.ended == ended
    assert (plan.next_run is None) == (ended is not None)


def test_trials_outside_the_search_space_use_no_budget() -> None:
    """A baseline outside the space does use it."""
    study = make_small_study(budget=Budget(max_trials=2))
    elsewhere = [measured([make_cell(4, batch)], index=batch) for batch in (8, 16)]
    assert planned(study, *elsewhere).ended is None
    assert planned(study, *elsewhere, measured([LOAD[0]])).ended is None
    baseline = replace(study, baseline=make_cell(4, 8))
    assert planned(baseline, *elsewhere, measured([LOAD[0]])).ended == "MaxTrialsReached"


def test_the_reasons_of_an_end_have_an_order() -> None:
    """The order is: budget, incompatible GPU, search space, plateau."""
    plateau = Plateau(trials=2, improvement_ratio=0.1)
    space = SearchSpace(gpu_counts=(1,), batch_sizes=(8, 16, 32))
    ended = (*each_measured(10.0, 10.0), measured([make_cell(1, 32)], OTHER_GPU, index=2))
    flat = each_measured(10.0, 10.0, 10.0)

    def why(study: Study, *runs: EndedRun) -> str | None:
        return planned(study, *runs).ended

    study = make_small_study(space=space, budget=Budget(max_trials=3, plateau=plateau))
    assert why(study, *ended) == "MaxTrialsReached"
    roomy = replace(study, budget=Budget(max_trials=4, plateau=plateau))
    assert why(roomy, *ended) == "IncompatibleGPU"
    assert why(roomy, *flat) == "SpaceExhausted"
    wide = replace(roomy, space=SPACE)
    assert why(wide, *ended) == "IncompatibleGPU"
    assert why(wide, *flat) == "Plateau"
    assert why(replace(wide, budget=Budget(max_trials=4)), *flat) is None


def test_a_gpu_that_does_not_fit_ends_the_pool_whatever_the_space_is_now() -> None:
    """What a trial outside the search space showed about the hardware stays valid."""
    assert planned(make_small_study(), measured([make_cell(8, 8)], OTHER_GPU)).ended == OTHER_GPU
    assert planned(make_small_study(), measured([make_cell(8, 8)], "UnsupportedModel")).ended == "UnsupportedModel"
    assert planned(make_small_study(), measured([make_cell(2, 8)], "RejectedArguments")).ended is None


@pytest.mark.parametrize(
    ("outcomes", "ended"),
    [
        ((100.0, 100.0, 100.0), "Plateau"),
        ((100.0, 100.0), None),  # as many as the plateau is long, with none before them
        ((100.0, 109.9, 105.0), "Plateau"),
        ((100.0, 110.0, 105.0), None),
        ((100.0, 105.0, 110.1), None),
        ((200.0, 100.0, 150.0), "Plateau"),
        ((100.0, 200.0, 100.0, 150.0), "Plateau"),
        ((100.0, "GpuOutOfMemory", "NotRecorded"), "Plateau"),
        (("NotRecorded", "NotRecorded", "NotRecorded"), None),
        (("NotRecorded", 100.0, 100.0), None),
        ((100.0, "NotRecorded", 150.0, 90.0), None),
        ((100.0, 100.0, "NotRecorded", 150.0), None),
    ],
)
def test_a_plateau_is_a_number_of_trials_that_gained_too_little(
    outcomes: tuple[Outcome, ...], ended: str | None
) -> None:
    """The overall best is compared with the best before the last two trials; a 10 % gain is enough to continue."""
    study = make_small_study(budget=Budget(plateau=Plateau(trials=2, improvement_ratio=0.1)))
    assert planned(study, *each_measured(*outcomes)).ended == ended


def test_only_what_the_search_learned_from_makes_a_plateau() -> None:
    """Broken, invalid and running trials do not count towards a plateau."""
    study = make_small_study(budget=Budget(plateau=Plateau(trials=2, improvement_ratio=0.1), parallel_trials=9))
    unstable = [measured([make_cell(1, 16)], "UnstableRepeats", index=1) for _ in range(2)]
    lost = [make_ended(make_run(f"b{number}", cells=LOAD[:1], index=2), make_loss()) for number in range(3)]
    live = make_started(run=make_run("live", cells=LOAD[1:2], index=3))
    flat = [*each_measured(100.0), *unstable, *lost]
    assert planned(study, *flat, active=(live,)).ended is None
    more = [measured([make_cell(2, batch)], index=batch) for batch in (32, 64)]
    assert planned(study, *flat, *more, active=(live,)).ended == "Plateau"


@pytest.mark.parametrize(("last", "ended"), [(0.0, "Plateau"), (5.0, None)])
def test_a_gain_over_nothing_is_a_gain(last: float, ended: str | None) -> None:
    """No gain is relative to a best of 0, so any better value is enough to continue."""
    study = make_small_study(
        objective=Objective(metric="queue", goal="Maximize"),
        budget=Budget(plateau=Plateau(trials=2, improvement_ratio=0.1)),
    )
    ends = each_measured(1.0, 1.0, 1.0)
    figures = [{"queue": number} for number in (0.0, 0.0, last)]
    ended_runs = (
        replace(end, observation=replace(end.observation, extra_metrics={index: figure}))
        for index, (end, figure) in enumerate(zip(ends, figures, strict=True))
    )
    assert planned(study, *ended_runs).ended == ended
