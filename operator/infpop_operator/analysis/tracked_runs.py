"""Trials as runs of an experiment tracker; plain data, which an adapter logs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """One run of a tracker.

    Attributes:
        id: the same in each export of the same trial, so that it is logged once.
        content: a hash of everything else; another content of the same id is a newer state of the trial.
        has_failed: whether the trial has no number because its configuration or its run failed.
    """

    id: str
    content: str
    name: str
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    started_at: datetime | None
    ended_at: datetime | None
    has_failed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRound:
    """The parent of the runs of one round, in the experiment of its study."""

    id: str
    experiment: str
    name: str
    tags: Mapping[str, str]
    runs: tuple[TrackedRun, ...] = field(repr=False)
