"""The interface of every engine to the measuring loop.

An engine is loaded once per run and serves trials of different batch sizes one after the other. It times its own
innermost call, because only it knows what belongs to that call and when all device work is complete.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from infpop_runner.contract import ModelFacts, RunSpec
from infpop_runner.measure import Block, PassOutcome, Prompts

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """The inputs of a load, and the outside functions that the engine may call.

    `batch_sizes` is ascending and not empty; the engine is dimensioned for the last one. `clock` is monotonic, in
    seconds. `memory_used_bytes` returns the memory in use on the fullest device, None without a device or if
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
    """The facts that are known once an engine is loaded, for the result's provenance.

    `engine_args` are the arguments as passed. `missing_reasons` gives, for each optional number of a trial, the
    reason why this engine does not provide it here. `fewest_batches` of a pass can be measured apart from the others.
    """

    version: str | None
    torch_version: str | None
    engine_args: Mapping[str, Scalar]
    device_mode: str
    model: ModelFacts | None
    prompt_tokens_mean: float | None
    missing_reasons: Mapping[str, str]
    fewest_batches: int = 1


class Engine(Protocol):
    """A loaded engine. Whatever it raises is classified by `infpop_runner.engines.failures`."""

    @property
    def about(self) -> AboutEngine:
        """The facts that do not change while the engine is loaded."""
        ...

    def warm_up(self, batch_size: int) -> None:
        """Generate for one full batch of prompts that have the lengths of the timed ones but differ from them."""
        ...

    def run_pass(self, batch_size: int) -> PassOutcome:
        """Generate for all prompts of a pass, never more than `batch_size` at once, and time it."""
        ...

    def run_block(self, batch_size: int, first: int, batches: int) -> Block:
        """Generate for some batches of a pass as `run_pass` would, and time them.

        Args:
            batch_size: the most sequences that run at the same time.
            first: number of the first batch in an order of which any part stands for the whole; after the last one
                comes the first one again.
            batches: how many, from `fewest_batches` to those of a whole pass.
        """
        ...

    def memory_peak_bytes(self) -> int | None:
        """Return the peak memory in use on any of its devices so far; None if that is unknown."""
        ...

    def clear_memory(self) -> bool:
        """Free what earlier batches left in memory, one that ran out of it included, and forget the peak.

        Returns False if the engine cannot do so: it keeps its memory, and does not survive an out-of-memory.
        """
        ...

    def close(self) -> None:
        """Free the devices and end every process that the engine started. Safe to repeat."""
        ...


class EngineLoader(Protocol):
    """Loads an engine."""

    def __call__(self, request: LoadRequest) -> Engine:
        """Return the engine, ready to serve.

        Raises:
            EngineRefusedError: the engine cannot work with this configuration.
            Exception: anything else that the engine's libraries raise.
        """
        ...
