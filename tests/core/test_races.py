"""Races: what a trial has to beat, and when one that was beaten is open again."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.planning import GRID, chosen, make_small_study, measured, next_run, planned
from factories.runs import make_ended, make_history, make_loss, make_round, make_run
from factories.studies import make_cell, make_measured, make_pool, make_raced_out, make_study, make_trials
from infpop_operator.core.model import Finished, TrialState
from infpop_operator.core.plan_view import view_of
from infpop_operator.core.prior import prior_of
from infpop_operator.core.races import to_beat
from infpop_operator.core.recommend import best_of_pool
from infpop_operator.core.run_spec import build_run_spec
from infpop_operator.core.search import SearchTrial
from infpop_operator.core.search.request import PriorCell
from infpop_operator.core.search_trials import search_trial
from infpop_operator.core.standard_error import standard_error_ratio
from infpop_operator.core.study import Budget, Constraint, Objective, Plateau, SearchSpace, Study
from infpop_runner.contract import MeasurementSpec

ADAPTIVE = MeasurementSpec(mode="adaptive")
COLUMN = SearchSpace(gpu_counts=(2,), batch_sizes=(8, 16, 32, 64))
SLOW, FAST, THIRD = make_cell(2, 8), make_cell(2, 16), make_cell(2, 32)
PRICED = make_pool(price_per_gpu_hour=2.0)


def make_race(**changes: object) -> Study:
    """Return a grid search on one column that races its trials."""
    return make_small_study(**({"space": COLUMN, "measurement": ADAPTIVE} | changes))


@pytest.mark.parametrize(
    ("metric", "gpu_count", "expected"),
    [
        ("throughput", 1, 990.0),
        ("throughput", 8, 990.0),
        ("throughputPerGPU", 1, 495.0),
        ("throughputPerGPU", 4, 1980.0),
        ("costPerMillionTokens", 4, 1980.0),
        ("tokensPerJoule", 4, None),
        ("queue", 4, None),
    ],
)
def test_a_trial_has_to_beat_the_best_less_the_margin_of_a_tie(
    metric: str, gpu_count: int, expected: float | None
) -> None:
    """By each objective that follows from the throughput, converted to the GPUs of the run; by no other."""
    study = make_race(objective=Objective(metric=metric, goal="Maximize" if metric == "queue" else None))
    trials = make_trials([(FAST, 1000.0), (SLOW, 900.0)])
    assert to_beat(study, trials, [make_cell(gpu_count, 4)]) == expected


def test_noise_lowers_what_has_to_be_beaten() -> None:
    """A wide interval of the best makes ties of slower trials; another one that is known better may set the bar."""
    wide = make_measured(1000.0, interval_tokens_per_second=(902.0, 1098.0))
    assert to_beat(make_race(), make_trials([(FAST, wide)]), [SLOW]) == pytest.approx(950.0)
    assert to_beat(make_race(), make_trials([(FAST, wide), (SLOW, 980.0)]), [THIRD]) == pytest.approx(970.2)


def test_only_what_may_be_recommended_is_raced_against() -> None:
    """A fast trial that breaks a constraint, or a raced-out one, sets no bar: the slow one may be the only answer."""
    bound = Constraint(metric="spread", maximum=0.1)
    study = make_race(objective=Objective(constraints=(bound,)))
    broken = make_measured(1000.0, spread_ratio=0.2)
    assert to_beat(study, make_trials([(FAST, broken)]), [SLOW]) is None
    assert to_beat(study, make_trials([(FAST, broken), (SLOW, 500.0)]), [THIRD]) == pytest.approx(495.0)
    assert to_beat(study, make_trials([(FAST, make_raced_out(900.0))]), [SLOW]) is None


def test_a_number_that_is_wanted_is_not_raced() -> None:
    """Nothing is raced in full mode, with a second metric, of the baseline, or where a trial is measured longer."""
    first = measured([SLOW], 1000.0)
    assert next_run(make_race(), first).to_beat_tokens_per_second == 990.0
    assert next_run(make_race(measurement=MeasurementSpec()), first).to_beat_tokens_per_second is None
    two = Objective(second_metric="throughputPerGPU")
    assert next_run(make_race(objective=two), first).to_beat_tokens_per_second is None
    with_baseline = next_run(make_race(baseline=FAST), first)
    assert (chosen(with_baseline), with_baseline.to_beat_tokens_per_second) == ([FAST], None)
    longer = next_run(make_race(), first, measured([FAST], "UnstableRepeats", index=1))
    assert (longer.longer, longer.to_beat_tokens_per_second) == (True, None)
    lost = make_ended(make_run("lost", cells=[FAST], index=1), make_loss())
    retry = next_run(make_race(), first, lost)
    assert (retry.attempt, retry.to_beat_tokens_per_second) == (2, 990.0)


def test_the_runner_reads_what_has_to_be_beaten() -> None:
    """It is part of the spec of the run."""
    study = make_race()
    run = next_run(study, measured([SLOW], 1000.0))
    assert build_run_spec(study, run).to_beat_tokens_per_second == 990.0


def test_a_raced_out_trial_is_settled_while_it_is_beaten() -> None:
    """It is not measured again, uses the budget, is no best, and the search knows its bound and its time."""
    study = make_race()
    ended = (measured([SLOW], 1000.0), measured([FAST], make_raced_out(980.0), index=1))
    history = make_history(ended=ended)
    view = view_of(study, study.pools[0], history)
    assert [trial.state for trial in view.trials] == [TrialState.MEASURED, TrialState.RACED_OUT]
    assert FAST not in view.open_cells
    assert view.trials_left == study.budget.max_trials - 2
    best = best_of_pool(study, study.pools[0], history)
    assert best is not None
    assert best.configuration == SLOW
    bounded = SearchTrial(configuration=FAST, state="bounded", loss=-980.0, seconds=2.5)
    assert search_trial(study, study.pools[0], view.trials[1]) == bounded


@pytest.mark.parametrize(
    "change",
    [
        {"objective": Objective(constraints=(Constraint(metric="spread", maximum=0.01),))},
        {"objective": Objective(metric="queue", goal="Maximize")},
        {"objective": Objective(second_metric="throughputPerGPU")},
        {"space": SearchSpace(gpu_counts=(2,), batch_sizes=(16, 32, 64))},
        {"baseline": FAST},
    ],
)
def test_a_trial_that_is_no_longer_beaten_is_open_again(change: dict[str, object]) -> None:
    """The one that it lost to counts no longer, or its own number is wanted: it is measured, under a new index."""
    slow = make_measured(1000.0, spread_ratio=0.02)
    ended = (measured([SLOW], slow), measured([FAST], make_raced_out(980.0), index=1))
    study = make_race(**change)
    view = view_of(study, study.pools[0], make_history(ended=ended))
    assert FAST in view.open_cells
    assert TrialState.RACED_OUT not in [trial.state for trial in view.trials]
    run = next_run(study, *ended)
    assert (chosen(run), run.trials[0].index) == ([FAST], 2)
    again = measured([FAST], 950.0, index=2)
    known = view_of(study, study.pools[0], make_history(ended=(*ended, again))).known
    assert [(trial.index, trial.state.value) for trial in known] == [(0, "Measured"), (2, "Measured")]
    assert view_of(make_race(), study.pools[0], make_history(ended=ended)).open_cells == (THIRD, make_cell(2, 64))


def test_what_is_open_again_and_may_be_the_best_comes_first() -> None:
    """Before the search is asked, the most promising one first, and whatever a plateau says; the budget allows it."""
    few, many, worse = make_cell(1, 8), make_cell(4, 64), make_cell(1, 16)
    space = SearchSpace(gpu_counts=(1, 4), batch_sizes=(8, 16, 32, 64))
    ended = [measured([many], 1000.0)]
    ended += [measured([cell], make_raced_out(most), index=1 + index) for index, (cell, most) in enumerate(
        {worse: 400.0, few: 600.0}.items())]  # fmt: skip
    changes = {"space": space, "baseline": None, "objective": Objective(metric="throughputPerGPU")}
    study = make_race(budget=Budget(max_trials=3, plateau=Plateau(trials=1)), **changes)
    assert planned(make_race(**{**changes, "objective": Objective()}, budget=study.budget), *ended).ended is not None
    run = next_run(study, *ended)
    assert chosen(run) == [few]
    assert run.to_beat_tokens_per_second == 247.5
    ended.append(measured([few], 580.0, index=3))
    # The other one is beaten again, so it uses its trial of the budget as before.
    assert planned(study, *ended).searched == "MaxTrialsReached"
    with_baseline = make_race(**{**changes, "baseline": make_cell(4, 8)})
    assert chosen(next_run(with_baseline, *ended[:3])) == [make_cell(4, 8)]


def test_the_cost_is_raced_at_the_same_price() -> None:
    """A bound of the throughput is a bound of the cost."""
    study = make_race(objective=Objective(metric="costPerMillionTokens"), pools=(PRICED,))
    trial = make_trials([(FAST, make_raced_out(800.0))])[0]
    found = search_trial(study, PRICED, trial)
    assert found is not None
    assert found.loss == pytest.approx(2.0 * 2 / 3600 / 800 * 1e6)


def test_an_unknown_objective_of_a_raced_out_trial_tells_the_search_nothing() -> None:
    """A metric of the study's own does not follow from the throughput."""
    study = make_race(objective=Objective(metric="queue", goal="Maximize"))
    assert search_trial(study, study.pools[0], make_trials([(FAST, make_raced_out(800.0))])[0]) is None


