"""Comparing measurements: values, constraints, the best."""

from random import Random
from statistics import mean, median, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories.studies import SPACE, make_cell, make_measured, make_pool, make_study, make_trial, make_trials
from infpop_operator.core.constraints import violations
from infpop_operator.core.model import Trial, TrialState
from infpop_operator.core.objective import (
    TIE_RATIO,
    best,
    cost_per_million_tokens,
    eligible,
    improvement_ratio,
    loss,
    value,
)
from infpop_operator.core.space import cells
from infpop_operator.core.standard_error import standard_error_ratio
from infpop_operator.core.study import Constraint, Metric, Objective
from infpop_runner.contract import Measured

METRICS: tuple[Metric, ...] = ("throughput", "throughputPerGPU", "costPerMillionTokens")


@st.composite
def rounds(draw: st.DrawFn) -> tuple[Trial, ...]:
    """Draw trials on distinct cells, some of them without a number."""
    chosen = draw(st.lists(st.sampled_from(cells(SPACE)), unique=True, max_size=12))
    outcome = st.floats(1e-3, 1e6) | st.sampled_from(["GpuOutOfMemory", TrialState.RUNNING, TrialState.BROKEN])
    return make_trials([(cell, draw(outcome)) for cell in chosen])


@pytest.mark.parametrize(
    ("metric", "expected", "smaller_is_better"),
    [("throughput", 400.0, False), ("throughputPerGPU", 100.0, False), ("costPerMillionTokens", 10.0, True)],
)
def test_each_metric_has_its_unit_and_direction(metric: Metric, expected: float, *, smaller_is_better: bool) -> None:
    """400 tokens/s on 4 GPUs at 3.6 an hour each are 0.004 a second, so 10 per million tokens."""
    objective, measured = Objective(metric=metric), make_measured(400.0)
    assert value(objective, measured, 4, 3.6) == pytest.approx(expected)
    assert loss(objective, measured, 4, 3.6) == pytest.approx(expected if smaller_is_better else -expected)


def test_a_cost_without_a_price_is_refused() -> None:
    """InfPop invents no price; the other metrics need none."""
    with pytest.raises(ValueError, match="pricePerGPUHour"):
        value(Objective(metric="costPerMillionTokens"), make_measured(1.0), 1, None)
    assert value(Objective(), make_measured(1.0), 1, None) == 1.0


def test_a_cost_is_reported_whatever_the_objective_is() -> None:
    """The same formula serves the objective, the status and the report: 3.6 an hour at 1,000 tokens/s are 1.0."""
    measured = make_measured(1000.0)
    assert cost_per_million_tokens(measured, 1, 3.6) == pytest.approx(1.0)
    assert cost_per_million_tokens(measured, 4, 3.6) == value(
        Objective(metric="costPerMillionTokens"), measured, 4, 3.6
    )


def test_free_gpus_cost_nothing() -> None:
    """A price of zero counts as a price."""
    assert value(Objective(metric="costPerMillionTokens"), make_measured(1.0), 1, 0.0) == 0.0


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        (Constraint(metric="batchSecondsP95", maximum=0.9), ()),
        (Constraint(metric="batchSecondsP95", maximum=0.8), ("batchSecondsP95 0.9 > 0.8",)),
        (Constraint(metric="batchSecondsP50", minimum=0.6), ("batchSecondsP50 0.5 < 0.6",)),
        (Constraint(metric="spread", maximum=0.001), ("spread 0.01 > 0.001",)),
        (Constraint(metric="throughputPerGPU", minimum=101), ("throughputPerGPU 100 < 101",)),
        (Constraint(metric="throughputPerGPU", minimum=100, maximum=100), ()),
        (Constraint(metric="gpuMemoryPeakBytes", maximum=1e12), ("gpuMemoryPeakBytes unknown: NoDevice",)),
        (Constraint(metric="spread", maximum=0.0, minimum=1.0), ("spread 0.01 > 0", "spread 0.01 < 1")),
    ],
)
def test_a_broken_bound_is_reported_with_its_numbers(constraint: Constraint, expected: tuple[str, ...]) -> None:
    """Bounds are inclusive; an unmeasured value breaks them and gives the reason why it is unknown."""
    assert violations(make_study(), make_measured(400.0), 4, bounds=[constraint]) == expected


