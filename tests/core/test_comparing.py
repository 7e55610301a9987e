"""Comparing measurements at the edges: bounds, ties, noise, and which inputs each metric needs."""

from collections.abc import Mapping
from dataclasses import replace
from math import sqrt
from statistics import NormalDist

import pytest

from factories.studies import make_cell, make_measured, make_pool, make_study, make_trial
from infpop_operator.core.constraints import violations
from infpop_operator.core.metric_values import has_value, missing_metrics, required_metrics
from infpop_operator.core.model import Missing, Trial
from infpop_operator.core.objective import best, eligible, improvement_ratio, loss, tokens_per_joule, value
from infpop_operator.core.standard_error import standard_error_ratio
from infpop_operator.core.study import CONSTRAINT_METRICS, METRICS, Constraint, Goal, Objective, Study
from infpop_runner.contract import Measured

STALE = Missing(reason="Stale")
JOULES = Objective(metric="tokensPerJoule", power_metric="power")
QUEUE = Objective(metric="queue", goal="Minimize")

# Each metric that a constraint may name, with its value in the measurement below.
BOUNDED: Mapping[str, float] = {
    "batchSecondsP50": 0.5,
    "batchSecondsP95": 0.75,
    "gpuMemoryPeakBytes": 4096.0,
    "secondsPerOutputToken": 0.1,  # 5 tokens in 0.5 s
    "spread": 0.125,
    "throughputPerGPU": 100.0,
    "queue": 3.0,
}
FULL = make_measured(
    400.0,
    spread_ratio=0.125,
    batch_seconds_p95=0.75,
    gpu_memory_peak_bytes=4096,
    missing={"pad_ratio": "NotPadded"},
)
EMPTY = make_measured(
    400.0,
    batch_seconds_p50=None,
    batch_seconds_p95=None,
    missing={
        "batch_seconds_p50": "NoMedian",
        "batch_seconds_p95": "NoTail",
        "gpu_memory_peak_bytes": "NoDevice",
        "pad_ratio": "NotPadded",
    },
)


def make_numbers(*entries: tuple[int, int, float]) -> tuple[Trial, ...]:
    """Return trials without noise: GPU count, batch size and tokens/s of each."""
    return tuple(
        make_trial(make_cell(gpus, batch), make_measured(rate, index=index, spread_ratio=0.0), index=index)
        for index, (gpus, batch, rate) in enumerate(entries)
    )


def best_index(trials: tuple[Trial, ...], study: Study | None = None) -> int | None:
    """Return the index of the best of these trials."""
    found = best(study or make_study(), make_pool(), trials)
    return found and found.index


def test_every_metric_of_a_constraint_has_a_row() -> None:
    """A new metric must be added to the comparison below."""
    assert set(BOUNDED) == {*CONSTRAINT_METRICS, "queue"}


@pytest.mark.parametrize("metric", BOUNDED)
def test_a_bound_holds_at_its_own_value(metric: str) -> None:
    """A maximum is broken just above it, a minimum just below it, and each message names both numbers."""
    number = BOUNDED[metric]
    below, above = number * 0.99, number * 1.01

    def broken(**bounds: float) -> tuple[str, ...]:
        return violations(make_study(), FULL, 4, {"queue": 3.0}, bounds=[Constraint(metric=metric, **bounds)])

    assert broken(maximum=number) == broken(maximum=above) == broken(minimum=number) == broken(minimum=below) == ()
    assert broken(maximum=below) == (f"{metric} {number:g} > {below:g}",)
    assert broken(minimum=above) == (f"{metric} {number:g} < {above:g}",)


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ("batchSecondsP50", "NoMedian"),
        ("batchSecondsP95", "NoTail"),
        ("gpuMemoryPeakBytes", "NoDevice"),
        ("secondsPerOutputToken", "NoMedian"),
    ],
)
def test_an_unknown_number_breaks_every_bound_for_its_own_reason(metric: str, reason: str) -> None:
    """A configuration with an unmeasured number is not recommended."""
    bounds = [Constraint(metric=metric, minimum=0.0)]
    assert violations(make_study(), EMPTY, 4, bounds=bounds) == (f"{metric} unknown: {reason}",)


