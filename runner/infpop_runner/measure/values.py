"""Plain values: what an engine reports for one pass, and a repeat made of several passes."""

from dataclasses import dataclass

Interval = tuple[float, float]  # start and end, in seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class PassOutcome:
    """One call of the engine with all prompts of a pass.

    `seconds` is the wall time of that call alone, with all device work complete at both ends. `generated` is the number
    of generated ids of each sequence. `intervals` are the times at which each sequence entered and left the batch, on
    the engine's own clock; None if the engine does not report them. `preemptions` and `cache_hits` are the engine's
    counts during the pass. `pad_positions` of the `input_positions` were padding; both are 0 for an engine that does
    not pad.
    """

    seconds: float
    generated: tuple[int, ...]
    intervals: tuple[Interval, ...] | None = None
    preemptions: int = 0
    cache_hits: int = 0
    pad_positions: int = 0
    input_positions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Some batches of a pass, run and timed in one call, and what they say about the whole pass.

    `pass_seconds` is the time of a whole pass as this block alone shows it, with the ramp-up and the tail of one pass.
    `length_ratio` is the mean input length, padding included, of what that time stands for, relative to the pass's own.
    """

    outcome: PassOutcome
    pass_seconds: float
    length_ratio: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """One or more whole passes that together give one throughput.

    `throttled_seconds` is how long a CPU limit stopped threads of the run during the repeat, summed over the CPUs; None
    if that is unknown or irrelevant.
    """

    passes: tuple[PassOutcome, ...]
    throttled_seconds: float | None = None

    @property
    def seconds(self) -> float:
        """The timed seconds of all passes."""
        return sum(outcome.seconds for outcome in self.passes)

    @property
    def generated_tokens(self) -> int:
        """The number of generated ids in all passes."""
        return sum(sum(outcome.generated) for outcome in self.passes)

    @property
    def tokens_per_second(self) -> float:
        """Generated ids divided by timed seconds."""
        return self.generated_tokens / self.seconds


def merge_repeats(first: Repeat, second: Repeat) -> Repeat:
    """Return one repeat with the passes of both."""
    stopped = (first.throttled_seconds, second.throttled_seconds)
    known = None if None in stopped else sum(seconds for seconds in stopped if seconds is not None)
    return Repeat(passes=first.passes + second.passes, throttled_seconds=known)