def test_known_memory_is_compared() -> None:
    """A peak of 8 GiB breaks a bound of 7 GiB and keeps one of 9 GiB."""
    measured = make_measured(1.0, gpu_memory_peak_bytes=8 * 2**30, missing={"pad_ratio": "NotPadded"})
    bounds = (Constraint(metric="gpuMemoryPeakBytes", maximum=7 * 2**30),)
    roomy = (Constraint(metric="gpuMemoryPeakBytes", maximum=9 * 2**30),)
    assert len(violations(make_study(), measured, 1, bounds=bounds)) == 1
    assert not violations(make_study(), measured, 1, bounds=roomy)


@pytest.mark.parametrize(
    ("metric", "entries", "expected"),
    [
        ("throughput", [((8, 64), 1000.0), ((4, 64), 991.0)], (4, 64)),
        ("throughput", [((8, 64), 1000.0), ((4, 64), 989.0)], (8, 64)),
        ("throughput", [((4, 64), 991.0), ((4, 128), 1000.0)], (4, 128)),
        ("throughput", [((4, 128), 1000.0), ((4, 64), 1000.0)], (4, 64)),
        ("throughput", [((8, 1), "GpuOutOfMemory"), ((1, 1), 5.0), ((2, 1), TrialState.RUNNING)], (1, 1)),
        ("throughput", [((1, 2), 980.2), ((2, 2), 990.1), ((4, 2), 1000.0)], (2, 2)),
        ("throughputPerGPU", [((8, 64), 1000.0), ((1, 64), 200.0)], (1, 64)),
        ("costPerMillionTokens", [((8, 64), 1000.0), ((1, 64), 200.0)], (1, 64)),
        ("costPerMillionTokens", [((2, 64), 1000.0), ((1, 64), 496.0)], (1, 64)),
        ("costPerMillionTokens", [((2, 64), 1000.0), ((1, 64), 490.0)], (2, 64)),
    ],
)
def test_the_best_is_the_top_and_ties_within_one_percent_go_to_fewer_gpus(
    metric: Metric, entries: list[tuple[tuple[int, int], object]], expected: tuple[int, int]
) -> None:
    """A difference within the noise is not worth more GPUs; at equal GPU counts the number decides, then the batch."""
    trials = make_trials([(make_cell(*cell), outcome) for cell, outcome in entries])
    chosen = best(make_study(objective=Objective(metric=metric)), make_pool(), trials)
    assert chosen is not None
    assert chosen.configuration == make_cell(*expected)


def _noisy(throughput: float, spread: float, repeats: int = 3) -> Measured:
    return make_measured(throughput, spread_ratio=spread, repeats=repeats)


@pytest.mark.parametrize(
    ("few", "many", "expected"),
    [
        ((989.0, 0.0, 3), (1000.0, 0.0, 3), 8),  # no noise: only the 1 % rule applies
        ((991.0, 0.0, 3), (1000.0, 0.0, 3), 1),
        ((950.0, 0.1, 3), (1000.0, 0.1, 3), 1),  # standard errors of 4.3 % each, 5.9 % of their difference
        ((940.0, 0.1, 3), (1000.0, 0.1, 3), 8),
        ((950.0, 0.1, 10), (1000.0, 0.1, 10), 8),  # 1.3 % each with ten repeats
        ((985.0, 0.1, 10), (1000.0, 0.1, 10), 1),
        ((960.0, 0.1, 3), (1000.0, 0.0, 3), 1),  # one noisy number is enough to leave the comparison undecided
    ],
)
def test_what_the_noise_of_the_repeats_explains_is_a_tie(
    few: tuple[float, float, int], many: tuple[float, float, int], expected: int
) -> None:
    """Eight GPUs must beat one by more than one standard error of the difference to be worth their price."""
    trials = make_trials([(make_cell(1, 64), _noisy(*few)), (make_cell(8, 64), _noisy(*many))])
    chosen = best(make_study(), make_pool(), trials)
    assert chosen is not None
    assert chosen.configuration.gpu_count == expected


