"""What a runner would have reported for one engine load on a recorded landscape, and how long each trial took."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from random import Random

from infpop_operator.core.load_memory import OUT_OF_MEMORY
from infpop_operator.core.model import PlannedTrial
from infpop_operator.core.study import Configuration
from infpop_operator.replay.costs import CostModel
from infpop_operator.replay.grids import Grid
from infpop_runner.contract import Infeasible, Measured, Skipped, TrialResult

_ABSENT = ("batch_seconds_p50", "batch_seconds_p95", "gpu_memory_peak_bytes", "pad_ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """The result of one trial of a run, and how long it took; the first one of a load includes the load.

    `number` is the measured tokens/s, None without one. `load_seconds` is how long the engine of the run loaded, None
    if it could not be loaded.
    """

    result: TrialResult
    number: float | None
    seconds: float
    load_seconds: float | None

    @property
    def was_tried(self) -> bool:
        """Whether the trial was more than skipped."""
        return not isinstance(self.result, Skipped)


def play(
    order: Sequence[tuple[PlannedTrial, float | None]],
    grid: Grid,
    *,
    costs: CostModel,
    noise: float = 0.0,
    seed: int = 0,
    attempts: Mapping[Configuration, int] | None = None,
) -> tuple[Played, ...]:
    """Return what became of the trials of a run; one above a batch that ran out of memory has no result.

    A GPU count at which the file has no configuration that works is taken not to load: then each trial fails with a
    load of its own, as with an engine that is dimensioned for the largest batch.

    Args:
        order: the trials as the runner measures them, each with the tokens/s that an earlier one must have reached.
        grid: what is recorded.
        costs: how long loading and measuring take.
        noise: standard deviation of the logarithm of a measured number.
        seed: of the noise.
        attempts: how often each configuration was measured before; every time it has another number.
    """
    load = costs.load(grid.engine)
    if not any(cell.gpu_count == order[0][0].configuration.gpu_count for cell in grid.rates):
        return tuple(
            Played(
                result=_failed(planned, grid, loads=False),
                number=None,
                seconds=load + costs.failure_seconds,
                load_seconds=None,
            )
            for planned, _ in order
        )
    before = {} if attempts is None else attempts
    numbers = {
        each.configuration: measured_number(
            grid, each.configuration, noise=noise, seed=seed, attempt=before.get(each.configuration, 0)
        )
        for each, _ in order
    }
    return tuple(_measured(order, grid, costs, numbers))


def measured_number(grid: Grid, cell: Configuration, *, noise: float, seed: int, attempt: int) -> float | None:
    """Return what is measured of a configuration, None if it fails: its recorded tokens/s with lognormal noise."""
    rate = grid.rates.get(cell)
    if rate is None or not noise:
        return rate
    key = (seed, attempt, grid.gpu_model, grid.engine, grid.name, cell.gpu_count, cell.batch_size)
    return rate * exp(Random(repr(key)).gauss(0.0, noise))


def _measured(
    order: Sequence[tuple[PlannedTrial, float | None]],
    grid: Grid,
    costs: CostModel,
    numbers: Mapping[Configuration, float | None],
) -> Iterator[Played]:
    load = costs.load(grid.engine)
    pending, best = load, 0.0
    too_large: int | None = None
    for planned, needs in order:
        cell = planned.configuration
        if too_large is not None and cell.batch_size > too_large:
            continue
        died = too_large is not None and grid.engine == "vllm"  # its engine core ends with an out-of-memory
        if died or (needs is not None and best < needs):
            skipped = Skipped(index=planned.index, batch_size=cell.batch_size)
            yield Played(result=skipped, number=None, seconds=0.0, load_seconds=load)
            continue
        number = numbers[cell]
        seconds = costs.measuring(grid, cell.batch_size, grid.rates.get(cell))
        result = _failed(planned, grid) if number is None else _result(planned, number, seconds, grid, costs)
        best = max(best, number or 0.0)
        if isinstance(result, Infeasible) and result.reason == OUT_OF_MEMORY and result.phase == "measure":
            too_large = cell.batch_size
        yield Played(result=result, number=number, seconds=pending + seconds, load_seconds=load)
        pending = 0.0


def _failed(planned: PlannedTrial, grid: Grid, *, loads: bool = True) -> Infeasible:
    """Return the failure of a configuration without a number.

    Where a larger batch works at the same GPU count, memory of the batch was not the reason.
    """
    cell = planned.configuration
    if cell in grid.silent:
        detail = "recorded with 0 tokens/s"
        return Infeasible(index=planned.index, batch_size=cell.batch_size, reason="NotRecorded", detail=detail)
    larger = (other for other in grid.rates if other.load_key == cell.load_key and other.batch_size > cell.batch_size)
    phase = "load" if not loads or any(True for _ in larger) else "measure"
    return Infeasible(index=planned.index, batch_size=cell.batch_size, reason=OUT_OF_MEMORY, phase=phase)


def _result(planned: PlannedTrial, number: float, seconds: float, grid: Grid, costs: CostModel) -> Measured:
    return Measured(
        index=planned.index,
        batch_size=planned.configuration.batch_size,
        throughput_tokens_per_second=number,
        spread_ratio=0.0,
        repeats=3,
        generated_tokens=costs.samples * costs.tokens(grid),
        measured_seconds=seconds,
        missing=dict.fromkeys(_ABSENT, "Simulated"),
        mode="adaptive" if costs.short else "full",
    )
