"""The columns of a table of trials, once for all formats: name, type, meaning, and how each comes from a row and back.

CSV, JSON Lines, parquet, the native part of benchmark reports, MLflow, the table in docs/exports.md and the DataFrame
of `import infpop` have these columns, in this order. After them come one column `extra.NAME` for each extra parameter
and one column `metric.NAME` for each of the study's own metrics, both sorted by name.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import datetime
from enum import StrEnum
from math import isfinite
from operator import attrgetter

from infpop_operator import __version__
from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.core.errors import ExportError, Problem
from infpop_operator.core.landscape import CellState
from infpop_operator.core.study import Scalar

Value = str | int | float | bool | datetime | None

EXTRA = "extra."
METRIC = "metric."
_MOST = 2**63 - 1  # of a 64-bit integer


class Kind(StrEnum):
    """The type of a column; SCALAR is the value of an engine argument: text, integer, number, or true and false."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "true or false"
    TIMESTAMP = "time"
    SCALAR = "any"


class Group(StrEnum):
    """What a column tells of a trial."""

    IDENTITY = "which trial it is"
    CONFIGURATION = "what was tried"
    OUTCOME = "what became of it"
    NUMBER = "what was measured"
    PROVENANCE = "how it was measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        meaning: one sentence for the documentation.
        read: returns the value of a row; None if it is absent.
        is_derived: whether it follows from other columns, so that it is not needed to restore a row.
    """

    name: str
    kind: Kind
    group: Group
    meaning: str
    read: Callable[[TrialResultRow], Value]
    is_derived: bool = False


def _field(name: str, kind: Kind, group: Group, meaning: str) -> Column:
    return Column(name=name, kind=kind, group=group, meaning=meaning, read=attrgetter(name))


def _derived(
    name: str,
    kind: Kind,
    group: Group,
    meaning: str,
    read: Callable[[TrialResultRow], Value],
    *,
    is_derived: bool = True,
) -> Column:
    return Column(name=name, kind=kind, group=group, meaning=meaning, read=read, is_derived=is_derived)


def _interval_end(index: int) -> Callable[[TrialResultRow], Value]:
    def read(row: TrialResultRow) -> Value:
        ends = row.interval_tokens_per_second
        return None if ends is None else ends[index]

    return read


_LOW, _HIGH = "interval_low_tokens_per_second", "interval_high_tokens_per_second"

COLUMNS: tuple[Column, ...] = (
    _field("source", Kind.TEXT, Group.IDENTITY, "where it was read: a path, or study/NAMESPACE/NAME"),
    _field("study", Kind.TEXT, Group.IDENTITY, "name of the study; of a recorded landscape, the name of its file"),
    _field("pool", Kind.TEXT, Group.IDENTITY, "name of the pool; of a recorded landscape, the GPU model"),
    _field("round", Kind.INTEGER, Group.IDENTITY, "number of the round in its pool, from 1"),
    _field("trial", Kind.INTEGER, Group.IDENTITY, "number of the trial in its round, from 0"),
    _field("run", Kind.TEXT, Group.IDENTITY, "the engine load that measured it"),
    _field("model", Kind.TEXT, Group.CONFIGURATION, "the model, as the study names it"),
    _field("engine", Kind.TEXT, Group.CONFIGURATION, "the engine, as the study names it"),
    _field("dtype", Kind.TEXT, Group.CONFIGURATION, "data type of weights and activations, as the study names it"),
    _field("gpu_model", Kind.TEXT, Group.CONFIGURATION,
           "model of the GPU, or of the CPU of a study on CPUs; absent if it is not known"),
    _field("device", Kind.TEXT, Group.CONFIGURATION, "what gpu_count counts: GPU or CPU rank"),
    _field("gpu_count", Kind.INTEGER, Group.CONFIGURATION, "number of GPUs, or of CPU ranks"),
    _field("batch_size", Kind.INTEGER, Group.CONFIGURATION, "sequences that run at the same time"),
    _derived("state", Kind.TEXT, Group.OUTCOME, "Measured, RacedOut, Infeasible, Invalid, Broken, ...",
             lambda row: row.state.value, is_derived=False),
    _field("reason", Kind.TEXT, Group.OUTCOME, "why there is no number, or why it cannot be the best"),
    _field("detail", Kind.TEXT, Group.OUTCOME, "the message of the reason"),
    _field("is_best", Kind.BOOLEAN, Group.OUTCOME, "whether the study recommends it, in its pool and round"),
    _field("objective", Kind.TEXT, Group.OUTCOME, "the metric for which the study recommends it"),
    _field("throughput_tokens_per_second", Kind.NUMBER, Group.NUMBER,
           "generated tokens per second; of measured trials only"),
    _derived(_LOW, Kind.NUMBER, Group.NUMBER, "lower end of the 95 % interval of the throughput", _interval_end(0),
             is_derived=False),
    _derived(_HIGH, Kind.NUMBER, Group.NUMBER, "upper end of the 95 % interval of the throughput", _interval_end(1),
             is_derived=False),
    _field("at_most_tokens_per_second", Kind.NUMBER, Group.NUMBER, "of a raced-out trial: what it does not exceed"),
    _derived("throughput_tokens_per_second_per_gpu", Kind.NUMBER, Group.NUMBER, "throughput / gpu_count",
             attrgetter("throughput_per_gpu")),
    _derived("throughput_tokens_per_second_per_sequence", Kind.NUMBER, Group.NUMBER, "throughput / batch_size",
             attrgetter("tokens_per_second_per_sequence")),
    _derived("cost_per_million_tokens", Kind.NUMBER, Group.NUMBER,
             "price of a million generated tokens, in the currency of price_per_gpu_hour",
             attrgetter("cost_per_million_tokens")),
    _field("seconds_per_output_token", Kind.NUMBER, Group.NUMBER,
           "median time of a sequence in its batch / its generated tokens"),
    _field("tokens_per_joule", Kind.NUMBER, Group.NUMBER, "generated tokens per joule"),
    _field("spread_ratio", Kind.NUMBER, Group.NUMBER, "(largest - smallest) / median of the repeats"),
    _field("repeats", Kind.INTEGER, Group.NUMBER, "passes over the prompts, or parts of one, that were timed"),
    _field("generated_tokens", Kind.INTEGER, Group.NUMBER, "generated tokens of the measurement"),
    _field("gpu_memory_peak_bytes", Kind.INTEGER, Group.NUMBER, "largest use of memory, of the fullest GPU"),
    _field("measured_seconds", Kind.NUMBER, Group.NUMBER, "time that was measured, without load and warm-up"),
    _field("load_seconds", Kind.NUMBER, Group.NUMBER,
           "time of its engine load; the same for every trial of the run, so never to be summed over trials"),
    _field("gpu_seconds", Kind.NUMBER, Group.NUMBER, "GPU-seconds of its run, shared equally among the run's trials"),
    _field("price_per_gpu_hour", Kind.NUMBER, Group.PROVENANCE, "price of the pool, in the currency of the study"),
    _field("parameters", Kind.INTEGER, Group.PROVENANCE, "number of parameters of the model"),
    _field("mode", Kind.TEXT, Group.PROVENANCE, "how it was measured: full or adaptive"),
    _field("workload", Kind.TEXT, Group.PROVENANCE,
           "identifies prompts and lengths; numbers of different workloads are not comparable"),
    _field("prompt_tokens_mean", Kind.NUMBER, Group.PROVENANCE, "mean number of tokens of a prompt"),
    _field("new_tokens_per_sequence", Kind.INTEGER, Group.PROVENANCE,
           "tokens that each sequence generates after its prompt"),
    _field("identity", Kind.TEXT, Group.PROVENANCE,
           "of everything that the number belongs to; numbers of one identity are comparable"),
    _field("software", Kind.TEXT, Group.PROVENANCE, "image, or software with versions, that measured it"),
    _field("engine_version", Kind.TEXT, Group.PROVENANCE, "version of the engine"),
    _field("gpu_driver", Kind.TEXT, Group.PROVENANCE, "version of the GPU driver"),
    _field("node", Kind.TEXT, Group.PROVENANCE, "node, or machine, that measured it"),
    _field("attempts", Kind.INTEGER, Group.PROVENANCE, "runs that tried it; more than 1 after a failure"),
    _field("started_at", Kind.TIMESTAMP, Group.PROVENANCE,
           "when it was measured, in UTC; without a number, when its run started"),
    _field("ended_at", Kind.TIMESTAMP, Group.PROVENANCE, "when that ended, in UTC; of a recorded cell, its date"),
    _field("simulated", Kind.BOOLEAN, Group.PROVENANCE, "whether the numbers are replayed, not measured"),
    _field("confirmed_loads", Kind.INTEGER, Group.PROVENANCE,
           "fresh engine loads whose mean the throughput is; absent if it was not confirmed"),
    _field("reused_from", Kind.TEXT, Group.PROVENANCE, "the other study that measured it"),
    _derived("infpop_version", Kind.TEXT, Group.PROVENANCE, "version of InfPop that wrote the table",
             lambda _row: __version__),
)  # fmt: skip


def columns_of(rows: Iterable[TrialResultRow]) -> tuple[Column, ...]:
    """Return the columns of a table of these rows: the fixed ones, then extra parameters, then own metrics."""
    extra: set[str] = set()
    metrics: set[str] = set()
    for row in rows:
        extra.update(row.extra)
        metrics.update(row.metrics)
    return (*COLUMNS, *map(_extra_column, sorted(extra)), *map(_metric_column, sorted(metrics)))


def row_values(row: TrialResultRow, columns: Sequence[Column]) -> list[Value]:
    """Return the values of a row in these columns: finite numbers, text that UTF-8 can hold, None if absent.

    An empty text is an absent one, except as the value of an extra parameter.

    Raises:
        ExportError: a value cannot stand in a table; the message names trial and column.
    """
    return [
        _derive(column, row) if column.is_derived else _checked(column.read(row), column, row) for column in columns
    ]


def restore_row(values: Mapping[str, Value]) -> TrialResultRow:
    """Return the row whose values are in a table; derived columns are not read.

    Raises:
        ExportError: the table lacks a column without which there is no row, or has an unknown state.
    """
    arguments: dict[str, object] = {}
    for name, default in _FIELDS.items():
        value = values.get(name)
        if value is not None:
            arguments[name] = value
        elif default is MISSING and name in values and name in _TEXTS:
            arguments[name] = ""
        elif default is MISSING:
            raise _error(name, "", "the table has no value for it", "Read a table that infpop export wrote")
    arguments["state"] = _state(str(arguments["state"]))
    low, high = values.get(_LOW), values.get(_HIGH)
    if low is not None and high is not None:
        arguments["interval_tokens_per_second"] = (low, high)
    arguments |= {name: found for name, prefix in _PREFIXES.items() if (found := _named(values, prefix))}
    return TrialResultRow(**arguments)  # type: ignore[arg-type]  # the columns have the types of the fields


def column_kind(name: str) -> Kind | None:
    """Return the type of the column of that name; None: no column of these tables has the name."""
    if name.startswith(EXTRA):
        return Kind.SCALAR
    return Kind.NUMBER if name.startswith(METRIC) else _KINDS.get(name)


_PREFIXES = {"extra": EXTRA, "metrics": METRIC}
_SPECIAL = {"interval_tokens_per_second", "extra", "metrics"}
_FIELDS = {field.name: field.default for field in fields(TrialResultRow) if field.name not in _SPECIAL}
_KINDS = {column.name: column.kind for column in COLUMNS}
_TEXTS = {name for name, kind in _KINDS.items() if kind is Kind.TEXT}


def _named(values: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    return {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix) and value is not None
    }


def _state(text: str) -> CellState:
    try:
        return CellState(text)
    except ValueError as error:
        raise _error("state", text, "is not a state of a trial", f"Use one of {', '.join(CellState)}") from error


def _extra_column(name: str) -> Column:
    def read(row: TrialResultRow) -> Scalar | None:
        return row.extra.get(name)

    meaning = "value of an extra parameter of the study"
    return Column(name=EXTRA + name, kind=Kind.SCALAR, group=Group.CONFIGURATION, meaning=meaning, read=read)


def _metric_column(name: str) -> Column:
    def read(row: TrialResultRow) -> float | None:
        return row.metrics.get(name)

    meaning = "one of the study's own metrics, in its unit"
    return Column(name=METRIC + name, kind=Kind.NUMBER, group=Group.NUMBER, meaning=meaning, read=read)


def _derive(column: Column, row: TrialResultRow) -> Value:
    """Return a value that follows from others; absent if it is no number, as a cost per token of no tokens."""
    try:
        value = column.read(row)
        return value if isinstance(value, str) or value is None else _finite(value)
    except (ArithmeticError, ValueError):
        return None


def _checked(value: Value, column: Column, row: TrialResultRow) -> Value:
    """Return a value as the tables have it, or refuse it."""
    problem = None
    match value:
        case None | bool():
            return value
        case str():
            problem = _text_problem(value)
            value = None if not value and column.kind is Kind.TEXT else value
        case datetime():
            problem = None if value.tzinfo is not None else "is a time without a time zone"
        case int() if column.kind is not Kind.NUMBER:
            problem = None if -_MOST <= value <= _MOST else "does not fit in 64 bits"
        case _:
            try:
                value = _finite(value)
            except (ArithmeticError, ValueError):
                problem = "is not a finite number"
    if problem is not None:
        shown = ascii(value) if isinstance(value, str) else str(value)[:40]
        where = f"{problem} (trial {row.trial + 1} of pool {ascii(row.pool)[1:-1]}, round {row.round})"
        raise _error(column.name, shown, where, f"Correct it in {ascii(row.source)[1:-1]}")
    return value


def _text_problem(text: str) -> str | None:
    if "\0" in text:
        return "has a NUL character, which many readers of tables take for the end"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "has half of a surrogate pair, which is no character"
    return None


def _finite(value: object) -> float:
    number = float(value)  # type: ignore[arg-type]  # an integer may be too large
    if not isfinite(number):
        raise ValueError(number)
    return number


def _error(column: str, value: str, message: str, remedy: str) -> ExportError:
    return ExportError(str(Problem(field=column, value=value, message=message, remedy=remedy)))