def test_every_broken_bound_is_reported_in_the_order_of_the_constraints() -> None:
    """A constraint that holds adds no message."""
    constraints = (
        Constraint(metric="spread", maximum=0.1),
        Constraint(metric="queue", maximum=3.0),
        Constraint(metric="throughputPerGPU", minimum=101.0),
    )
    broken = violations(make_study(objective=Objective(constraints=constraints)), FULL, 4, {"queue": 3.0})
    assert broken == ("spread 0.125 > 0.1", "throughputPerGPU 100 < 101")


VALUES: Mapping[str, tuple[Objective, float, bool]] = {
    "throughput": (Objective(), 400.0, True),
    "throughputPerGPU": (Objective(metric="throughputPerGPU"), 100.0, True),
    "costPerMillionTokens": (Objective(metric="costPerMillionTokens"), 10.0, False),
    "tokensPerJoule": (JOULES, 1.6, True),
}


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_has_its_value_and_its_direction(metric: str) -> None:
    """400 tokens/s on 4 GPUs at 3.6 an hour and 250 W all together."""
    objective, expected, maximised = VALUES[metric]
    extra_metrics = {"power": 250.0}
    assert value(objective, FULL, 4, 3.6, extra_metrics) == pytest.approx(expected)
    assert loss(objective, FULL, 4, 3.6, extra_metrics) == pytest.approx(-expected if maximised else expected)
    gain = 0.25 if maximised else -0.25
    assert improvement_ratio(objective, new=expected * 1.25, old=expected) == pytest.approx(gain)


@pytest.mark.parametrize(("goal", "sign"), [("Maximize", -1), ("Minimize", 1)])
def test_a_metric_of_the_studys_own_has_the_direction_of_its_goal(goal: Goal, sign: int) -> None:
    """This also holds when a higher value is the improvement."""
    objective = replace(QUEUE, goal=goal)
    assert loss(objective, FULL, 4, None, {"queue": 7.0}) == sign * 7.0
    assert improvement_ratio(objective, new=6.0, old=8.0) == sign * 0.25


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(989.0, 0), (990.0, 1), (991.0, 1), (1000.0, 1), (1001.0, 1)],
)
def test_a_tie_ends_at_one_percent(rate: float, expected: int) -> None:
    """One per cent less on fewer GPUs is a tie; a larger difference is not."""
    assert best_index(make_numbers((2, 64, 1000.0), (1, 64, rate))) == expected


@pytest.mark.parametrize(("cost_ratio", "expected"), [(1.009, 1), (1.011, 0)])
def test_a_tie_of_costs_ends_at_one_percent_as_well(cost_ratio: float, expected: int) -> None:
    """The tie is one per cent of the lowest cost."""
    study = make_study(objective=Objective(metric="costPerMillionTokens"))
    assert best_index(make_numbers((2, 64, 1000.0), (1, 64, 500.0 / cost_ratio)), study) == expected


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (((4, 1, 1000.0), (2, 512, 995.0), (1, 8, 991.0)), 2),  # fewer GPUs before a higher number
        (((2, 8, 995.0), (2, 512, 1000.0)), 1),  # a higher number before a smaller batch
        (((2, 512, 1000.0), (2, 8, 1000.0)), 1),  # a smaller batch before an earlier trial
        (((2, 8, 1000.0), (2, 8, 1000.0)), 0),  # the earlier trial
    ],
)
def test_a_tie_is_broken_in_a_fixed_order(entries: tuple[tuple[int, int, float], ...], expected: int) -> None:
    """Fewer GPUs, then the better number, then the smaller batch, then the earlier trial."""
    trials = make_numbers(*entries)
    assert best_index(trials) == best_index(trials[::-1]) == expected


def test_of_equal_numbers_the_surest_is_what_others_must_tie_with() -> None:
    """A noisy number does not make a tie of a configuration that an equally good, less noisy number excludes."""
    sure, noisy, few = make_numbers((8, 64, 1000.0), (8, 8, 1000.0), (1, 8, 950.0))
    noisy = replace(noisy, result=make_measured(1000.0, index=1, spread_ratio=0.2))
    assert best_index((few, noisy)) == 2
    assert best_index((few, noisy, sure)) == 1


