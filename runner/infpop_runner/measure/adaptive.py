"""Measure one trial no longer than it takes to know its throughput, or to know that it is not the best.

A trial is measured block by block; a block is some batches of a pass that stand for all of it (`measure.order`). After
some blocks the throughput of a whole pass and its interval are estimated (`measure.estimate`), and the trial ends

- measured, once the interval is at most `interval_ratio` of the throughput to either side and the parts agree, or
- raced out, once all of the interval is below the throughput to beat, or
- at what a full measurement would have taken, by the same rules as that one: measured if the parts agree; else it goes
  on for as long again, once, and is then measured or invalid.

The interval holds at all looks together: look number k may err with a probability of 5 % / (k (k + 1)), which adds up
to at most 5 % however many there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import ceil
from statistics import fmean
from typing import Self

from infpop_runner.contract import Invalid, Measured, MeasurementSpec, RacedOut, TrialSpec
from infpop_runner.measure.estimate import FEWEST_BLOCKS, PassEstimate, estimate_pass
from infpop_runner.measure.passes import pass_length
from infpop_runner.measure.statistics import round_significant, spread_ratio
from infpop_runner.measure.trial import TrialActions
from infpop_runner.measure.validation import TrialReport, find_flaw, find_instability, find_throttling, numbers_of
from infpop_runner.measure.values import Block, Interval, Repeat, merge_repeats

OUTSIDE = 0.05  # of a 95 % interval
LOOK_GROWTH = 1.25  # a look at each block would cost more certainty than it saves blocks. Reasoned, not measured.
# The shortest measurement, in `min_repeat_seconds`: 20 s by default. A machine that is slow for some seconds must not
# look like a slow configuration. Reasoned, not measured.
FLOOR_IN_REPEATS = 2.0
BLOCKS_IN_FLOOR = 10  # enough for a t of 2.7, and each long enough that starting it takes no time in comparison
# A single batch is a block only if the few milliseconds of the call around it are nothing in comparison. With two, they
# can be told apart.
ALONE_SECONDS = 1.0
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptivePlan:
    """The sizes that an adaptive measurement depends on.

    A whole pass has `pass_batches` batches and generates `pass_tokens` ids. A block has at least `fewest_batches`.
    `floor_seconds` is the shortest measurement, unless a full one is shorter. `to_beat_tokens_per_second` is None if
    nothing is known that the trial had to beat.
    """

    pass_batches: int
    pass_tokens: int
    fewest_batches: int
    floor_seconds: float
    to_beat_tokens_per_second: float | None = None

    @classmethod
    def of(cls, rules: MeasurementSpec, *, samples: int, batch_size: int, new_tokens: int, fewest_batches: int) -> Self:
        """Return the sizes of a trial whose workload has so many samples, each with `new_tokens` generated ids."""
        prompts = pass_length(samples=samples, batch_size=batch_size)
        return cls(
            pass_batches=prompts // batch_size,
            pass_tokens=prompts * new_tokens,
            fewest_batches=fewest_batches,
            floor_seconds=FLOOR_IN_REPEATS * rules.min_repeat_seconds,
        )

    def batches_of_a_block(self, fewest_seconds: float) -> int:
        """Return how many batches a block has if the fewest take `fewest_seconds`."""
        fewest = min(self.fewest_batches, self.pass_batches)
        wanted = ceil(fewest * self.floor_seconds / BLOCKS_IN_FLOOR / fewest_seconds)
        if fewest_seconds < ALONE_SECONDS:
            wanted = max(wanted, 2)
        return min(max(fewest, wanted), self.pass_batches)


class _Trial:
    """An adaptive measurement in progress."""

    def __init__(
        self,
        trial: TrialSpec,
        rules: MeasurementSpec,
        plan: AdaptivePlan,
        report: TrialReport,
        actions: TrialActions,
    ) -> None:
        self._trial = trial
        self._rules = rules
        self._plan = plan
        self._report = report
        self._actions = actions
        self._position = 0
        self._blocks: list[Block] = []
        self._repeats: list[Repeat] = []
        self._seconds = 0.0
        self._start = actions.clock()
        self._looks = 0
        self._next_look = FEWEST_BLOCKS
        self._extended = False

    def measure(self) -> Measured | RacedOut | Invalid:
        size = min(self._plan.fewest_batches, self._plan.pass_batches)
        first = self._run(size)
        if isinstance(first, Invalid):
            return first
        wanted = self._plan.batches_of_a_block(first[0].outcome.seconds)
        if wanted == size:
            self._keep(*first)
        else:  # too short to be a block: it has only shown how long one must be
            size, self._start = wanted, self._actions.clock()
        while (verdict := self._verdict()) is None:
            ran = self._run(size)
            if isinstance(ran, Invalid):
                return ran
            self._keep(*ran)
        return verdict

    def _run(self, batches: int) -> tuple[Block, float | None] | Invalid:
        """Run the next block; return it with the time for which it was throttled."""
        before = self._actions.throttled_seconds()
        block = self._actions.run_block(self._position, batches)
        after = self._actions.throttled_seconds()
        self._position += batches
        if flaw := find_flaw(block.outcome, self._trial, max_new_tokens=self._report.max_new_tokens):
            return flaw
        return block, None if before is None or after is None else after - before

    def _keep(self, block: Block, throttled: float | None) -> None:
        self._actions.observe(block.outcome)
        self._blocks.append(block)
        self._repeats.append(Repeat(passes=(block.outcome,), throttled_seconds=throttled))
        self._seconds += block.outcome.seconds

    def _verdict(self) -> Measured | RacedOut | Invalid | None:
        """Return how the trial ends if it ends here."""
        count = len(self._blocks)
        if count < FEWEST_BLOCKS:
            return None
        at_ceiling = self._is_at_ceiling()
        is_look = count >= self._next_look and self._seconds >= self._plan.floor_seconds and not self._extended
        if not at_ceiling and not is_look:
            return None
        self._looks += 1
        self._next_look = ceil(LOOK_GROWTH * count)
        estimate = estimate_pass(self._blocks, outside=OUTSIDE / (self._looks * (self._looks + 1)))
        return self._judge(estimate, at_ceiling=at_ceiling)

    def _judge(self, estimate: PassEstimate, *, at_ceiling: bool) -> Measured | RacedOut | Invalid | None:
        if throttled := find_throttling(self._trial, self._report, self._repeats):
            return throttled
        rates = self._rates_of_parts(estimate)
        unstable = find_instability(self._trial, self._rules, rates)
        if unstable is None and (at_ceiling or estimate.tight(self._rules.interval_ratio)):
            return self._measured(estimate, rates)
        if raced_out := self._raced_out(estimate):
            return raced_out
        if at_ceiling and self._extended:
            return unstable
        self._extended = self._extended or at_ceiling
        return None

    def _is_at_ceiling(self) -> bool:
        """Return whether another block would make this longer than a full measurement."""
        of_pass = fmean(block.pass_seconds for block in self._blocks)
        of_full = self._rules.repeats * max(of_pass, self._rules.min_repeat_seconds) * (2 if self._extended else 1)
        return self._seconds * (1 + 1 / len(self._blocks)) > of_full * (1 + _ROUNDING)

    def _parts(self) -> list[slice]:
        """Return the blocks of each repeat: equal parts of what was measured, one after another."""
        count = len(self._blocks)
        parts = min(self._rules.repeats, count)
        return [slice(count * part // parts, count * (part + 1) // parts) for part in range(parts)]

    def _rates_of_parts(self, estimate: PassEstimate) -> list[float]:
        """Return the tokens/s of each repeat, as if its inputs were as long as those of the whole pass."""
        plain = [block.pass_seconds for block in self._blocks]
        level = [block.pass_seconds - estimate.slope * (block.length_ratio - 1) for block in self._blocks]
        means = [fmean(level[part]) for part in self._parts()]
        if min(means) <= 0:  # so uneven that no line describes it
            means = [fmean(plain[part]) for part in self._parts()]
        return [self._plan.pass_tokens / mean for mean in means]

    def _measured(self, estimate: PassEstimate, rates: Sequence[float]) -> Measured:
        repeats = [reduce(merge_repeats, self._repeats[part]) for part in self._parts()]
        return Measured(
            index=self._trial.index,
            batch_size=self._trial.batch_size,
            throughput_tokens_per_second=round_significant(self._plan.pass_tokens / estimate.seconds),
            spread_ratio=round_significant(spread_ratio(rates)),
            mode="adaptive",
            interval_tokens_per_second=self._interval(estimate),
            **numbers_of(self._report, repeats, (self._start, self._actions.clock())),
        )

    def _interval(self, estimate: PassEstimate) -> Interval:
        low, high = estimate.interval
        return round_significant(self._plan.pass_tokens / high), round_significant(self._plan.pass_tokens / low)

    def _raced_out(self, estimate: PassEstimate) -> RacedOut | None:
        to_beat, interval = self._plan.to_beat_tokens_per_second, self._interval(estimate)
        if to_beat is None or interval[1] >= to_beat:
            return None
        return RacedOut(
            index=self._trial.index,
            batch_size=self._trial.batch_size,
            throughput_tokens_per_second=round_significant(self._plan.pass_tokens / estimate.seconds),
            at_most_tokens_per_second=interval[1],
            to_beat_tokens_per_second=to_beat,
            generated_tokens=sum(repeat.generated_tokens for repeat in self._repeats),
            measured_seconds=round_significant(self._seconds),
        )


def measure_adaptively(
    trial: TrialSpec, rules: MeasurementSpec, plan: AdaptivePlan, report: TrialReport, actions: TrialActions
) -> Measured | RacedOut | Invalid:
    """Warm up, then measure the trial until its throughput is known well enough.

    Exceptions of the engine propagate: the caller classifies them.
    """
    for _ in range(rules.warmup_batches):
        actions.warm_up()
    return _Trial(trial, rules, plan, report, actions).measure()
