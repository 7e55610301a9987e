"""A made-up machine that runs blocks: its batches take known times, with noise as machines have it."""

from collections.abc import Callable
from random import Random
from statistics import fmean

from infpop_runner.contract import Invalid, Measured, MeasurementSpec, RacedOut, TrialSpec
from infpop_runner.measure import (
    AdaptivePlan,
    Block,
    PassOutcome,
    TrialActions,
    TrialReport,
    measure_adaptively,
    representative_order,
    take,
)

IDS = 5  # of a batch
REASONS = dict.fromkeys(
    ("batch_seconds_p50", "batch_seconds_p95", "concurrency_peak", "gpu_memory_peak_bytes", "pad_ratio"), "Unknown"
)


class Machine:
    """Runs the batches of a pass; `share` of the time of a batch is proportional to its length, the rest is fixed.

    `convex` is the share that is proportional to the square of its length, as attention is.
    Noise has a relative standard deviation of `noise` and a correlation of `lasting` from one batch to the next.
    """

    def __init__(
        self,
        seed: int,
        *,
        batches: int = 65,
        seconds: float = 0.5,
        share: float = 0.7,
        convex: float = 0.0,
        noise: float = 0.02,
        lasting: float = 0.0,
    ) -> None:
        self._random = Random(seed)
        self.lengths = [self._random.lognormvariate(5, 0.6) for _ in range(batches)]
        self._mean = fmean(self.lengths)
        self._order = representative_order([round(length) for length in self.lengths], seed=seed)
        ratios = [length / self._mean for length in self.lengths]
        self._seconds = [seconds * (1 - share - convex + share * ratio + convex * ratio**2) for ratio in ratios]
        self._noise, self._lasting, self._state = noise, lasting, 0.0
        self.pass_seconds = sum(self._seconds)
        self.clock = 0.0
        self.ran: list[tuple[int, int]] = []
        self.observed: list[PassOutcome] = []
        self.warmed_up = 0
        self.throttled: Callable[[], float | None] = lambda: None
        self.flaws: dict[int, dict[str, int]] = {}

    @property
    def tokens_per_second(self) -> float:
        """The true throughput of a whole pass."""
        return IDS * len(self.lengths) / self.pass_seconds

    def run_block(self, first: int, batches: int) -> Block:
        """Run some batches, in the order in which any part stands for the whole."""
        chosen = take(self._order, first=first, count=batches)
        seconds = sum(self._seconds[number] * self._next_noise() for number in chosen)
        self.clock += seconds
        flaw = self.flaws.get(len(self.ran), {})
        self.ran.append((first, batches))
        return Block(
            outcome=PassOutcome(seconds=seconds, generated=(IDS,) * batches, **flaw),
            pass_seconds=seconds * len(self.lengths) / batches,
            length_ratio=fmean(self.lengths[number] for number in chosen) / self._mean,
        )

    def _next_noise(self) -> float:
        self._state = self._lasting * self._state + (1 - self._lasting**2) ** 0.5 * self._random.gauss(0, 1)
        return max(0.05, 1 + self._noise * self._state)

    def measure(
        self,
        *,
        to_beat: float | None = None,
        fewest_batches: int = 1,
        min_repeat_seconds: float = 10.0,
        **rules: float,
    ) -> Measured | RacedOut | Invalid:
        """Measure it adaptively; `to_beat` is relative to the true throughput."""

        def warm_up() -> None:
            self.warmed_up += 1

        def run_pass() -> PassOutcome:
            raise NotImplementedError

        return measure_adaptively(
            TrialSpec(index=3, batch_size=1),
            MeasurementSpec.model_validate({"mode": "adaptive", "min_repeat_seconds": min_repeat_seconds, **rules}),
            AdaptivePlan(
                pass_batches=len(self.lengths),
                pass_tokens=IDS * len(self.lengths),
                fewest_batches=fewest_batches,
                floor_seconds=2 * min_repeat_seconds,
                to_beat_tokens_per_second=None if to_beat is None else to_beat * self.tokens_per_second,
            ),
            TrialReport(max_new_tokens=IDS, memory_peak_bytes=lambda: None, missing_reasons=REASONS, cpu_limit=2.0),
            TrialActions(
                warm_up=warm_up,
                run_pass=run_pass,
                run_block=self.run_block,
                observe=self.observed.append,
                clock=lambda: self.clock,
                throttled_seconds=self.throttled,
            ),
        )
