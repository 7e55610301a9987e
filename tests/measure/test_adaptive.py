"""Adaptive measurement: how long a trial is measured, and what is then known of it."""

from collections import Counter
from itertools import count
from statistics import fmean, median

import pytest

from infpop_runner.contract import Invalid, Measured, MeasurementSpec, RacedOut
from infpop_runner.measure import AdaptivePlan
from measure.blocks import IDS, Machine


def measured(machine: Machine, **options: float) -> Measured:
    """Measure the machine, which must give a number."""
    result = machine.measure(**options)
    assert isinstance(result, Measured), result
    return result


def errors(numbers: range, **machine: float) -> list[float]:
    """Return the relative error of each of many adaptive measurements."""
    found = []
    for seed in numbers:
        made = Machine(seed, **machine)  # type: ignore[arg-type]
        found.append(measured(made).throughput_tokens_per_second / made.tokens_per_second - 1)
    return found


@pytest.mark.parametrize(
    "machine",
    [
        {"noise": 0.005},
        {"noise": 0.02},
        {"noise": 0.03, "share": 0.0},
        {"noise": 0.02, "share": 1.0},
        {"noise": 0.02, "lasting": 0.5},
        {"noise": 0.02, "seconds": 25.0, "batches": 500},
    ],
)
def test_the_interval_holds_the_throughput_of_a_whole_pass_in_95_of_100_measurements(machine: dict[str, float]) -> None:
    """However often the runner has looked, however long prompts are, and if noise lasts for a few batches."""
    inside = 0
    for seed in range(150):
        made = Machine(seed, **machine)  # type: ignore[arg-type]
        interval = measured(made).interval_tokens_per_second
        assert interval is not None
        inside += interval[0] <= made.tokens_per_second <= interval[1]
    assert inside >= 0.95 * 150 - 2  # the standard error of 150 at 95 % is 1.8 %


def test_four_of_five_intervals_hold_the_throughput_though_noise_lasts_five_seconds() -> None:
    """As long as a quarter of the shortest measurement: slow seconds that follow each other are no new values."""
    made = [Machine(seed, noise=0.01, lasting=0.9) for seed in range(150)]
    intervals = [(machine, measured(machine).interval_tokens_per_second) for machine in made]
    inside = [each and each[0] <= machine.tokens_per_second <= each[1] for machine, each in intervals]
    assert fmean(map(bool, inside)) >= 0.8


def test_without_noise_the_interval_holds_what_a_line_does_not_describe() -> None:
    """Attention costs the square of the length, and blocks that lie on a line by chance do not know of it."""
    for seed in range(30):
        machine = Machine(seed, batches=100, seconds=0.03, share=0.6, convex=0.3, noise=0.0)
        interval = measured(machine, fewest_batches=4).interval_tokens_per_second
        assert interval is not None
        assert interval[0] <= machine.tokens_per_second <= interval[1]


@pytest.mark.parametrize("machine", [{"share": 1.0}, {"share": 0.5, "noise": 0.05}, {"seconds": 20.0, "batches": 300}])
def test_an_adaptive_number_is_not_biased_against_a_full_pass(machine: dict[str, float]) -> None:
    """Over many measurements the mean error is within its own noise, though most of a pass is never run."""
    found = errors(range(150), **machine)
    deviation = fmean((error - fmean(found)) ** 2 for error in found) ** 0.5
    assert abs(fmean(found)) < max(3 * deviation / len(found) ** 0.5, 0.0005)


def test_the_floor_is_twenty_seconds_by_default() -> None:
    """A quiet machine is measured no longer than the floor, and not much less of it is possible."""
    machine = Machine(1, noise=0.002)
    result = measured(machine)
    assert 20.0 <= result.measured_seconds < 23.0
    assert result.mode == "adaptive"
    assert result.repeats == 3


