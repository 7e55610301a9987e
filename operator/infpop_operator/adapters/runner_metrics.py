"""Parse what a runner serves on `/metrics`, on this machine or in a Pod.

Pure. Only the runner's own series are parsed; every other line, and malformed ones, are ignored.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from infpop_operator.core.model import Phase, Running

# Both take time linear in the length of the text, for any text.
_LINE = re.compile(r"^(infpop_[a-z_]+)\{([^\n]*)\} ([-+.0-9eE]+|NaN|[-+]?Inf)$", re.MULTILINE)
_LABEL = re.compile(r'(?:^|,)([a-z_]+)="((?:[^"\\\n]|\\.)*)"')
_INDEX = re.compile(r"[0-9]{1,9}")
_PHASES = {
    "loading": Phase.LOADING,
    "warm-up": Phase.WARMING_UP,
    "measuring": Phase.MEASURING,
    "done": Phase.DONE,
}
_ACTIVE = ("warm-up", "measuring")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSample:
    """One sample line: a series with its labels and its value, which may be NaN or infinite."""

    name: str
    labels: Mapping[str, str]
    value: float


def parse_samples(text: str) -> Iterator[MetricSample]:
    """Yield the runner's samples in `text`, which is in the Prometheus text format."""
    for name, labels, value in _LINE.findall(text):
        try:
            number = float(value)
        except ValueError:
            continue
        yield MetricSample(name=name, labels=dict(_LABEL.findall(labels)), value=number)


def to_running(samples: Iterable[MetricSample]) -> Running | None:
    """Return the phase and the trial in a runner's samples, None if they contain no known phase."""
    phase: Phase | None = None
    trial: str | None = None
    for sample in samples:
        state = sample.labels.get("state")
        if sample.value != 1.0:
            continue
        if sample.name == "infpop_run_state":
            phase = _PHASES.get(state or "", phase)
        elif sample.name == "infpop_trial_state" and state in _ACTIVE:
            trial = sample.labels.get("trial")
    if phase is None:
        return None
    return Running(phase=phase, trial_index=to_index(trial))


def to_index(text: str | None) -> int | None:
    """Return the trial index in `text`, None if it is not one."""
    return int(text) if text is not None and _INDEX.fullmatch(text) else None
