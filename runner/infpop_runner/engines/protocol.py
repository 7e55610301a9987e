"""What every engine offers to the measuring loop.

An engine is loaded once for a run and serves trials of different batch sizes one after the other. It times its own
innermost call, because only it knows what belongs to that call and when all device work is complete.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from infpop_runner.contract import ModelFacts, RunSpec
from infpop_runner.measure import PassOutcome, Prompts

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """What an engine needs to load, and what it may use of the outside.

    `batch_sizes` is ascending and not empty; the engine is dimensioned for the last one. `clock` is monotonic, in
    seconds. `memory_used_bytes` gives the memory in use on the fullest device, None without one or when
    NVML fails.
    """

    spec: RunSpec
    prompts: Prompts
    batch_sizes: tuple[int, ...]
    clock: Callable[[], float]
    wait: Callable[[float], None]
    memory_used_bytes: Callable[[], int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AboutEngine:
    """What is known once an engine is loaded, for a result's provenance.

    `engine_args` are the arguments as passed. `missing_reasons` says for each optional number of a trial why this
    engine would not give it here.
    """

    version: str | None
    torch_version: str | None
    engine_args: Mapping[str, Scalar]
    device_mode: str
    model: ModelFacts | None
    prompt_tokens_mean: float | None
    missing_reasons: Mapping[str, str]


class Engine(Protocol):
    """A loaded engine. Whatever it raises is classified by `infpop_runner.engines.failures`."""

    @property
    def about(self) -> AboutEngine:
        """Facts that do not change while it is loaded."""
        ...

    def warm_up(self, batch_size: int) -> None:
        """Generate for one full batch of prompts that are as long as the timed ones but are none of them."""
        ...

    def run_pass(self, batch_size: int) -> PassOutcome:
        """Generate for all prompts of a pass, never more than `batch_size` at once, and time it."""
        ...

    def memory_peak_bytes(self) -> int | None:
        """Return the most memory that any of its devices held so far; None where that is not known."""
        ...

    def close(self) -> None:
        """Free the devices and end every process that the engine started. Safe to repeat."""
        ...


class EngineLoader(Protocol):
    """Loads an engine."""

    def __call__(self, request: LoadRequest) -> Engine:
        """Return the engine, ready to serve.

        Raises:
            EngineRefusedError: it cannot work with this configuration.
            Exception: anything else that the engine's libraries raise.
        """
        ...
