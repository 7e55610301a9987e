"""Numbers, devices and reasons in the words and widths that every view shares."""

from collections.abc import Mapping
from datetime import timedelta

from infpop_operator.core.model import Configuration, Decision, Phase, Pool, Study

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
    "Interrupted": "stopped",
    "IncompatibleGPU": "device",
    "NotRecorded": "no data",
    "Preempted": "preempt",
    "RejectedArguments": "args",
    "ShortOutput": "short",
    "SourcesDisagree": "disagree",
    "Stopped": "stopped",
    "UnstableRepeats": "unstable",
    "UnsupportedGpuCount": "count",
}


def number(value: float) -> str:
    """Return `value` with three to five significant digits and thousands separated."""
    if abs(value) >= _LARGE:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= _SMALL else f"{value:.3g}"


def percent(ratio: float) -> str:
    """Return a ratio as per cent, with a sign only where it is negative."""
    return f"{ratio * 100:.1f} %"


def duration(seconds: float) -> str:
    """Return seconds as m:ss, as h:mm:ss from an hour on, and as days and hours from two days on."""
    minutes, rest = divmod(max(0, int(seconds)), _SECONDS_PER_MINUTE)
    hours, minutes = divmod(minutes, _SECONDS_PER_MINUTE)
    if hours >= 2 * _HOURS_PER_DAY:
        return f"{hours // _HOURS_PER_DAY}d {hours % _HOURS_PER_DAY}h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def clock(elapsed: timedelta) -> str:
    """Return the time since something began, as lines start with it."""
    return f"{duration(elapsed.total_seconds()):>7}"


def phase_text(phase: Phase) -> str:
    """Return what a live run does."""
    return _PHASES[phase]


def short_reason(reason: str) -> str:
    """Return a word of at most eight letters for a reason."""
    return _SHORT_REASONS.get(reason, "broken")


def device_word(study: Study, pool: Pool) -> str:
    """Return what one of a pool's devices is called. Replayed landscapes are about GPUs, wherever they are replayed."""
    return "CPU rank" if pool.device == "cpu" and study.engine.name != "simulated" else "GPU"


def count(amount: int, word: str) -> str:
    """Return "1 GPU" or "2 GPUs"."""
    return f"{amount} {word}" if amount == 1 else f"{amount} {word}s"


def configuration_text(study: Study, pool: Pool, configuration: Configuration) -> str:
    """Return a configuration in one phrase."""
    extra = {name: str(value) for name, value in configuration.extra}
    return configuration_phrase(configuration.gpu_count, device_word(study, pool), configuration.batch_size, extra)


def configuration_phrase(amount: int, device: str, batch_size: int, extra: Mapping[str, str]) -> str:
    """Return the parts of a configuration in one phrase."""
    more = "".join(f", {name}={value}" for name, value in extra.items())
    return f"{count(amount, device)}, batch size {batch_size}{more}"


def on_one_line(text: str) -> str:
    """Return `text` with blanks for what is not printable: a name must not move the cursor or break a line."""
    return "".join(character if character.isprintable() else " " for character in text)


def why(decision: Decision) -> str:
    """Return a decision's message, and the reason that programs read where the message lacks it."""
    return decision.message if decision.reason in decision.message else f"{decision.message} ({decision.reason})"