def test_raced_out_trials_are_lessons_without_improvement() -> None:
    """They count towards a plateau."""
    study = make_race(budget=Budget(plateau=Plateau(trials=2)))
    ended = [measured([SLOW], 1000.0), measured([FAST], make_raced_out(900.0), index=1)]
    assert planned(study, *ended).ended is None
    assert planned(study, *ended, measured([THIRD], make_raced_out(900.0), index=2)).ended == "Plateau"


def test_the_next_round_knows_the_bound() -> None:
    """It worked, and was at most this fast."""
    study = make_race()
    ended = (measured([SLOW], 1000.0), measured([FAST], make_raced_out(900.0), index=1))
    second = make_round(number=2, identity="other")
    history = make_history(ended=ended, rounds=(make_round(), second))
    prior = prior_of(study, study.pools[0], history, second)
    assert prior is not None
    assert prior.cells == (
        PriorCell(configuration=SLOW, loss=-1000.0),
        PriorCell(configuration=FAST, loss=-900.0, is_bound=True),
    )


def test_a_round_that_raced_its_trials_out_knows_little_of_a_surface() -> None:
    """Only what was measured counts towards the cells that make a round the prior, not what had a bound."""
    study = make_race(space=SearchSpace(gpu_counts=(2,), batch_sizes=(1, 2, 4, 8, 16, 32, 64, 128)))
    rounds = (make_round(), make_round(number=2, identity="other"), make_round(number=3, identity="third"))
    batches = study.space.batch_sizes
    first = [measured([make_cell(2, batch)], 100.0, index=index) for index, batch in enumerate(batches[:4])]
    raced = [
        measured([make_cell(2, batch)], make_raced_out(900.0) if index else 1000.0, index=index, round=2)
        for index, batch in enumerate(batches)
    ]
    prior = prior_of(study, study.pools[0], make_history(ended=(*first, *raced), rounds=rounds), rounds[-1])
    assert prior is not None
    assert [cell.loss for cell in prior.cells] == [-100.0] * 4


