"""Text for numbers, devices and reasons, in the wording and width that every view shares."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta

from infpop_operator.core.model import Phase

SIMULATED = "SIMULATED: these numbers are replayed, nothing was measured."
_SECONDS_PER_MINUTE = 60
_HOURS_PER_DAY = 24
_LARGE = 100.0
_SMALL = 10.0

_PHASES = {
    Phase.STARTING: "starting",
    Phase.LOADING: "loading the model",
    Phase.WARMING_UP: "warming up",
    Phase.MEASURING: "measuring",
    Phase.DONE: "done",
}
# Short forms for narrow columns; the legend under a table gives the reason itself.
_SHORT_REASONS = {
    "BatchExceeded": "exceeded",
    "CpuThrottled": "throttle",
    "GpuOutOfMemory": "memory",
    "HeadsNotDivisible": "heads",
    "Inherited": "memory",
    "Interrupted": "stopped",
    "Suspended": "stopped",
    "DeadlineReached": "stopped",
    "GPUHoursSpent": "stopped",
    "BudgetLowered": "stopped",
    "IncompatibleGPU": "device",
    "LoadFails": "no load",
    "NotRecorded": "no data",
    "Preempted": "preempt",
    "Queued": "queue",
    "QuotaExceeded": "quota",
    "RejectedArguments": "args",
    "ScalingUp": "scaling",
    "ShortOutput": "short",
    "SourcesDisagree": "disagree",
    "Stopped": "stopped",
    "UnexpectedGPU": "device",
    "Unschedulable": "no room",
    "UnstableRepeats": "unstable",
    "UnsupportedGpuCount": "count",
    "UnsupportedModel": "model",
}


def number(value: float) -> str:
    """Return `value` with three to five significant digits and thousands separated."""
    if abs(value) >= _LARGE:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= _SMALL else f"{value:.3g}"


def percent(ratio: float) -> str:
    """Return a ratio in per cent, with a sign only if it is negative."""
    return f"{ratio * 100:.1f} %"


def interval_text(interval: str) -> str:
    """Return an interval of a status, such as "3964 to 4050", with thousands separated."""
    ends = re.fullmatch(r"([0-9]{4,}) to ([0-9]{4,})", interval)
    return on_one_line(interval) if ends is None else f"{int(ends[1]):,} to {int(ends[2]):,}"


def certainty(interval: str | None, measured_seconds: str | None) -> str:
    """Return how sure a number is and how long that took, such as "95 % interval 812 to 830, in 31 s"."""
    how_sure = "" if interval is None else f"95 % interval {interval_text(interval)}"
    how_long = "" if measured_seconds is None else f"in {number(float(measured_seconds))} s"
    return ", ".join(part for part in (how_sure, how_long) if part)


def duration(seconds: float) -> str:
    """Return seconds as m:ss, from one hour on as h:mm:ss, and from two days on as days and hours."""
    minutes, rest = divmod(max(0, int(seconds)), _SECONDS_PER_MINUTE)
    hours, minutes = divmod(minutes, _SECONDS_PER_MINUTE)
    if hours >= 2 * _HOURS_PER_DAY:
        return f"{hours // _HOURS_PER_DAY}d {hours % _HOURS_PER_DAY}h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def clock(elapsed: timedelta) -> str:
    """Return an elapsed time, padded as the start of a line."""
    return f"{duration(elapsed.total_seconds()):>7}"


def phase_text(phase: Phase) -> str:
    """Return what a live run does in `phase`."""
    return _PHASES[phase]


def short_reason(reason: str) -> str:
    """Return a word of at most eight letters for `reason`."""
    return _SHORT_REASONS.get(reason, "broken")


def count(amount: int, word: str) -> str:
    """Return "1 GPU" or "2 GPUs"."""
    return f"{amount} {word}" if amount == 1 else f"{amount} {word}s"


def progress_phrase(done: int, most: int) -> str:
    """Return how far a study is; it has more trials than its budget if the user lowered that."""
    return f"{done} of up to {most} trials" if done <= most else f"{count(done, 'trial')} (the budget is {most})"


def configuration_phrase(amount: int, device: str, batch_size: int | Sequence[int], extra: Mapping[str, str]) -> str:
    """Return a configuration in one phrase; for several that share a load, with all of their batch sizes."""
    sizes = [batch_size] if isinstance(batch_size, int) else list(batch_size)
    batches = f"batch size{'s' if len(sizes) > 1 else ''} {', '.join(map(str, sizes))}"
    more = "".join(f", {name}={value}" for name, value in extra.items())
    return f"{count(amount, device)}, {batches}{more}"


def reused_phrase(study: str | None) -> str:
    """Return what follows a number that another study measured; empty for None."""
    return "" if study is None else f", measured by study {on_one_line(study)}"


def on_one_line(text: str) -> str:
    """Return `text` with a space for each unprintable character: a name must not move the cursor or break a line."""
    return "".join(character if character.isprintable() else " " for character in text)
