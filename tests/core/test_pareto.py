"""The Pareto front of two metrics: what is on it, and what the noise of measurements leaves out."""

from dataclasses import replace
from itertools import pairwise
from math import sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories.studies import make_cell, make_measured, make_pool, make_study, make_trial, make_trials
from infpop_operator.core.model import Confirmed, Missing, Trial, TrialState
from infpop_operator.core.objective import TIE_RATIO
from infpop_operator.core.pareto import FrontPoint, front
from infpop_operator.core.second_metric import second_loss, second_value
from infpop_operator.core.standard_error import standard_error_ratio
from infpop_operator.core.study import Configuration, Constraint, Objective, SecondMetric, Study
from infpop_runner.contract import Measured

POOL = make_pool()
PER_GPU = make_study(objective=Objective(second_metric="throughputPerGPU"))
PER_TOKEN = make_study(objective=Objective(second_metric="secondsPerOutputToken"))


def timed(cell: Configuration, rate: float, seconds: float | None, *, index: int = 0, spread: float = 0.0) -> Trial:
    """Return a trial with tokens/s and seconds of a sequence in the batch, None if the engine reports none."""
    missing = {"gpu_memory_peak_bytes": "NoDevice", "pad_ratio": "NotPadded"}
    if seconds is None:
        missing |= {"batch_seconds_p50": "NoRequestTimes"}
    measured = make_measured(rate, index=index, spread_ratio=spread, batch_seconds_p50=seconds, missing=missing)
    return make_trial(cell, measured, index=index)


def cells_of(found: tuple[FrontPoint, ...]) -> list[tuple[int, int]]:
    """Return GPU count and batch size of each point."""
    return [(point.trial.configuration.gpu_count, point.trial.configuration.batch_size) for point in found]


def front_of(study: Study, *entries: tuple[int, int, float]) -> list[tuple[int, int]]:
    """Return the front of trials with GPU count, batch size and tokens/s."""
    trials = make_trials(
        [(make_cell(gpus, batch), make_measured(rate, spread_ratio=0.0)) for gpus, batch, rate in entries]
    )
    return cells_of(front(study, [(POOL, trial) for trial in trials]))


VALUES: dict[SecondMetric, tuple[float, float]] = {
    "secondsPerOutputToken": (0.1, 0.1),  # 5 tokens in 0.5 s
    "throughputPerGPU": (100.0, -100.0),
    "costPerMillionTokens": (10.0, 10.0),  # 4 GPUs at 3.6 an hour
    "tokensPerJoule": (1.6, -1.6),
}


@pytest.mark.parametrize("metric", VALUES)
def test_every_second_metric_has_its_unit_and_its_direction(metric: SecondMetric) -> None:
    """400 tokens/s on 4 GPUs that draw 250 W."""
    study = make_study(objective=Objective(second_metric=metric, power_metric="power"))
    trial = replace(make_trial(make_cell(4, 8), 400.0), extra_metrics={"power": 250.0})
    assert (second_value(study, POOL, trial), second_loss(study, POOL, trial)) == pytest.approx(VALUES[metric])


@pytest.mark.parametrize(
    ("metric", "trial", "reason"),
    [
        ("secondsPerOutputToken", timed(make_cell(1, 8), 1.0, None), "NoRequestTimes"),
        ("tokensPerJoule", timed(make_cell(1, 8), 1.0, 1.0), "NoWindow"),
        (
            "tokensPerJoule",
            replace(timed(make_cell(1, 8), 1.0, 1.0), extra_metrics={"power": Missing(reason="Stale")}),
            "Stale",
        ),
        (
            "tokensPerJoule",
            replace(timed(make_cell(1, 8), 1.0, 1.0), extra_metrics={"power": 0.0}),
            "NotPositive",
        ),
    ],
)
def test_a_trial_without_the_second_metric_is_not_on_the_front(metric: SecondMetric, trial: Trial, reason: str) -> None:
    """It has a reason instead of a number; it may still be the best."""
    study = make_study(objective=Objective(second_metric=metric, power_metric="power"))
    assert second_value(study, POOL, trial) == second_loss(study, POOL, trial) == Missing(reason=reason)
    assert front(study, [(POOL, trial)]) == ()


def test_what_another_trial_beats_in_both_metrics_is_not_on_the_front() -> None:
    """The front goes from the best by the objective to the best by the second metric."""
    entries = [(8, 64, 1000.0), (4, 64, 900.0), (2, 64, 600.0), (1, 64, 400.0), (2, 8, 300.0), (8, 8, 890.0)]
    assert front_of(PER_GPU, *entries) == [(8, 64), (4, 64), (2, 64), (1, 64)]
    found = front(
        PER_GPU, [(POOL, trial) for trial in make_trials([(make_cell(*each[:2]), each[2]) for each in entries])]
    )
    assert [(point.value, point.second_value) for point in found][:2] == [(1000.0, 125.0), (900.0, 225.0)]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([(1, 8, 1000.0), (1, 16, 1005.0)], [(1, 16)]),  # a tie on as many GPUs goes to the better value
        ([(2, 8, 1000.0), (1, 16, 995.0)], [(1, 16)]),  # a tie in the first, better in the second
        ([(4, 8, 1000.0), (4, 16, 991.0), (4, 32, 980.0)], [(4, 8)]),
        ([(2, 8, 1000.0), (1, 16, 502.0)], [(2, 8)]),  # half as fast on half as many GPUs: the second metric ties
        ([(2, 8, 1000.0), (1, 16, 510.0)], [(2, 8), (1, 16)]),
    ],
)
def test_differences_within_the_noise_do_not_fill_the_front(
    entries: list[tuple[int, int, float]], expected: list[tuple[int, int]]
) -> None:
    """Of what ties in both metrics one is on it, and what is better by noise alone is not."""
    assert front_of(PER_GPU, *entries) == expected


