"""What an engine reports of one pass, and what the loop makes of several: plain values."""

from dataclasses import dataclass

Interval = tuple[float, float]  # from and to, in seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class PassOutcome:
    """One call of the engine with all prompts of a pass.

    `seconds` is the wall time of that call alone, with all device work complete at both ends. `generated` counts the
    ids that came back for each sequence. `intervals` say when each sequence entered and left the batch, on the
    engine's own clock; None where an engine does not know them. `preemptions` and `cache_hits` are what the engine
    counted during the pass. `pad_positions` of `input_positions` were padding; both are 0 for an engine that does not
    pad.
    """

    seconds: float
    generated: tuple[int, ...]
    intervals: tuple[Interval, ...] | None = None
    preemptions: int = 0
    cache_hits: int = 0
    pad_positions: int = 0
    input_positions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """One or more whole passes that together give one throughput.

    `throttled_seconds` is for how long a limit of CPUs stopped threads of the run meanwhile, added up over the CPUs;
    None where that is not known, or not judged.
    """

    passes: tuple[PassOutcome, ...]
    throttled_seconds: float | None = None

    @property
    def seconds(self) -> float:
        """Timed seconds of all passes."""
        return sum(outcome.seconds for outcome in self.passes)

    @property
    def generated_tokens(self) -> int:
        """Ids that came back in all passes."""
        return sum(sum(outcome.generated) for outcome in self.passes)

    @property
    def tokens_per_second(self) -> float:
        """Generated ids divided by timed seconds."""
        return self.generated_tokens / self.seconds


def merge_repeats(first: Repeat, second: Repeat) -> Repeat:
    """Return one repeat that holds the passes of both: twice as long, nothing left out."""
    stopped = (first.throttled_seconds, second.throttled_seconds)
    known = None if None in stopped else sum(each for each in stopped if each is not None)
    return Repeat(passes=first.passes + second.passes, throttled_seconds=known)
