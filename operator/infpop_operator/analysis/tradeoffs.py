"""Question 7: speed against throughput: what to choose from, what each choice costs, and what binds the best.

A large batch generates more tokens/s for all sequences together and makes each of them slower; more GPUs may make both
better. These are values, not statistics: the front, ranked alternatives, and constraints of one landscape.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from infpop_operator.analysis.comparable import conditions_of
from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.core.contest import CONSTRAINT_BROKEN
from infpop_operator.core.landscape import CellState
from infpop_operator.core.load_memory import OUT_OF_MEMORY
from infpop_operator.core.objective import TIE_RATIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A configuration to choose, with what it costs and gains against the fastest one that is allowed.

    Attributes:
        row: the trial.
        speed: tokens/s of one sequence.
        on_front: whether no other configuration is better in throughput, speed or GPUs without being worse in another.
        throughput_loss_percent: how much less it generates.
        speed_gain_percent: how much faster each sequence is.
        gpus_saved: how many GPUs fewer it takes; negative if it takes more.
    """

    row: TrialResultRow
    speed: float
    on_front: bool
    throughput_loss_percent: float
    speed_gain_percent: float
    gpus_saved: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tradeoffs:
    """All allowed configurations, the one with the most tokens/s first; `binding` are sentences about what binds it.

    `speed_is_measured` says whether speed is that of the sequences in their batch; else it is tokens/s divided by the
    batch size, which is too small where batches are not full.
    """

    alternatives: tuple[Alternative, ...] = ()
    binding: tuple[str, ...] = ()
    speed_is_measured: bool = False

    @property
    def front(self) -> tuple[Alternative, ...]:
        """The configurations on the Pareto front."""
        return tuple(each for each in self.alternatives if each.on_front)


def tradeoffs(rows: Sequence[TrialResultRow]) -> Tradeoffs:
    """Return what to choose from among the rows of one landscape: one model, engine and GPU model in one round.

    Raises:
        ValueError: the rows are of several models, engines, GPU models, workloads, or partly simulated.
    """
    if len({(conditions_of(row), row.model, row.engine, row.gpu_model, row.pool) for row in rows}) > 1:
        raise ValueError("rows of several landscapes have no common front; give those of one model, engine and pool")
    measured = [row for row in rows if row.state is CellState.MEASURED and row.throughput_tokens_per_second]
    allowed = sorted((row for row in measured if row.reason is None), key=_by_throughput)
    if not allowed:
        return Tradeoffs(binding=_broken_constraints(measured, None))
    is_measured = all(row.seconds_per_output_token for row in allowed)
    speeds = [_speed(row, is_measured=is_measured) for row in allowed]
    on_front = pareto_front([(_rate(row), speed, row.gpu_count) for row, speed in zip(allowed, speeds, strict=True)])
    best, best_speed = allowed[0], speeds[0]
    alternatives = tuple(
        Alternative(
            row=row,
            speed=speed,
            on_front=index in on_front,
            throughput_loss_percent=(1 - _rate(row) / _rate(best)) * 100,
            speed_gain_percent=(speed / best_speed - 1) * 100,
            gpus_saved=best.gpu_count - row.gpu_count,
        )
        for index, (row, speed) in enumerate(zip(allowed, speeds, strict=True))
    )
    binding = (*_broken_constraints(measured, best), *_limits(rows, best))
    return Tradeoffs(alternatives=alternatives, binding=binding, speed_is_measured=is_measured)


def pareto_front(points: Sequence[tuple[float, float, int]]) -> frozenset[int]:
    """Return the positions of the points that no other beats by more than a tie, so that it has none that chance made.

    Args:
        points: (tokens/s, tokens/s of a sequence, GPUs) of each configuration; the first two should be large, the GPUs
            few. The time is that of sorting them, times the number of different GPU counts.
    """
    order = sorted(range(len(points)), key=lambda index: (-points[index][0], points[index][2], -points[index][1]))
    kept: list[int] = []
    fastest: dict[int, float] = {}  # of the kept points, which all have at least as many tokens/s, by GPU count
    for index in order:
        _, speed, gpus = points[index]
        if all(speed > known * (1 + TIE_RATIO) for count, known in fastest.items() if count <= gpus):
            kept.append(index)
            fastest[gpus] = max(speed, fastest.get(gpus, 0.0))
    return frozenset(index for index in kept if not _is_matched_by_fewer(index, kept, points))


def _is_matched_by_fewer(index: int, kept: Iterable[int], points: Sequence[tuple[float, float, int]]) -> bool:
    """Return whether fewer GPUs do the same within the tie."""
    rate, speed, gpus = points[index]
    enough = (rate * (1 - TIE_RATIO), speed * (1 - TIE_RATIO))
    return any(
        points[other][2] < gpus and points[other][0] >= enough[0] and points[other][1] >= enough[1] for other in kept
    )


def _broken_constraints(measured: Sequence[TrialResultRow], best: TrialResultRow | None) -> tuple[str, ...]:
    """Return what the study's constraints cost, by the fastest configuration that breaks them."""
    broken = sorted((row for row in measured if row.reason == CONSTRAINT_BROKEN), key=_by_throughput)
    if not broken or (best is not None and _rate(broken[0]) <= _rate(best)):
        return ()
    fastest = broken[0]
    gain = "" if best is None else f", {(_rate(fastest) / _rate(best) - 1) * 100:.1f} % more"
    why = fastest.detail.rstrip(".") or "it breaks a constraint"
    return (f"A constraint binds: {_place(fastest)} makes {_rate(fastest):.5g} tokens/s{gain}, but {why}.",)


def _limits(rows: Sequence[TrialResultRow], best: TrialResultRow) -> tuple[str, ...]:
    """Return which limits of memory and of the search space the best configuration touches."""
    found = []
    beside = [row for row in rows if row.gpu_count == best.gpu_count and row.batch_size > best.batch_size]
    next_batch = min(beside, key=lambda row: row.batch_size, default=None)
    if next_batch is None:
        found.append(f"Batch size {best.batch_size} is the largest that was tried with {best.gpu_count} {_unit(best)}.")
    elif next_batch.state is CellState.INFEASIBLE and next_batch.reason == OUT_OF_MEMORY:
        found.append(
            f"Memory binds: batch size {next_batch.batch_size} does not fit on {best.gpu_count} {_unit(best)}."
        )
    if best.gpu_count == max(row.gpu_count for row in rows):
        found.append(f"{best.gpu_count} {_unit(best)} is the largest number that was tried.")
    return tuple(found)


def _speed(row: TrialResultRow, *, is_measured: bool) -> float:
    if is_measured and row.seconds_per_output_token:
        return 1 / row.seconds_per_output_token
    return _rate(row) / row.batch_size


def _rate(row: TrialResultRow) -> float:
    return row.throughput_tokens_per_second or 0.0


def _by_throughput(row: TrialResultRow) -> tuple[float, int, int]:
    return (-_rate(row), row.gpu_count, row.batch_size)


def _place(row: TrialResultRow) -> str:
    return f"batch size {row.batch_size} on {row.gpu_count} {_unit(row)}"


def _unit(row: TrialResultRow) -> str:
    return row.device if row.gpu_count == 1 else f"{row.device}s"
