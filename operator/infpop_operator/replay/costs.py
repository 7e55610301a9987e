"""What a replayed run would have cost, in GPU-seconds."""

from collections.abc import Mapping
from dataclasses import dataclass

from infpop_operator.replay.grids import Grid

LOAD_SECONDS: Mapping[str, float] = {
    "vllm": 60.0,
    "hf": 30.0,
}  # by engine, to load a model of about 7 billion parameters
_OTHER_LOAD_SECONDS = 60.0
NEW_TOKENS = 5  # of the recorded study
# A short measurement lasts this long, or three batches if that is longer, and never longer than a full one. Reasoned:
# the runner ends an adaptive measurement by what it has seen, which a table of medians cannot show.
SHORT_SECONDS = 20.0
SHORT_BATCHES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """The cost of one run: its GPUs are held while the engine loads and while its trials are measured.

    The defaults are those of the recorded study (arXiv 2408.01050): 1,033 prompts with 5 new tokens, all of which a
    full measurement generates once. A file that says how many new tokens were generated (`output_tokens`) is taken at
    its word unless `new_tokens` is given. A load or a trial without a result fails some seconds later.
    """

    samples: int = 1033
    new_tokens: int | None = None
    load_seconds: float | None = None  # None: `LOAD_SECONDS` of the engine
    failure_seconds: float = 10.0
    short: bool = False

    def load(self, engine: str) -> float:
        """Return how long the engine loads."""
        return (
            LOAD_SECONDS.get(engine.casefold(), _OTHER_LOAD_SECONDS) if self.load_seconds is None else self.load_seconds
        )

    def tokens(self, grid: Grid) -> int:
        """Return how many new tokens a prompt of a grid gets."""
        if self.new_tokens is not None:
            return self.new_tokens
        return NEW_TOKENS if grid.new_tokens is None else grid.new_tokens

    def measuring(self, grid: Grid, batch_size: int, rate: float | None) -> float:
        """Return how long a trial is measured that generates `rate` tokens/s; None: it fails."""
        if rate is None:
            return self.failure_seconds
        full = self.samples * self.tokens(grid) / rate
        if not self.short:
            return full
        return min(full, max(SHORT_SECONDS, SHORT_BATCHES * batch_size * self.tokens(grid) / rate))

    def alone(self, grid: Grid, batch_size: int, rate: float | None) -> float:
        """Return how long a run lives that loads the engine for one trial."""
        return self.load(grid.engine) + self.measuring(grid, batch_size, rate)