def test_a_slow_trial_takes_at_least_three_batches() -> None:
    """A batch that takes minutes is run three times, even if the first one shows that the trial is slow."""
    machine = Machine(1, seconds=300.0, batches=1000)
    result = machine.measure(to_beat=100.0)
    assert isinstance(result, RacedOut)
    assert machine.ran == [(0, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_a_measurement_takes_about_as_long_as_a_full_one_at_most(noise: float) -> None:
    """Within 10 % of the time of a full measurement it ends, with the interval that it has by then."""
    for seed in range(20):
        machine = Machine(seed, noise=noise)
        result = measured(machine, max_spread_ratio=100.0)
        assert result.measured_seconds <= 3 * machine.pass_seconds * 1.1  # the pass itself is only estimated
        assert result.interval_tokens_per_second is not None
        low, high = result.interval_tokens_per_second
        assert high - low > 0.01 * result.throughput_tokens_per_second


def test_a_pass_of_few_batches_is_measured_as_often_as_in_full() -> None:
    """With four large batches of which no part can be measured apart, three repeats are three passes."""
    machine = Machine(1, batches=4, seconds=10.0, noise=0.05)
    result = measured(machine, fewest_batches=4)
    assert machine.ran == [(0, 4), (4, 4), (8, 4)]
    assert result.generated_tokens == 3 * 4 * IDS


def test_short_blocks_are_made_longer_and_the_first_one_is_no_number() -> None:
    """The first block shows how long one must be; what only showed that is not counted, nor in the window."""
    machine = Machine(1, seconds=0.01, batches=1033)
    result = measured(machine)
    assert machine.ran[0] == (0, 1)
    assert {batches for _, batches in machine.ran[1:]} == {machine.ran[1][1]}
    assert machine.ran[1][1] > 100
    assert [first for first, _ in machine.ran[1:]] == [
        1 + number * machine.ran[1][1] for number in range(len(machine.ran) - 1)
    ]
    assert result.generated_tokens == IDS * sum(batches for _, batches in machine.ran[1:])
    assert result.window_seconds is not None
    assert result.window_seconds[1] - result.window_seconds[0] == pytest.approx(result.measured_seconds, abs=0.01)
    assert sum(sum(outcome.generated) for outcome in machine.observed) == result.generated_tokens


def test_what_is_clearly_slower_is_raced_out() -> None:
    """A trial that had to be 30 % faster ends early, with a bound that lies below what it had to beat."""
    for seed in range(20):
        machine = Machine(seed, seconds=25.0, batches=1000, noise=0.05)
        result = machine.measure(to_beat=1.3)
        assert isinstance(result, RacedOut)
        assert result.throughput_tokens_per_second < result.at_most_tokens_per_second < result.to_beat_tokens_per_second
        assert result.measured_seconds == pytest.approx(machine.clock, rel=1e-5)
        assert result.generated_tokens < 20 * IDS
        assert machine.warmed_up == 1


def test_the_best_is_hardly_ever_raced_out() -> None:
    """Of trials that are exactly as fast as what they have to beat, at most 2.5 % look slower."""
    outcomes = Counter(Machine(seed, noise=0.04).measure(to_beat=1.0).outcome for seed in range(200))
    assert outcomes["raced-out"] <= 5 + 4  # the standard error of 200 at 2.5 % is 2.2
    assert outcomes["measured"] + outcomes["raced-out"] == 200


def test_a_faster_trial_is_measured_though_there_is_something_to_beat() -> None:
    """What is faster gets its number."""
    result = measured(Machine(1), to_beat=0.9)
    assert result.interval_tokens_per_second is not None


def test_a_tight_interval_is_a_number_even_below_what_was_to_beat() -> None:
    """A number is worth more than a bound, and here it costs nothing."""
    assert isinstance(Machine(1, noise=0.002).measure(to_beat=2.0), Measured)


@pytest.mark.parametrize(
    ("flaw", "reason"), [({"preemptions": 1}, "Preempted"), ({"cache_hits": 16}, "PrefixCacheHit")]
)
@pytest.mark.parametrize("block", [0, 4])
def test_a_flaw_in_any_block_ends_the_trial(flaw: dict[str, int], reason: str, block: int) -> None:
    """One block that breaks a rule makes the trial invalid at once, the first one like any other."""
    machine = Machine(1)
    machine.flaws = {block: flaw}
    result = machine.measure()
    assert isinstance(result, Invalid)
    assert (result.reason, result.index, len(machine.ran)) == (reason, 3, block + 1)


def test_a_throttled_trial_is_invalid_and_never_raced_out() -> None:
    """What a CPU limit slowed down says nothing about the configuration."""
    machine = Machine(1, seconds=25.0, batches=1000)
    stopped = count()
    machine.throttled = lambda: 0.4 * next(stopped)
    result = machine.measure(to_beat=10.0)
    assert isinstance(result, Invalid)
    assert result.reason == "CpuThrottled"
    assert "2 CPUs" in result.detail


def test_parts_that_disagree_are_extended_once_and_then_no_number() -> None:
    """A machine that is slow for minutes at a time gives no number, after about twice the time of a full one."""
    machine = Machine(1, noise=0.4, lasting=0.995)
    result = machine.measure(max_spread_ratio=0.1)
    assert isinstance(result, Invalid)
    assert result.reason == "UnstableRepeats"
    assert result.detail.count(",") == 3
    assert machine.clock > 1.8 * 3 * 30
    assert sum(batches for _, batches in machine.ran) <= 2.1 * 3 * 65


def test_adaptive_saves_most_where_a_pass_is_long() -> None:
    """A slow cell takes a few percent of a full measurement, one at the floor a fifth, and noise costs what it must."""
    shares = {
        name: median(
            measured(made).measured_seconds / (3 * max(made.pass_seconds, 10.0))
            for made in (Machine(seed, **machine) for seed in range(15))  # type: ignore[arg-type]
        )
        for name, machine in {
            "slow": {"seconds": 25.0, "batches": 1033},
            "quiet": {"noise": 0.01},
            "noisy": {"noise": 0.08},
        }.items()
    }
    assert shares["slow"] < 0.05
    assert 0.15 < shares["quiet"] < 0.3
    assert shares["noisy"] > 0.9


def test_a_plan_stands_for_the_same_pass_as_a_full_measurement() -> None:
    """Whole batches, at least four of them, and not shorter than two repeats may be."""
    rules = MeasurementSpec(mode="adaptive", min_repeat_seconds=3.0)
    plan = AdaptivePlan.of(rules, samples=10, batch_size=4, new_tokens=5, fewest_batches=2)
    assert plan == AdaptivePlan(pass_batches=4, pass_tokens=80, fewest_batches=2, floor_seconds=6.0)
    assert AdaptivePlan.of(rules, samples=17, batch_size=4, new_tokens=5, fewest_batches=2).pass_batches == 5
