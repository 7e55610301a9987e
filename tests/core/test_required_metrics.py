"""User-defined metrics as objective and constraint: a missing value never decides and discards no measurement."""

from dataclasses import replace
from datetime import datetime

import pytest

from factories.landscapes import landscape
from factories.studies import make_cell, make_measured, make_pool, make_study, make_trial
from infpop_operator.core.constraints import violations
from infpop_operator.core.decide import decide
from infpop_operator.core.decision import Verdict
from infpop_operator.core.extra_metrics import ExtraMetric
from infpop_operator.core.fingerprint import measurement_identity
from infpop_operator.core.history import trials_of
from infpop_operator.core.metric_values import has_value, missing_metrics, required_metrics
from infpop_operator.core.model import Finished, Lost, Missing, Run, Trial, TrialState
from infpop_operator.core.objective import TIE_RATIO, best, eligible, loss, tokens_per_joule, value
from infpop_operator.core.recommend import best_of_study, improvement_ratio
from infpop_operator.core.study import (
    Algorithm,
    Budget,
    Configuration,
    Constraint,
    Goal,
    Objective,
    Plateau,
    SearchSpace,
)
from simulation.world import World, drive

ENERGY = Objective(metric="tokensPerJoule", power_metric="power")
LOAD = Objective(metric="load", goal="Maximize")
STALE = Missing(reason="Stale")
SPACE = SearchSpace(gpu_counts=(1, 2, 4, 8), batch_sizes=(8, 32, 64, 128, 256))


class Powerless(World):
    """A world in which no power is drawn."""

    def watts(self, cell: Configuration) -> float:  # noqa: ARG002 - the same everywhere
        """Return no power."""
        return 0.0


class Clouded(World):
    """A world in which the power of large batches is never observed."""

    def outcome(self, run: Run, started_at: datetime) -> Finished | Lost:
        """Return how a run ends, without the powers that were not observed."""
        ended = super().outcome(run, started_at)
        unseen = {each.index: {"power": STALE} for each in run.trials if each.configuration.batch_size >= 64}
        return replace(ended, extra_metrics={**ended.extra_metrics, **unseen}) if isinstance(ended, Finished) else ended


def trial(
    gpus: int, throughput: float, *, index: int = 0, spread: float = 0.0, **extra_metrics: float | Missing
) -> Trial:
    """Return a measured trial with these extra metrics."""
    measured = make_measured(throughput, index=index, batch_size=64, spread_ratio=spread)
    return replace(make_trial(make_cell(gpus, 64), measured, index=index), extra_metrics=extra_metrics)


def test_tokens_per_joule_are_tokens_per_second_and_watt() -> None:
    """1,000 tokens/s at 250 W are 4 tokens per joule, and more of them are better."""
    measured = make_measured(1000.0)
    assert value(ENERGY, measured, 8, None, {"power": 250.0}) == 4.0
    assert loss(ENERGY, measured, 8, None, {"power": 250.0}) == -4.0
    assert tokens_per_joule(replace(ENERGY, metric="throughput"), measured, {"power": 250.0}) == 4.0
    assert tokens_per_joule(Objective(), measured, {"power": 250.0}) is None


@pytest.mark.parametrize(("goal", "expected"), [("Maximize", -70.0), ("Minimize", 70.0)])
def test_a_user_defined_metric_has_the_direction_that_its_owner_gives(goal: Goal, expected: float) -> None:
    """InfPop does not guess whether a queue should be long or short."""
    objective = Objective(metric="load", goal=goal)
    assert value(objective, make_measured(1.0), 1, None, {"load": 70.0}) == 70.0
    assert loss(objective, make_measured(1.0), 1, None, {"load": 70.0}) == expected


