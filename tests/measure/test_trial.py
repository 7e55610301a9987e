"""The measuring loop, driven with plain values."""

from collections.abc import Callable, Iterator
from itertools import repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infpop_runner.contract import Invalid, Measured, MeasurementSpec, TrialSpec
from infpop_runner.measure import Block, PassOutcome, Repeat, TrialActions, TrialReport, measure_trial, merge_repeats

TRIAL = TrialSpec(index=3, batch_size=4)
RULES = MeasurementSpec(min_repeat_seconds=0.0, max_spread_ratio=0.25)
REASONS = {
    "batch_seconds_p50": "NoRequestTimes",
    "batch_seconds_p95": "NoRequestTimes",
    "concurrency_peak": "NoRequestTimes",
    "gpu_memory_peak_bytes": "NoGpu",
    "pad_ratio": "NoPadding",
}


def make_pass(seconds: float = 1.0, **changes: object) -> PassOutcome:
    """Return a pass of 16 sequences with 5 ids each."""
    fields = {"seconds": seconds, "generated": (5,) * 16} | changes
    return PassOutcome(**fields)  # type: ignore[arg-type]


def run(
    passes: Iterator[PassOutcome],
    *,
    rules: MeasurementSpec = RULES,
    warm_up: Callable[[], None] = lambda: None,
    observe: Callable[[PassOutcome], None] = lambda _: None,
    memory: int | None = None,
    clock: Callable[[], float] = lambda: 0.0,
    throttled: Callable[[], float | None] = lambda: None,
    cpu_limit: float | None = None,
) -> Measured | Invalid:
    """Measure a trial whose passes are given."""
    report = TrialReport(
        max_new_tokens=5, memory_peak_bytes=lambda: memory, missing_reasons=REASONS, cpu_limit=cpu_limit
    )
    actions = TrialActions(
        warm_up=warm_up,
        run_pass=lambda: next(passes),
        run_block=lambda _first, _batches: Block(outcome=next(passes), pass_seconds=1.0),
        observe=observe,
        clock=clock,
        throttled_seconds=throttled,
    )
    return measure_trial(TRIAL, rules, report, actions)


def test_throughput_is_generated_ids_over_seconds_and_the_median_of_the_repeats() -> None:
    """A trial's number is the median over repeats of generated tokens per timed second."""
    result = run(iter([make_pass(1.0), make_pass(0.9), make_pass(1.1)]))
    assert isinstance(result, Measured)
    assert result.throughput_tokens_per_second == 80.0
    assert result.spread_ratio == pytest.approx((80 / 0.9 - 80 / 1.1) / 80, rel=1e-5)
    assert (result.index, result.batch_size, result.repeats) == (3, 4, 3)
    assert (result.generated_tokens, result.measured_seconds) == (240, 3.0)


def test_a_repeat_is_whole_passes_until_it_is_long_enough() -> None:
    """A repeat ends with the pass that reaches its minimum duration."""
    observed: list[PassOutcome] = []
    rules = RULES.model_copy(update={"min_repeat_seconds": 2.5})
    result = run(repeat(make_pass(1.0)), rules=rules, observe=observed.append)
    assert isinstance(result, Measured)
    assert len(observed) == 9
    assert result.measured_seconds == 9.0


def test_warm_up_comes_first_and_is_not_counted() -> None:
    """The requested number of warm-up batches runs before the first timed pass, and no number includes them."""
    events: list[str] = []
    rules = RULES.model_copy(update={"warmup_batches": 2})
    result = run(
        repeat(make_pass()), rules=rules, warm_up=lambda: events.append("warm"), observe=lambda _: events.append("pass")
    )
    assert events == ["warm", "warm", "pass", "pass", "pass"]
    assert isinstance(result, Measured)
    assert result.generated_tokens == 240


def test_the_window_holds_all_repeats_and_no_warm_up() -> None:
    """A trial's window runs from the end of the warm-up to the end of the last pass, extension included."""
    now = 100.0

    def spend(seconds: float) -> None:
        nonlocal now
        now += seconds

    passes = iter([make_pass(each) for each in (1.0, 1.0, 2.0, 1.0, 1.0, 0.1)])
    result = run(
        passes,
        warm_up=lambda: spend(10.0004),
        observe=lambda outcome: spend(outcome.seconds + 0.5),
        clock=lambda: now,
    )
    assert isinstance(result, Measured)
    assert result.window_seconds == (110.0, 119.1)


