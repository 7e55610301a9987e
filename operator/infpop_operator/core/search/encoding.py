"""The search space as Hyperopt sees it: one axis per dimension, each value known by its position.

Numbers are ordinal: position 3 lies between 2 and 4, which lets a search generalise from one batch size to the next
(ordinal axes found the optimum of published landscapes in 10 trials at the median, unordered ones in 12). Words and
booleans are categories. A dimension with a single value is no axis: `tpe.suggest` fails on an empty interval.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from infpop_operator.core.model import Configuration, ExtraParameter, Scalar, SearchSpace

GPU_COUNT = "gpuCount"
BATCH_SIZE = "batchSize"
EXTRA_PREFIX = "extra."  # keeps an engine argument that is called batchSize apart from the batch size


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One dimension with at least two values; `ordinal` says whether neighbours are alike."""

    label: str
    values: tuple[Scalar, ...]
    ordinal: bool


def axes(space: SearchSpace) -> tuple[Axis, ...]:
    """Return the dimensions of `space` in which there is something to choose; empty when it has one cell."""
    every = (
        Axis(label=GPU_COUNT, values=space.gpu_counts, ordinal=True),
        Axis(label=BATCH_SIZE, values=space.batch_sizes, ordinal=True),
        *(_extra_axis(parameter) for parameter in space.extra),
    )
    return tuple(axis for axis in every if len(axis.values) > 1)


def encode(space: SearchSpace, configuration: Configuration) -> dict[str, int] | None:
    """Return the position of `configuration` on each axis by label, None where it lies outside `space`."""
    chosen = _values(configuration)
    if not _holds(space, chosen):
        return None
    return {axis.label: axis.values.index(chosen[axis.label]) for axis in axes(space)}


def decode(space: SearchSpace, positions: Mapping[str, int]) -> Configuration:
    """Return the configuration at `positions` (by label); dimensions that are no axis have their only value."""

    def value(label: str, values: tuple[Scalar, ...]) -> Scalar:
        return values[positions.get(label, 0)]

    extra = sorted((entry.name, value(EXTRA_PREFIX + entry.name, entry.values)) for entry in space.extra)
    return Configuration(
        gpu_count=space.gpu_counts[positions.get(GPU_COUNT, 0)],
        batch_size=space.batch_sizes[positions.get(BATCH_SIZE, 0)],
        extra=tuple(extra),
    )


def _extra_axis(parameter: ExtraParameter) -> Axis:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in parameter.values)
    return Axis(label=EXTRA_PREFIX + parameter.name, values=parameter.values, ordinal=numbers)


def _values(configuration: Configuration) -> dict[str, Scalar]:
    extra = {EXTRA_PREFIX + name: value for name, value in configuration.extra}
    return {GPU_COUNT: configuration.gpu_count, BATCH_SIZE: configuration.batch_size, **extra}


def _holds(space: SearchSpace, chosen: Mapping[str, Scalar]) -> bool:
    allowed: dict[str, tuple[Scalar, ...]] = {GPU_COUNT: space.gpu_counts, BATCH_SIZE: space.batch_sizes}
    allowed |= {EXTRA_PREFIX + parameter.name: parameter.values for parameter in space.extra}
    return chosen.keys() == allowed.keys() and all(chosen[label] in values for label, values in allowed.items())
