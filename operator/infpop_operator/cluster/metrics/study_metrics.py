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
from infpop_operator.api.landscapes import is_row_of
from infpop_operator.api.status_model import PoolStatus, RoundRow, StudyStatus, TrialRow
from infpop_operator.api.status_rows import REOPENED
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.core.contest import CONSTRAINT_BROKEN, METRIC_MISSING
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
OUTCOMES = {  # of trials, by their state
    "Measured": "measured",
    "RacedOut": "raced_out",
    "Infeasible": "infeasible",
    "Invalid": "invalid",
    "Broken": "broken",
    "Running": "running",
}
MOST_POOLS = 16  # the limit of a spec
MOST_ROUNDS = 32  # of a study, as in its status
MOST_REASONS = 8  # for one outcome on one pool
OTHER = "Other"  # all other reasons
_RESULTS = ("Measured", "RacedOut", "Infeasible", "Invalid")
_PROGRESSING = tuple(phase.value for phase in (Phase.LOADING, Phase.WARMING_UP, Phase.MEASURING, Phase.DONE))
_LONGEST_NAME = 63  # of a pool
_LONGEST_TEXT = 200  # of a model, an engine or a GPU model; reasoned, not measured: a table shows less of it
_SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialCount:
    """How many trials of a pool's newest round have the same outcome and reason."""

    outcome: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundMetrics:
    """The metrics of one round of a pool's history."""

    number: int
    best_tokens_per_second: float | None
    improvement_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CellMetrics:
    """The throughput of a pool's newest round at one GPU count and batch size.

    With extra parameters it is that of the best of all, or else of the fastest configuration that may be the best.
    """

    gpu_count: int
    batch_size: int
    tokens_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMetrics:
    """The metrics of a pool's newest round, and of the rounds in its history.

    `best` is the GPU count and the batch size. `changed_at` is when the pool, or what is measured on it, last changed.
    `best_reused_from` is the other study that measured the best, None for this one; `reused_trials` counts the trials
    that other studies measured. `gpu` is the GPU model, empty if it is not known; the cost is in the study's currency.
    """

    name: str
    round: int | None
    rounds: tuple[RoundMetrics, ...]
    changed_at: datetime | None
    runs: int
    trials: tuple[TrialCount, ...]
    best: tuple[int, int] | None
    best_tokens_per_second: float | None
    improvement_ratio: float | None
    gpu_seconds: float | None
    best_reused_from: str | None = None
    reused_trials: int = 0
    gpu: str = ""
    best_tokens_per_second_per_gpu: float | None = None
    best_cost_per_million_tokens: float | None = None
    best_tokens_per_joule: float | None = None
    cells: tuple[CellMetrics, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyMetrics:
    """The metrics of one study.

    `conditions` leaves out conditions that are Unknown. `activity` is a hash that changes whenever a trial gets a
    result or a run makes progress. `newest_run_since` is when the state of an active run last changed, `stale_since`
    when the result became stale (None while it is not), `published_at` when what is published last changed. `model` and
    `engine` are as the spec names them, clipped.
    """

    key: StudyKey
    created_at: str
    state: State
    conditions: Mapping[str, bool]
    pools: tuple[PoolMetrics, ...]
    activity: int
    newest_run_since: datetime | None
    stale_since: datetime | None
    published_at: datetime | None
    model: str = ""
    engine: str = ""


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
        stale_since=_stale_since(status),
        published_at=None if status.published is None else status.published.at,
        model=_named(body, "model"),
        engine=_named(body, "engine"),
    )


def _named(body: Body, field: str) -> str:
    """Return `spec.FIELD.name`, empty if the spec has none."""
    spec = body.get("spec")
    value = spec.get(field) if isinstance(spec, Mapping) else None
    name = value.get("name") if isinstance(value, Mapping) else None
    return _label(name, _LONGEST_TEXT) if isinstance(name, str) else ""


def _conditions(status: StudyStatus) -> dict[str, bool]:
    known = (condition for condition in status.conditions if condition.status != "Unknown")
    return {condition.type: condition.status == "True" for condition in known}


