"""The metrics of one study as values, read from its status. Pure.

Another version of the operator, or a user with permission, may have written the status: values that cannot be parsed
are left out, and the number of label values is bounded whatever the status holds.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import ValidationError

from infpop_operator.adapters.kube.records import Body
from infpop_operator.api.conditions import as_reason
from infpop_operator.api.status_model import PoolStatus, StudyStatus, TrialRow
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.core.model import Phase

State = Literal["new", "reconciling", "succeeded", "stalled", "suspended", "refused", "unreadable"]

CONDITIONS = (
    "Ready",
    "Reconciling",
    "Stalled",
    "Succeeded",
    "ResultStale",
    "Suspended",
    "PrometheusUnreachable",
    "Published",
)
OUTCOMES = ("measured", "infeasible", "invalid", "broken", "running")
MOST_POOLS = 16  # the limit of a spec
MOST_REASONS = 8  # for one outcome on one pool
OTHER = "Other"  # all other reasons
_RESULTS = ("Measured", "Infeasible", "Invalid")
_PROGRESSING = tuple(phase.value for phase in (Phase.LOADING, Phase.WARMING_UP, Phase.MEASURING, Phase.DONE))
_LONGEST_NAME = 63  # of a pool
_SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialCount:
    """How many trials of a pool's newest round have the same outcome and reason."""

    outcome: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMetrics:
    """The metrics of a pool's newest round. `best` is the GPU count and the batch size."""

    name: str
    runs: int
    trials: tuple[TrialCount, ...]
    best: tuple[int, int] | None
    best_tokens_per_second: float | None
    improvement_ratio: float | None
    gpu_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyMetrics:
    """The metrics of one study.

    `conditions` leaves out conditions that are Unknown. `activity` is a hash that changes whenever a trial gets a
    result or a run makes progress. `newest_run_since` is when the state of an active run last changed.
    """

    key: StudyKey
    created_at: str
    state: State
    conditions: Mapping[str, bool]
    pools: tuple[PoolMetrics, ...]
    activity: int
    newest_run_since: datetime | None


def study_metrics_of(body: Body) -> StudyMetrics:
    """Return the metrics of the study that the API server returned as `body`."""
    try:
        status = StudyStatus.model_validate(body.get("status") or {})
    except ValidationError:
        return _metrics(body, StudyStatus(), "unreadable")
    return _metrics(body, status, _state(_conditions(status)))


def _metrics(body: Body, status: StudyStatus, state: State) -> StudyMetrics:
    metadata, conditions = body["metadata"], _conditions(status)
    return StudyMetrics(
        key=StudyKey(metadata["namespace"], metadata["name"]),
        created_at=metadata.get("creationTimestamp") or "",
        state=state,
        conditions={kind: conditions[kind] for kind in CONDITIONS if kind in conditions},
        pools=_pools(status),
        activity=_activity(status),
        newest_run_since=max((run.since for run in status.runs), default=None),
    )


def _conditions(status: StudyStatus) -> dict[str, bool]:
    known = (condition for condition in status.conditions if condition.status != "Unknown")
    return {condition.type: condition.status == "True" for condition in known}


def _state(conditions: Mapping[str, bool]) -> State:
    if conditions.get("Accepted") is False:
        return "refused"
    states: tuple[tuple[str, State], ...] = (
        ("Suspended", "suspended"),
        ("Succeeded", "succeeded"),
        ("Stalled", "stalled"),
        ("Reconciling", "reconciling"),
    )
    return next((state for kind, state in states if conditions.get(kind)), "new")


def _activity(status: StudyStatus) -> int:
    """Return a hash that changes only with progress; a run that waits, fails and is retried makes no progress."""
    results = tuple((row.pool, row.round, row.index, row.attempts) for row in status.trials if row.state in _RESULTS)
    progress = tuple((run.name, run.state) for run in status.runs if run.state in _PROGRESSING)
    return hash((results, progress))


def _pools(status: StudyStatus) -> tuple[PoolMetrics, ...]:
    rows: defaultdict[tuple[str, int | None], list[TrialRow]] = defaultdict(list)
    for row in status.trials:
        rows[row.pool, row.round].append(row)
    runs = Counter(run.pool for run in status.runs)
    named = {_label(pool.name): pool for pool in status.pools[:MOST_POOLS]}
    return tuple(
        _pool(name, pool, rows.get((pool.name, pool.round), ()), runs[pool.name]) for name, pool in named.items()
    )


def _pool(name: str, pool: PoolStatus, rows: Sequence[TrialRow], runs: int) -> PoolMetrics:
    improvement, gpu_hours = _number(pool.improvement_percent), _number(pool.gpu_hours)
    return PoolMetrics(
        name=name,
        runs=runs,
        trials=tuple(_trials(pool, rows)),
        best=None if pool.best is None else (pool.best.gpu_count, pool.best.batch_size),
        best_tokens_per_second=None if pool.best is None else _number(pool.best.throughput),
        improvement_ratio=None if improvement is None else improvement / 100,
        gpu_seconds=None if gpu_hours is None else gpu_hours * _SECONDS_PER_HOUR,
    )


def _trials(pool: PoolStatus, rows: Sequence[TrialRow]) -> Iterator[TrialCount]:
    """Yield the trial counts of a pool; trials whose rows a long status omits are counted without a reason."""
    for outcome in OUTCOMES:
        reasons = _reasons([row.reason for row in rows if row.state.lower() == outcome])
        unexplained = (getattr(pool.trials, outcome) if pool.trials is not None else 0) - sum(reasons.values())
        if unexplained > 0:
            reasons[""] += unexplained
        yield from (TrialCount(outcome=outcome, reason=reason, count=count) for reason, count in reasons.items())


def _reasons(reasons: Sequence[str | None]) -> Counter[str]:
    counted = Counter("" if reason is None else as_reason(reason) for reason in reasons)
    kept = Counter(dict(counted.most_common(MOST_REASONS)))
    rest = counted.total() - kept.total()
    if rest:
        kept[OTHER] += rest
    return kept


def _label(name: str) -> str:
    """Return a pool's name as a label value: valid UTF-8, and not longer than a valid name."""
    return name[:_LONGEST_NAME].encode(errors="replace").decode()


def _number(text: str | None) -> float | None:
    """Return the finite number that `text` holds, None if it holds none."""
    try:
        number = math.nan if text is None else float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