@pytest.mark.parametrize("repeats", [3, 5, 10, 40])
def test_the_standard_error_is_that_of_repeated_measuring(repeats: int) -> None:
    """Medians of simulated repeats scatter as one measurement's spread predicts, and never more beyond ten repeats."""
    random = Random(1)
    samples = [[random.gauss(1000.0, 10.0) for _ in range(repeats)] for _ in range(2000)]
    scatter = stdev(median(repeat) for repeat in samples)
    told = mean(
        standard_error_ratio(_noisy(median(repeat), (max(repeat) - min(repeat)) / median(repeat), repeats)) * 1000
        for repeat in samples
    )
    assert scatter * 0.9 < told < scatter * (1.2 if repeats <= 10 else 2.0)


def test_the_best_keeps_to_the_constraints() -> None:
    """The fastest trial is not recommended if it breaks a latency bound; without an eligible trial there is no best."""
    fast = make_measured(1000.0, batch_seconds_p95=2.0)
    trials = make_trials([(make_cell(8, 512), fast), (make_cell(8, 8), 300.0), (make_cell(1, 1), "GpuOutOfMemory")])
    study = make_study(objective=Objective(constraints=(Constraint(metric="batchSecondsP95", maximum=1.0),)))
    assert best(study, make_pool(), trials) == trials[1]
    assert eligible(study, make_pool(), trials) == (trials[1],)
    assert best(study, make_pool(), trials[:1]) is None
    assert best(study, make_pool(), ()) is None


@given(rounds(), st.sampled_from(METRICS), st.randoms(use_true_random=False))
def test_the_best_is_within_the_tie_of_every_trial_in_any_order(
    trials: tuple[Trial, ...], metric: Metric, random: Random
) -> None:
    """No trial beats the best by more than the tie, or equals it with fewer GPUs, and order plays no part."""
    study, pool = make_study(objective=Objective(metric=metric)), make_pool()
    chosen = best(study, pool, trials)
    shuffled = list(trials)
    random.shuffle(shuffled)
    assert best(study, pool, shuffled) == chosen
    measured = [trial for trial in trials if isinstance(trial.result, Measured)]
    assert (chosen is None) == (not measured)
    for trial in measured:
        ours, other = _loss(study.objective, chosen), _loss(study.objective, trial)
        assert ours <= other + TIE_RATIO * abs(other) * 1.000001
        fewer = trial.configuration.gpu_count < chosen.configuration.gpu_count
        assert not (fewer and other <= ours)


def _loss(objective: Objective, trial: Trial) -> float:
    return loss(objective, trial.result, trial.configuration.gpu_count, 3.6)


@pytest.mark.parametrize(
    ("metric", "new", "old", "expected"),
    [
        ("throughput", 110.0, 100.0, 0.1),
        ("throughputPerGPU", 90.0, 100.0, -0.1),
        ("costPerMillionTokens", 9.0, 10.0, 0.1),
        ("costPerMillionTokens", 11.0, 10.0, -0.1),
    ],
)
def test_an_improvement_is_positive_when_it_is_better(metric: Metric, new: float, old: float, expected: float) -> None:
    """More throughput and less cost are both gains, relative to the old value."""
    assert improvement_ratio(Objective(metric=metric), new=new, old=old) == pytest.approx(expected)


def test_nothing_can_be_compared_with_zero() -> None:
    """A relative gain over zero is unknown, never infinite; a negative value is an error."""
    assert improvement_ratio(Objective(), new=1.0, old=0.0) is None
    with pytest.raises(ValueError, match="never negative"):
        improvement_ratio(Objective(), new=1.0, old=-1.0)


def test_a_trial_without_a_number_is_never_best() -> None:
    """A running, broken or infeasible trial gives no recommendation."""
    states = [TrialState.RUNNING, TrialState.BROKEN, "GpuOutOfMemory"]
    assert best(make_study(), make_pool(), [make_trial(make_cell(1, 1), state) for state in states]) is None
