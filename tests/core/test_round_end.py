"""Why a pool's round ends: trial budget, incompatible GPU, exhausted search space, plateau."""

import re
from dataclasses import replace

import pytest

from core.planning import GRID, LATER, LOAD, OTHER_GPU, SPACE, each_measured, make_small_study, measured, planned
from factories.runs import Outcome, make_ended, make_finish, make_history, make_loss, make_run, make_started
from factories.studies import START, make_cell
from infpop_operator.core.decide import decide
from infpop_operator.core.decision import Verdict
from infpop_operator.core.model import EndedRun, History
from infpop_operator.core.study import Algorithm, Budget, Objective, Plateau, SearchSpace, Study


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


SURE = (400.0, 300.0, 200.0, 100.0, 300.0, 200.0)  # falls with the batch size on both GPU counts


def sure_study(confidence: float, **budget: object) -> Study:
    """Return a search that knows landscapes and ends once it is as sure as this."""
    plateau = Plateau(confidence=confidence)
    budgets = Budget(**({"plateau": plateau} | budget))
    return make_small_study(algorithm=Algorithm(name="landscape"), budget=budgets)


def test_a_round_ends_when_the_search_is_sure_of_its_best() -> None:
    """The message has the probability, and after how many trials; without asking for it the round goes on."""
    plan = planned(sure_study(0.9), *each_measured(*SURE))
    assert (plan.ended, plan.next_run) == ("ConfidenceReached", None)
    assert re.fullmatch(
        r"the best is within 1 % of the optimum with probability (1|0\.9\d*), after 6 trials", plan.ended_detail
    )
    assert planned(sure_study(0.9), *each_measured(*SURE[:4])).ended is None
    assert planned(replace(sure_study(0.9), budget=Budget()), *each_measured(*SURE)).ended is None
    assert planned(replace(sure_study(0.9), algorithm=GRID), *each_measured(*SURE)).ended is None


def test_the_search_is_not_sure_before_it_has_seen_three_numbers() -> None:
    """What it believes before any trial never ends a round; a configuration that cannot work is no number."""
    assert planned(sure_study(0.0), *each_measured(400.0, 300.0, "NotRecorded")).ended is None
    assert planned(sure_study(0.0), *each_measured(400.0, 300.0, 200.0)).ended == "ConfidenceReached"


def test_a_live_run_holds_up_the_end_and_nothing_starts_meanwhile() -> None:
    """Its result may make the search less sure; then the round goes on."""
    study = sure_study(0.9, parallel_trials=2)
    live = make_run("live", cells=[make_cell(2, 32)], index=6)
    plan = planned(study, *each_measured(*SURE), active=(make_started(run=live),))
    assert (plan.ended, plan.next_run, plan.ended_detail) == (None, None, "")
    assert planned(study, *each_measured(*SURE), make_ended(live, make_finish(live, [90.0]))).ended is not None
    surprise = planned(study, *each_measured(*SURE), make_ended(live, make_finish(live, [399.0])))
    assert (surprise.ended, surprise.next_run is None) == (None, False)


def test_the_end_of_the_study_says_how_sure_the_search_was() -> None:
    """The condition of the study has this message."""
    study = sure_study(0.9)
    history = make_history(ended=each_measured(*SURE))
    opened = decide(study, History(started_at=START), {}, START).history.rounds
    decision = decide(study, replace(history, rounds=opened), {}, LATER)
    assert (decision.verdict, decision.reason) == (Verdict.SUCCEEDED, "ConfidenceReached")
    assert decision.message.startswith("pool a100: ConfidenceReached (the best is within 1 % of the optimum with prob")


def test_a_plateau_of_two_metrics_ends_when_the_front_does_not_grow_either() -> None:
    """Slower configurations on fewer GPUs are on the front, so the round goes on; others are not."""
    study = make_small_study(
        objective=Objective(second_metric="throughputPerGPU"), budget=Budget(plateau=Plateau(trials=2))
    )
    fast = measured([make_cell(2, 8)], 100.0)
    on_front = [measured([make_cell(1, 8)], 80.0, index=1), measured([make_cell(1, 16)], 30.0, index=2)]
    beaten = [measured([make_cell(2, 16)], 90.0, index=1), measured([make_cell(2, 32)], 30.0, index=2)]
    assert planned(study, fast, *on_front).ended is None
    assert planned(study, fast, *beaten).ended == "Plateau"
    assert planned(replace(study, objective=Objective()), fast, *on_front).ended == "Plateau"
