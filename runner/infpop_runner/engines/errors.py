"""Failures that an engine's adapter knows by itself. All others are read off what the libraries raise and log.

EngineError
├── EngineRefusedError   this configuration cannot work here: infeasible
└── EngineBrokenError    something around the engine is not as it must be: broken
"""

from infpop_runner.contract import BrokenReason, InfeasibleReason


class EngineError(Exception):
    """Base of both: a failure with its reason."""


class EngineRefusedError(EngineError):
    """The configuration cannot work here; told to the search.

    `largest_only`: it is the largest batch of the load that is refused, smaller ones may work.
    """

    def __init__(self, reason: InfeasibleReason, detail: str, *, largest_only: bool = False) -> None:
        super().__init__(detail)
        self.reason: InfeasibleReason = reason
        self.largest_only = largest_only


class EngineBrokenError(EngineError):
    """The engine's surroundings failed; retried, never told."""

    def __init__(self, reason: BrokenReason, detail: str) -> None:
        super().__init__(detail)
        self.reason: BrokenReason = reason