@pytest.mark.parametrize(
    ("objective", "extra_metrics", "expected"),
    [
        (Objective(), {}, ()),
        (Objective(), {"power": STALE}, ()),
        (ENERGY, {"power": 300.0}, ()),
        (ENERGY, {"power": STALE}, ("power missing: Stale",)),
        (ENERGY, {}, ("power missing: NoWindow",)),
        (ENERGY, {"power": 0.0}, ("power missing: NotPositive",)),
        (ENERGY, {"power": 5e-324}, ("power missing: NotPositive",)),
        (LOAD, {"load": 0.0}, ()),
        (LOAD, {"load": STALE}, ("load missing: Stale",)),
        (
            replace(LOAD, constraints=(Constraint(metric="load", minimum=1.0),)),
            {"load": STALE},
            ("load missing: Stale",),
        ),
        (Objective(constraints=(Constraint(metric="load", minimum=1.0),)), {"load": STALE}, ("load missing: Stale",)),
        (Objective(constraints=(Constraint(metric="spread", maximum=1.0),)), {"load": STALE}, ()),
    ],
)
def test_what_is_missing_is_reported_exactly_where_it_decides(
    objective: Objective, extra_metrics: dict[str, float | Missing], expected: tuple[str, ...]
) -> None:
    """A metric that is only recorded holds nothing up; a missing power is not zero power."""
    assert missing_metrics(objective, extra_metrics) == expected
    if expected:
        assert (
            eligible(
                make_study(objective=objective), make_pool(), [replace(trial(1, 1.0), extra_metrics=extra_metrics)]
            )
            == ()
        )
        if not has_value(objective, extra_metrics):
            with pytest.raises(ValueError, match=r"needs a power|is missing"):
                value(objective, make_measured(1.0), 1, None, extra_metrics)


def test_bounds_on_a_user_defined_metric_are_those_of_any_other() -> None:
    """Bounds are inclusive; a missing value is reported as missing, and its bound is not called broken."""
    bounds = (Constraint(metric="load", minimum=30.0, maximum=90.0),)
    study = make_study(objective=Objective(constraints=bounds))
    told = [violations(study, make_measured(1.0), 1, {"load": load}) for load in (29.0, 30.0, 90.0, 91.0, STALE)]
    assert told == [("load 29 < 30",), (), (), ("load 91 > 90",), ()]
    assert required_metrics(replace(ENERGY, constraints=(*bounds, Constraint(metric="spread", maximum=1.0)))) == (
        "power",
        "load",
    )


def test_the_best_is_chosen_among_the_trials_whose_metric_is_known() -> None:
    """A trial with unknown power is not recommended, however fast it is."""
    study = make_study(objective=ENERGY)
    trials = (
        trial(8, 9000.0, power=STALE),
        trial(4, 1000.0, index=1, power=500.0),
        trial(1, 300.0, index=2, power=100.0),
    )
    assert best(study, make_pool(), trials) == trials[2]
    assert best(study, make_pool(), trials[:1]) is None


def test_a_user_defined_metric_ties_within_one_percent_whatever_the_throughput_does() -> None:
    """The throughput's spread says nothing about another metric, but it does about tokens per joule."""
    noisy = (
        trial(8, 1000.0, spread=0.2, load=90.0, power=100.0),
        trial(1, 950.0, index=1, spread=0.2, load=85.0, power=100.0),
    )
    assert best(make_study(objective=LOAD), make_pool(), noisy) == noisy[0]
    assert best(make_study(objective=ENERGY), make_pool(), noisy) == noisy[1]
    equal = (noisy[0], replace(noisy[1], extra_metrics={"load": 89.5}))
    assert best(make_study(objective=LOAD), make_pool(), equal) == equal[1]


def test_an_improvement_needs_both_numbers_and_something_to_compare_with() -> None:
    """A gain over an unknown value or over zero is not reported."""
    study, pool = make_study(objective=LOAD), make_pool()
    new = trial(1, 1.0, load=80.0)
    assert improvement_ratio(study, pool, new=new, old=trial(1, 1.0, load=40.0)) == 1.0
    assert improvement_ratio(study, pool, new=new, old=trial(1, 1.0, load=STALE)) is None
    assert improvement_ratio(study, pool, new=new, old=trial(1, 1.0, load=0.0)) is None
    bounded = replace(study, objective=replace(LOAD, constraints=(Constraint(metric="heat", maximum=80.0),)))
    assert improvement_ratio(bounded, pool, new=new, old=trial(1, 1.0, load=40.0, heat=STALE)) == 1.0