@pytest.mark.parametrize(
    ("flawed", "reason"),
    [
        (make_pass(generated=(5, 4, 5)), "ShortOutput"),
        (make_pass(generated=(5, 6)), "ShortOutput"),
        (make_pass(preemptions=1), "Preempted"),
        (make_pass(cache_hits=16), "PrefixCacheHit"),
        (make_pass(intervals=((0.0, 1.0),) * 5), "BatchExceeded"),
    ],
)
def test_a_flawed_pass_gives_no_number(flawed: PassOutcome, reason: str) -> None:
    """One pass that breaks a rule makes the trial invalid, with the reason, and nothing more is measured."""
    passes = iter([make_pass(), flawed])
    result = run(passes)
    assert isinstance(result, Invalid)
    assert result.reason == reason
    assert next(passes, None) is None


def test_repeats_that_disagree_are_extended_once_and_judged_together() -> None:
    """Every repeat gets a second part of the same length, and the number covers both parts."""
    seconds = [1.0, 1.0, 2.0, 1.0, 1.0, 0.1]
    result = run(iter([make_pass(each) for each in seconds]))
    assert isinstance(result, Measured)
    assert result.repeats == 3
    assert result.generated_tokens == 6 * 80
    assert result.measured_seconds == pytest.approx(6.1)
    assert result.spread_ratio <= RULES.max_spread_ratio


def test_repeats_that_still_disagree_are_no_number() -> None:
    """Disagreement after the extension is invalid, and the message lists the repeats."""
    result = run(iter([make_pass(each) for each in (1.0, 1.0, 2.0, 1.0, 1.0, 2.0)]))
    assert isinstance(result, Invalid)
    assert result.reason == "UnstableRepeats"
    assert "80, 80, 40" in result.detail


def test_a_flaw_in_the_extension_counts_like_any_other() -> None:
    """The extension is measured by the same rules."""
    result = run(iter([*(make_pass(each) for each in (1.0, 1.0, 2.0)), make_pass(preemptions=2)]))
    assert isinstance(result, Invalid)
    assert result.reason == "Preempted"