@pytest.mark.parametrize("repeats", range(2, 11))
def test_the_standard_error_comes_from_the_range_of_the_repeats(repeats: int) -> None:
    """The expected range of n normal samples is the integral of 1 - F^n - (1 - F)^n."""
    step, cdf = 0.01, NormalDist().cdf
    places = (number * step for number in range(-600, 601))
    expected_range = sum(1 - cdf(place) ** repeats - (1 - cdf(place)) ** repeats for place in places) * step
    told = standard_error_ratio(make_measured(1.0, spread_ratio=0.3, repeats=repeats))
    assert told == pytest.approx(0.3 / expected_range * sqrt(3.14159265 / 2) / sqrt(repeats), rel=1e-3)


@pytest.mark.parametrize(("repeats", "as_if"), [(1, 2), (11, 10), (40, 10)])
def test_other_numbers_of_repeats_use_the_nearest_range(repeats: int, as_if: int) -> None:
    """The error still falls with the square root of their number."""
    told, nearest = (standard_error_ratio(make_measured(1.0, spread_ratio=0.3, repeats=n)) for n in (repeats, as_if))
    assert told * sqrt(repeats) == pytest.approx(nearest * sqrt(as_if))


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (Objective(), ()),
        (replace(JOULES, power_metric=None), ()),
        (JOULES, ("power",)),
        (Objective(metric="throughput", power_metric="power"), ()),
        (QUEUE, ("queue",)),
        (
            replace(
                QUEUE, constraints=(Constraint(metric="heat", maximum=1.0), Constraint(metric="queue", maximum=1.0))
            ),
            ("queue", "heat"),
        ),
        (
            Objective(constraints=(Constraint(metric="heat", maximum=1.0), Constraint(metric="spread", maximum=1.0))),
            ("heat",),
        ),
    ],
)
def test_the_metrics_without_which_nothing_can_be_said(objective: Objective, expected: tuple[str, ...]) -> None:
    """The metrics of the objective come first, then those of its constraints, each once; built-in ones always exist."""
    assert required_metrics(objective) == expected


@pytest.mark.parametrize(("watts", "known"), [(0.0, False), (0.0009, False), (0.001, True), (0.0011, True)])
def test_a_power_of_a_milliwatt_is_the_least_that_is_believed(watts: float, *, known: bool) -> None:
    """A lower value means a broken exporter, not an efficient GPU."""
    extra_metrics = {"power": watts}
    assert missing_metrics(JOULES, extra_metrics) == (() if known else ("power missing: NotPositive",))
    assert has_value(JOULES, extra_metrics) is known
    assert tokens_per_joule(JOULES, FULL, extra_metrics) == (400.0 / watts if known else None)


def test_what_a_constraint_lacks_does_not_take_the_objective_its_value() -> None:
    """A trial with an unknown temperature has a number and is not eligible."""
    objective = replace(QUEUE, constraints=(Constraint(metric="heat", maximum=80.0),))
    figures = {"queue": 1.0, "heat": STALE}
    assert has_value(objective, figures)
    assert missing_metrics(objective, figures) == ("heat missing: Stale",)
    assert not has_value(objective, {"heat": 1.0})
    trial = replace(make_trial(make_cell(1, 8), FULL), extra_metrics=figures)
    assert eligible(make_study(objective=objective), make_pool(), [trial]) == ()


def test_the_eligible_trials_keep_their_order() -> None:
    """Trials without a number or with a broken bound are left out."""
    study = make_study(objective=Objective(constraints=(Constraint(metric="throughputPerGPU", minimum=100.0),)))
    slow, fast, equal = make_numbers((4, 8, 399.0), (1, 8, 500.0), (4, 16, 400.0))
    full = make_trial(make_cell(8, 64), "GpuOutOfMemory", index=9)
    assert eligible(study, make_pool(), [equal, full, slow, fast]) == (equal, fast)


@pytest.mark.parametrize(
    ("objective", "figures", "message"),
    [
        (JOULES, {}, "tokensPerJoule needs a power above 0"),
        (QUEUE, {"queue": STALE}, "the objective queue is missing: Stale"),
        (QUEUE, {}, "the objective queue is missing: NoWindow"),
    ],
)
def test_a_value_that_is_not_known_is_an_error(
    objective: Objective, figures: Mapping[str, float | Missing], message: str
) -> None:
    """An unknown value is never compared by mistake."""
    measured: Measured = FULL
    with pytest.raises(ValueError, match=message):
        value(objective, measured, 1, None, figures)