def test_a_tie_in_both_metrics_goes_to_fewer_gpus() -> None:
    """As the best does."""
    entries = [timed(make_cell(8, 8), 1000.0, 0.500), timed(make_cell(2, 8), 995.0, 0.503, index=1)]
    assert cells_of(front(PER_TOKEN, [(POOL, trial) for trial in entries])) == [(2, 8)]


def test_unsteady_measurements_need_a_larger_difference() -> None:
    """With a spread of 25 % a difference of 5 % is a tie; the same difference between steady ones is not."""
    for spread, expected in ((0.25, [(1, 16)]), (0.0, [(1, 16), (1, 8)])):
        entries = [
            timed(make_cell(1, 8), 1000.0, 0.500, spread=spread),
            timed(make_cell(1, 16), 1050.0, 0.525, index=1, spread=spread),
        ]
        assert cells_of(front(PER_TOKEN, [(POOL, trial) for trial in entries])) == expected


def test_a_confirmed_trial_has_the_error_of_its_confirming_loads() -> None:
    """It ties with what it would tie with as the best, however much the repeats of one load spread."""
    confirmed = Confirmed(loads=2, error_ratio=0.001, degrees_of_freedom=2)
    entries = [
        replace(timed(make_cell(1, 8), 1000.0, 0.500, spread=0.25), confirmed=confirmed),
        replace(timed(make_cell(1, 16), 1050.0, 0.525, index=1, spread=0.25), confirmed=confirmed),
    ]
    assert cells_of(front(PER_TOKEN, [(POOL, trial) for trial in entries])) == [(1, 16), (1, 8)]


def test_only_what_may_be_the_best_is_on_the_front() -> None:
    """A trial that breaks a constraint, was raced out, or cannot be compared is not."""
    bounded = replace(
        PER_GPU, objective=replace(PER_GPU.objective, constraints=(Constraint(metric="spread", maximum=0.02),))
    )
    trials = make_trials(
        [
            (make_cell(1, 8), make_measured(900.0, spread_ratio=0.1)),
            (make_cell(2, 8), 800.0),
            (make_cell(4, 8), "GpuOutOfMemory"),
            (make_cell(8, 8), TrialState.RUNNING),
        ]
    )
    assert cells_of(front(bounded, [(POOL, trial) for trial in trials])) == [(2, 8)]
    assert front(make_study(), [(POOL, trials[0])]) == ()


def test_each_pool_counts_at_its_own_price() -> None:
    """The cheaper and slower pool is on the front beside the faster one."""
    study = make_study(objective=Objective(second_metric="costPerMillionTokens"))
    cheap, fast = make_pool(name="v100", price_per_gpu_hour=1.0), make_pool(price_per_gpu_hour=4.0)
    slow, quick = make_trial(make_cell(1, 8), 500.0), make_trial(make_cell(1, 8), 1000.0)
    assert [point.pool.name for point in front(study, [(cheap, slow), (fast, quick)])] == ["a100", "v100"]
    assert [point.pool.name for point in front(study, [(cheap, quick), (fast, slow)])] == ["v100"]


@st.composite
def many(draw: st.DrawFn) -> tuple[Trial, ...]:
    """Draw up to 30 trials; many of them are close to each other."""
    rates = st.sampled_from([980.0, 990.0, 995.0, 1000.0, 1004.0, 1011.0]) | st.floats(100.0, 2000.0)
    seconds = st.sampled_from([0.49, 0.495, 0.5, 0.503, 0.508]) | st.floats(0.1, 2.0)
    cells = draw(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 64)), unique=True, max_size=30))
    spread = st.sampled_from([0.0, 0.0, 0.05])
    return tuple(
        timed(make_cell(*cell), draw(rates), draw(seconds), index=index, spread=draw(spread))
        for index, cell in enumerate(cells)
    )


def noise(trials: tuple[Trial, ...]) -> float:
    """Return the largest relative difference of two of these trials that is a tie."""
    errors = [standard_error_ratio(trial.result) for trial in trials if isinstance(trial.result, Measured)]
    return max([TIE_RATIO, sqrt(2) * max(errors, default=0.0)]) * 1.05  # an error is relative to its own number


@given(many(), st.integers(0, 100))
def test_every_trial_has_an_equal_on_the_front(trials: tuple[Trial, ...], seed: int) -> None:
    """Nothing is lost by more than the noise in either metric, the front has no detour, and the order is no matter."""
    found = front(PER_TOKEN, [(POOL, trial) for trial in trials])
    for trial in trials:
        assert isinstance(trial.result, Measured)
        rate, seconds = trial.result.throughput_tokens_per_second, second_value(PER_TOKEN, POOL, trial)
        assert isinstance(seconds, float)
        assert any(
            point.value >= rate * (1 - noise(trials)) and point.second_value <= seconds * (1 + noise(trials))
            for point in found
        )
    seconds_of = [point.second_value for point in found]
    assert seconds_of == sorted(seconds_of, reverse=True)
    assert all(after < before * (1 - TIE_RATIO / 2) for before, after in pairwise(seconds_of))
    shuffled = list(trials)
    Random(seed).shuffle(shuffled)
    assert front(PER_TOKEN, [(POOL, trial) for trial in shuffled]) == found