@pytest.mark.parametrize(("interval", "expected"), [((990.2, 1009.8), 0.005), ((1000.0, 1000.0), 0.0)])
def test_an_interval_says_how_sure_a_number_is(interval: tuple[float, float], expected: float) -> None:
    """Half of a 95 % interval is 1.96 standard errors, whatever the spread of the parts is."""
    result = make_measured(1000.0, spread_ratio=0.2, interval_tokens_per_second=interval)
    assert standard_error_ratio(result) == pytest.approx(expected)


RATES = st.lists(st.floats(1.0, 1e5), min_size=1, max_size=8)


@given(RATES, st.floats(0.0, 0.2), st.sampled_from(["throughput", "throughputPerGPU"]))
def test_what_was_raced_out_stays_beaten_while_the_study_stays_the_same(
    rates: list[float], spread: float, metric: str
) -> None:
    """Whatever is measured afterwards: else a study could race the same trial for ever."""
    study = make_study(measurement=ADAPTIVE, objective=Objective(metric=metric), algorithm=GRID, baseline=None)
    ended = [measured([make_cell(1, 1)], make_measured(rates[0], spread_ratio=spread))]
    raced, index = [], 1
    while (run := planned(study, *ended).next_run) is not None and index < 2 * len(rates):
        bar = run.to_beat_tokens_per_second
        assert bar is not None
        rounded = float(f"{bar:.6g}")
        is_raced = index % 2 == 1
        number = rates[index // 2] if not is_raced else make_raced_out(rounded, to_beat_tokens_per_second=rounded)
        raced += chosen(run) if is_raced else []
        ended.append(measured(chosen(run), number, index=index))
        index += 1
    view = view_of(study, study.pools[0], make_history(ended=tuple(ended)))
    assert not set(raced) & set(view.open_cells)
    assert all(isinstance(entry.observation, Finished) for entry in ended)
    assert len({replace(entry.run, name="").trials[0].configuration for entry in ended}) == len(ended)