def test_optional_numbers_are_there_or_have_a_reason() -> None:
    """Each optional number is a value where the engine knows it, and None with its reason where it does not."""
    bare = run(repeat(make_pass()))
    assert isinstance(bare, Measured)
    assert bare.missing == REASONS
    intervals = tuple((float(number // 4), number // 4 + 0.5 + number / 100) for number in range(16))
    full = run(repeat(make_pass(intervals=intervals, pad_positions=25, input_positions=100)), memory=1 << 30)
    assert isinstance(full, Measured)
    assert full.missing == {}
    assert full.pad_ratio == 0.25
    assert full.gpu_memory_peak_bytes == 1 << 30
    assert full.batch_seconds_p50 == pytest.approx(0.57)
    assert full.batch_seconds_p95 == pytest.approx(0.65)


def test_the_concurrency_is_what_was_reached_in_any_pass() -> None:
    """The number of sequences that really ran together is recorded, as the maximum over all timed passes."""
    two, three = (tuple((0.0, 1.0) for _ in range(count)) for count in (2, 3))
    result = run(iter([make_pass(intervals=two), make_pass(intervals=three), make_pass(intervals=two)]))
    assert isinstance(result, Measured)
    assert (result.batch_size, result.concurrency_peak) == (4, 3)


class Quota:
    """A CPU quota that throttles threads for `warming` seconds in a warm-up and `measuring` in every pass."""

    def __init__(self, *, measuring: float, warming: float = 0.0, before: float = 0.0) -> None:
        self._measuring, self._warming, self.total = measuring, warming, before

    def warm_up(self) -> None:
        """Throttle threads in a warm-up."""
        self.total += self._warming

    def observe(self, _outcome: PassOutcome) -> None:
        """Throttle threads in a pass."""
        self.total += self._measuring


def measure_under(quota: Quota, *, seconds: tuple[float, ...] = (10.0,) * 3) -> Measured | Invalid:
    """Measure a trial whose passes take `seconds` while `quota` throttles threads."""
    return run(
        iter([make_pass(each) for each in seconds]),
        warm_up=quota.warm_up,
        observe=quota.observe,
        throttled=lambda: quota.total,
        cpu_limit=1.5,
    )


def test_a_number_that_a_limit_of_cpus_made_smaller_is_none() -> None:
    """Consistent repeats of a throttled engine are invalid, and the message names the limit and the remedy."""
    result = measure_under(Quota(measuring=0.11))
    assert isinstance(result, Invalid)
    assert result.reason == "CpuThrottled"
    assert "1.5 CPUs stopped threads" in result.detail
    assert "0.33 s" in result.detail
    assert "30 timed s" in result.detail
    assert "LimitRange" in result.detail


def test_less_throttling_than_can_decide_is_a_number() -> None:
    """Less than 1 % throttling cannot change the best; throttling before the timed part does not count."""
    assert isinstance(measure_under(Quota(measuring=0.09, warming=50.0, before=1000.0)), Measured)


def test_throttling_explains_repeats_that_disagree() -> None:
    """The cause is named rather than the symptom, over all repeats with their extension."""
    result = measure_under(Quota(measuring=0.2), seconds=(10.0, 10.0, 30.0, 10.0, 10.0, 30.0))
    assert isinstance(result, Invalid)
    assert result.reason == "CpuThrottled"
    assert "1.2 s" in result.detail
    assert "100 timed s" in result.detail


def test_unknown_throttling_is_not_judged() -> None:
    """Without throttling data from the kernel the number is kept, also if the data appears half way."""
    assert isinstance(run(repeat(make_pass()), throttled=lambda: None), Measured)
    words = iter([None, 5.0, None, None, 9.0, None])
    assert isinstance(run(repeat(make_pass()), throttled=lambda: next(words)), Measured)


def test_a_measured_trial_has_every_known_field() -> None:
    """Every value comes from its own source, over all passes of all repeats."""
    passes = [
        make_pass(1.5, intervals=((0.0, 0.25), (0.0, 0.5)), pad_positions=1, input_positions=10),
        make_pass(0.5, intervals=((1.0, 2.0),), pad_positions=2, input_positions=20),
        make_pass(2.0, intervals=((0.0, 1.5), (0.0, 1.5), (1.0, 3.0)), pad_positions=5, input_positions=30),
        make_pass(1.0, intervals=((0.0, 0.75),), input_positions=40),
        make_pass(1.0, intervals=((0.0, 0.75),), input_positions=100),
    ]
    times = iter([7.12345, 19.98765])
    result = run(
        iter(passes),
        rules=RULES.model_copy(update={"min_repeat_seconds": 2.0, "max_spread_ratio": 0.5}),
        memory=987_654,
        clock=lambda: next(times),
        throttled=lambda: 3.0,
    )
    assert result == Measured(
        index=3,
        batch_size=4,
        throughput_tokens_per_second=80.0,
        spread_ratio=0.5,
        repeats=3,
        generated_tokens=400,
        measured_seconds=6.0,
        batch_seconds_p50=0.75,
        batch_seconds_p95=2.0,
        gpu_memory_peak_bytes=987_654,
        pad_ratio=0.04,
        concurrency_peak=3,
        missing={},
        window_seconds=(7.123, 19.988),
    )


@pytest.mark.parametrize(
    ("seconds", "measured"), [((1.0, 1.0, 0.8), 3), ((1.0, 1.0, 0.799), 6), ((0.8, 0.8, 1.0), 3), ((0.8, 0.8, 1.07), 6)]
)
def test_repeats_may_differ_by_the_spread_that_is_allowed(seconds: tuple[float, ...], measured: int) -> None:
    """A spread of exactly the limit is accepted; above it every repeat is extended once."""
    observed: list[PassOutcome] = []
    result = run(iter([make_pass(each) for each in (*seconds, *seconds)]), observe=observed.append)
    assert len(observed) == measured
    assert isinstance(result, Measured if measured == 3 else Invalid)


@pytest.mark.parametrize(("shortest", "passes"), [(0.0, 3), (1.0, 3), (1.001, 6), (2.0, 6), (2.001, 9)])
def test_a_repeat_that_is_just_long_enough_has_no_extra_pass(shortest: float, passes: int) -> None:
    """The minimum duration is inclusive."""
    observed: list[PassOutcome] = []
    rules = RULES.model_copy(update={"min_repeat_seconds": shortest})
    run(repeat(make_pass(1.0)), rules=rules, observe=observed.append)
    assert len(observed) == passes


@pytest.mark.parametrize("repeats", [3, 4, 7])
def test_there_are_as_many_repeats_as_asked_for(repeats: int) -> None:
    """Each repeat counts."""
    result = run(repeat(make_pass()), rules=RULES.model_copy(update={"repeats": repeats}))
    assert isinstance(result, Measured)
    assert (result.repeats, result.generated_tokens) == (repeats, repeats * 80)


FLAWS = {
    "ShortOutput": ({"generated": (5, 4, 6)}, "2 sequences, one with 4 ids instead of 5"),
    "Preempted": ({"preemptions": 2}, "2 sequences evicted: the KV cache is too small for the batch"),
    "PrefixCacheHit": ({"cache_hits": 16}, "16 prompt tokens came from the prefix cache"),
    "BatchExceeded": ({"intervals": ((0.0, 1.0),) * 5}, "5 sequences ran at the same time, batch size 4"),
}


@pytest.mark.parametrize("reason", FLAWS)
def test_a_flaw_is_reported_with_its_numbers(reason: str) -> None:
    """Of several flaws the result names the first in a fixed order."""
    later = list(FLAWS)[list(FLAWS).index(reason) :]
    changes: dict[str, object] = {}
    for name in reversed(later):
        changes |= FLAWS[name][0]
    detail = FLAWS[reason][1]
    expected = Invalid(index=3, batch_size=4, reason=reason, detail=detail)  # type: ignore[arg-type]
    assert run(iter([make_pass(**changes)])) == expected


def test_a_full_batch_is_not_a_flaw() -> None:
    """A concurrency equal to the batch size, and requests one after another, are no flaw."""
    intervals = ((0.0, 1.0),) * 4 + ((1.0, 2.0),) * 4
    result = run(repeat(make_pass(intervals=intervals)))
    assert isinstance(result, Measured)
    assert result.concurrency_peak == 4


def test_what_the_repeats_were_is_reported_of_an_unstable_trial() -> None:
    """The message has the spread, the limit and every repeat's rate, with the digits of a timing."""
    result = run(iter([make_pass(each) for each in (1.0, 1.0, 3.0, 1.0, 1.0, 3.0)]))
    detail = "spread 0.667 > 0.25, tokens/s of the repeats: 80, 80, 26.6667"
    assert result == Invalid(index=3, batch_size=4, reason="UnstableRepeats", detail=detail)


@pytest.mark.parametrize(("stopped", "reason"), [(0.999, None), (1.0, None), (1.001, "CpuThrottled")])
def test_a_hundredth_of_the_time_may_be_throttled(stopped: float, reason: str | None) -> None:
    """Exactly that share is still accepted."""
    result = measure_under(Quota(measuring=stopped), seconds=(100.0,) * 3)
    assert (result.reason if isinstance(result, Invalid) else None) == reason


def test_throttling_without_a_known_limit_names_none() -> None:
    """The message says how long the CPUs were throttled, in how much measured time, and what to check."""
    stopped = iter([0.0, 1.0, 1.0, 2.0, 2.0, 3.0])
    result = run(iter([make_pass(10.0)] * 3), throttled=lambda: next(stopped))
    detail = (
        "a CPU limit stopped threads of the run for 3 s, summed over the CPUs, in 30 timed s; a run on GPUs "
        "needs no limit: check whether a LimitRange of the namespace sets it"
    )
    assert result == Invalid(index=3, batch_size=4, reason="CpuThrottled", detail=detail)


@pytest.mark.parametrize(
    ("first", "second", "merged"), [(1.0, 2.5, 3.5), (None, 2.5, None), (1.0, None, None), (0.0, 0.0, 0.0)]
)
def test_a_repeat_and_its_extension_are_one(first: float | None, second: float | None, merged: float | None) -> None:
    """It holds all passes of both, in order; throttling is known for the whole only if known for both."""
    one, other = make_pass(1.0), make_pass(2.0, generated=(5, 5))
    both = merge_repeats(
        Repeat(passes=(one,), throttled_seconds=first), Repeat(passes=(other,), throttled_seconds=second)
    )
    assert both == Repeat(passes=(one, other), throttled_seconds=merged)
    assert (both.seconds, both.generated_tokens, both.tokens_per_second) == (3.0, 90, 30.0)


@given(st.lists(st.floats(0.01, 100), min_size=6, max_size=6))
def test_the_number_lies_within_the_repeats(seconds: list[float]) -> None:
    """Whatever the timings, a measured throughput is one of its repeats and within the allowed spread."""
    result = run(iter([make_pass(each) for each in seconds]))
    if isinstance(result, Measured):
        assert 80 / max(seconds) * 0.999 <= result.throughput_tokens_per_second <= 80 / min(seconds) * 1.001
        assert result.spread_ratio <= RULES.max_spread_ratio