def _stale_since(status: StudyStatus) -> datetime | None:
    stale = (each for each in status.conditions if each.type == "ResultStale" and each.status == "True")
    return next((each.last_transition_time for each in stale), None)


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
    history = status.rounds[-MOST_ROUNDS:]
    return tuple(
        _pool(
            name,
            pool,
            rows.get((pool.name, pool.round), ()),
            [row for row in history if row.pool == pool.name],
            runs[pool.name],
        )
        for name, pool in named.items()
    )


def _pool(name: str, pool: PoolStatus, rows: Sequence[TrialRow], rounds: Sequence[RoundRow], runs: int) -> PoolMetrics:
    gpu_hours = _number(pool.gpu_hours)
    return PoolMetrics(
        name=name,
        round=pool.round,
        rounds=tuple({row.round: _round(row) for row in rounds}.values()),
        changed_at=_changed_at(pool, rounds),
        runs=runs,
        trials=tuple(_trials(pool, rows)),
        best=None if pool.best is None else (pool.best.gpu_count, pool.best.batch_size),
        best_tokens_per_second=None if pool.best is None else _number(pool.best.throughput),
        improvement_ratio=_ratio(pool.improvement_percent),
        gpu_seconds=None if gpu_hours is None else gpu_hours * _SECONDS_PER_HOUR,
        best_reused_from=None if pool.best is None or pool.best.reused_from is None else _label(pool.best.reused_from),
        reused_trials=(pool.trials.reused or 0) if pool.trials is not None else 0,
        gpu=_label(pool.gpu or "", _LONGEST_TEXT),
        best_tokens_per_second_per_gpu=None if pool.best is None else _number(pool.best.throughput_per_gpu),
        best_cost_per_million_tokens=None if pool.best is None else _number(pool.best.cost_per_million_tokens),
        best_tokens_per_joule=None if pool.best is None else _number(pool.best.tokens_per_joule),
        cells=_cells(pool, rows),
    )


def _cells(pool: PoolStatus, rows: Sequence[TrialRow]) -> tuple[CellMetrics, ...]:
    at: dict[tuple[int, int], TrialRow] = {}
    for row in sorted(rows, key=lambda row: _shown_last(pool, row)):
        if _number(row.throughput) is not None and row.reason != REOPENED:
            at[row.gpu_count, row.batch_size] = row
    return tuple(
        CellMetrics(gpu_count=gpu_count, batch_size=batch_size, tokens_per_second=_number(row.throughput) or 0.0)
        for (gpu_count, batch_size), row in sorted(at.items())
    )


def _shown_last(pool: PoolStatus, row: TrialRow) -> tuple[bool, bool, float]:
    """Return the key by which the row that a cell shows is the last of those in its place."""
    best = pool.best
    is_best = best is not None and is_row_of(best, row)
    return (is_best, row.reason not in {CONSTRAINT_BROKEN, METRIC_MISSING}, _number(row.throughput) or 0.0)


def _round(row: RoundRow) -> RoundMetrics:
    best = None if row.best is None else _number(row.best.throughput)
    return RoundMetrics(
        number=row.round, best_tokens_per_second=best, improvement_ratio=_ratio(row.improvement_percent)
    )


def _changed_at(pool: PoolStatus, rounds: Sequence[RoundRow]) -> datetime | None:
    """Return when the change that waits was seen, or else when the newest round began or was resumed."""
    if pool.change is not None and pool.change.since is not None:
        return pool.change.since
    newest = next((row for row in rounds if row.round == pool.round), None)
    return None if newest is None else newest.resumed_at or newest.opened_at


def _ratio(percent: str | None) -> float | None:
    number = _number(percent)
    return None if number is None else number / 100


def _trials(pool: PoolStatus, rows: Sequence[TrialRow]) -> Iterator[TrialCount]:
    """Yield the trial counts of a pool; trials whose rows a long status omits are counted without a reason."""
    for state, outcome in OUTCOMES.items():
        reasons = _reasons([row.reason for row in rows if row.state == state])
        counted = getattr(pool.trials, outcome) or 0 if pool.trials is not None else 0
        unexplained = counted - sum(reasons.values())
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


def _label(name: str, longest: int = _LONGEST_NAME) -> str:
    """Return a name as a label value: valid UTF-8, and not longer than `longest`, by default a valid name's length."""
    return name[:longest].encode(errors="replace").decode()


def _number(text: str | None) -> float | None:
    """Return the finite number that `text` holds, None if it holds none."""
    try:
        number = math.nan if text is None else float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
