"""A row of the table of known failures: which words, in which phase and on which device, mean what.

`device_failures` and `model_failures` have the rows. They are tried in order, so a row stands before those whose words
it also contains. A row matches the text of one exception, on one line: "module.Class: message". Words alone prove
nothing ("memory" also occurs in "an illegal memory access"), so each phrase is one that a library raises. The texts are
of vLLM 0.6 to 0.33, transformers 4.44 to 5.23, accelerate 0.33 to 1.15, torch 2.4 to 2.13, huggingface_hub 0.24 to 2.4
and NVIDIA drivers up to 580; `tests/engines/failure_texts.py` has a text for each phrase.

A row says that a configuration is infeasible only if it fails wherever it is tried: a wrong "broken" costs a retry, a
wrong "infeasible" hides a good configuration.
"""

import re
from dataclasses import dataclass
from typing import Literal

from infpop_runner.contract import BrokenReason, InfeasibleReason, Retry

Phase = Literal["load", "measure"]
Device = Literal["cuda", "cpu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A known failure: `infeasible` or `broken` is its reason.

    `remedy` says what to do where the reason alone does not. Without `phase` or `device` the row holds for any.
    """

    phrases: tuple[re.Pattern[str], ...]
    infeasible: InfeasibleReason | None = None
    broken: BrokenReason = "EngineCrash"
    phase: Phase | None = None
    device: Device | None = None
    remedy: str = ""
    retry: Retry | None = None

    def knows(self, text: str) -> bool:
        """Return whether the text of an exception contains one of the phrases."""
        return any(phrase.search(text) for phrase in self.phrases)

    def applies(self, phase: Phase, device: Device) -> bool:
        """Return whether the row says anything about this phase on this device."""
        return self.phase in {None, phase} and self.device in {None, device}


def infeasible(
    reason: InfeasibleReason,
    *phrases: str,
    phase: Phase | None = None,
    device: Device | None = None,
    remedy: str = "",
) -> Rule:
    """Return the row of a configuration that cannot work here."""
    return Rule(phrases=_compile(phrases), infeasible=reason, phase=phase, device=device, remedy=remedy)


def broken(
    reason: BrokenReason,
    *phrases: str,
    phase: Phase | None = None,
    device: Device | None = None,
    remedy: str = "",
    retry: Retry | None = None,
) -> Rule:
    """Return the row of something that broke; `retry` says whether waiting helps."""
    return Rule(phrases=_compile(phrases), broken=reason, phase=phase, device=device, remedy=remedy, retry=retry)


def _compile(phrases: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(phrase, re.IGNORECASE) for phrase in phrases)
