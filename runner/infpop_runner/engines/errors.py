"""The failures that an engine adapter detects itself; `failures` classifies all others from exceptions and logs.

EngineError
├── EngineRefusedError   this configuration cannot work here: infeasible
└── EngineBrokenError    something in the engine's environment is wrong: broken
"""

from infpop_runner.contract import BrokenReason, InfeasibleReason


class EngineError(Exception):
    """Base class of both: a failure with its reason."""


class EngineRefusedError(EngineError):
    """The configuration cannot work here; the search learns from it.

    `largest_only`: only the largest batch of the load is refused; smaller ones may work.
    """

    def __init__(self, reason: InfeasibleReason, detail: str, *, largest_only: bool = False) -> None:
        super().__init__(detail)
        self.reason: InfeasibleReason = reason
        self.largest_only = largest_only


class EngineBrokenError(EngineError):
    """The engine's environment failed; the run is retried, and the search never learns from it."""

    def __init__(self, reason: BrokenReason, detail: str) -> None:
        super().__init__(detail)
        self.reason: BrokenReason = reason