def test_the_most_frugal_configuration_is_found_with_a_third_of_the_powers_unseen() -> None:
    """The best is the top of the comparable trials, for 20 seeds; no trial is measured again for its power."""
    for seed in range(20):
        world = World(seed=seed, memory=32, unseen=0.3)
        study = make_study(space=SPACE, objective=ENERGY, algorithm=Algorithm(name="grid"))
        story = drive(study, world)
        trials = trials_of(story.history, "a100", 1)
        measured = [each for each in trials if each.state is TrialState.MEASURED]
        seen = [each for each in measured if each.extra_metrics["power"] != STALE]
        worth = {
            each.configuration: world.throughput(each.configuration) / world.watts(each.configuration) for each in seen
        }
        found = best_of_study(study, story.history)
        assert found is not None
        assert worth[found[1].configuration] >= max(worth.values()) * (1 - TIE_RATIO)
        assert {each.attempts for each in trials} == {1}


def test_a_study_without_any_power_keeps_its_numbers_and_says_what_it_lacks() -> None:
    """Nothing is recommended, every cell is measured once, and the message names the metric and the reason."""
    study = make_study(space=SPACE, objective=ENERGY, algorithm=Algorithm(name="grid"))
    story = drive(study, World(memory=1024, unseen=1.0))
    assert (story.end.verdict, story.end.reason) == (Verdict.STALLED, "NothingEligible")
    assert "20 with power missing: Stale" in story.end.message
    trials = trials_of(story.history, "a100", 1)
    assert [each.state for each in trials] == [TrialState.MEASURED] * 20
    relaxed = replace(study, objective=Objective())
    again = decide(relaxed, story.history, {}, story.steps[-1].now)
    assert (again.verdict, again.start) == (Verdict.SUCCEEDED, ())


def test_trials_that_say_nothing_make_no_plateau() -> None:
    """A Prometheus outage does not end a search early."""
    budget = Budget(max_trials=20, plateau=Plateau(trials=3, improvement_ratio=0.01))
    study = make_study(space=SPACE, objective=ENERGY, algorithm=Algorithm(name="grid"), budget=budget)
    trials = trials_of(drive(study, Clouded(memory=1024, unseen=0.0)).history, "a100", 1)
    assert [each.extra_metrics["power"] for each in trials[2:5]] == [STALE] * 3
    assert len(trials) == 20


def test_a_best_that_is_worth_nothing_is_on_a_plateau_until_a_better_one_comes() -> None:
    """A gain over 0 has no percentage and still counts as a gain."""
    budget = Budget(max_trials=20, plateau=Plateau(trials=3, improvement_ratio=0.01))
    idle = Objective(metric="power", goal="Minimize")
    study = make_study(space=SPACE, objective=idle, algorithm=Algorithm(name="grid"), budget=budget)
    story = drive(study, Powerless(memory=1024, unseen=0.0))
    assert len(trials_of(story.history, "a100", 1)) == 4


def test_the_picture_marks_what_cannot_be_compared() -> None:
    """A cell without a required metric is shown with its number and with the reason why it is not a candidate."""
    study = make_study(space=SPACE, objective=ENERGY)
    picture = landscape(study, make_pool(), (trial(8, 9000.0, power=STALE), trial(1, 300.0, index=1, power=9.0)), None)
    cells = {(cell.gpu_count, cell.batch_size): cell for row in picture.rows for cell in row}
    assert cells[8, 64].missing == ("power missing: Stale",)
    assert (cells[8, 64].throughput_tokens_per_second, cells[8, 64].violations) == (9000.0, ())
    assert (cells[1, 64].missing, cells[1, 64].is_best) == ((), True)


def test_asking_for_another_metric_opens_a_round_and_their_order_does_not() -> None:
    """Earlier trials lack a newly requested metric; a study without extra metrics keeps its identity."""
    power = ExtraMetric(name="power", query="sum(p)", unit="watts")
    load = ExtraMetric(name="load", query="avg(l)", unit="percent")
    studies = [
        make_study(),
        make_study(metrics=(power,)),
        make_study(metrics=(load, power)),
        make_study(metrics=(replace(power, query="sum(q)"),)),
        make_study(metrics=(replace(power, unit="count"),)),
        make_study(metrics=(replace(power, name="energy"),)),
    ]
    identities = [measurement_identity(study, study.pools[0]) for study in studies]
    assert len(set(identities)) == len(studies)
    swapped = make_study(metrics=(power, load))
    assert measurement_identity(swapped, swapped.pools[0]) == identities[2]
