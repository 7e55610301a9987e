"""The Pareto front of a study with two metrics, as a table of a page."""

from infpop_operator.api.convert import to_metric
from infpop_operator.api.spec import StudySpec
from infpop_operator.api.status_model import ParetoRow
from infpop_operator.report.shown_study import ShownStudy
from infpop_operator.report.status_page import FrontLine, FrontTable
from infpop_operator.report.words import count, number, on_one_line, reused_phrase

# What the built-in metrics are called above a column; narrow, because two of them stand beside a configuration.
_HEADINGS = {
    "throughput": "tokens/s",
    "throughputPerGPU": "tokens/s per GPU",
    "costPerMillionTokens": "cost per million",
    "tokensPerJoule": "tokens per joule",
    "secondsPerOutputToken": "s per token",
}
_UNKNOWN = ("first metric", "second metric")  # the spec cannot be read


def front_table(shown: ShownStudy) -> FrontTable | None:
    """Return the table of what the user may choose from; None without a second metric, or before any result."""
    rows = shown.status.pareto
    if not rows:
        return None
    spec = None if shown.object.document is None else shown.object.document.spec
    return FrontTable(
        title="What to choose from",
        text=_text(shown, spec, several=len(rows) > len({row.pool for row in rows})),
        headings=_UNKNOWN if spec is None else (_heading(spec, spec.objective.metric), _second_heading(spec)),
        lines=tuple(_line(shown, row) for row in rows),
    )


def _text(shown: ShownStudy, spec: StudySpec | None, *, several: bool) -> str:
    first, second = _UNKNOWN if spec is None else (spec.objective.metric, spec.objective.second_metric or _UNKNOWN[1])
    told = "Differences within the noise do not count."
    if several:
        told = f"From one to the next of a pool, {first} gets worse and {second} better. {told}"
    else:
        told = f"No other configuration tried is better in {first} or in {second}. {told}"
    dropped = shown.status.pareto_dropped or 0
    return told + (f" {count(dropped, 'more configuration')} between them are not shown." if dropped else "")


def _second_heading(spec: StudySpec) -> str:
    return _UNKNOWN[1] if spec.objective.second_metric is None else _heading(spec, spec.objective.second_metric)


def _heading(spec: StudySpec, metric: str) -> str:
    own = next((each for each in spec.metrics if each.name == metric), None)
    return _HEADINGS.get(metric, metric if own is None else f"{metric} ({to_metric(own).unit})")


def _line(shown: ShownStudy, row: ParetoRow) -> FrontLine:
    where = f"{row.pool}: " if shown.has_several_pools else ""
    beaten = "" if row.overall else " (another pool beats it)"
    what = f"{where}{shown.configuration(row.pool, row)}{reused_phrase(row.reused_from)}{beaten}"
    best = shown.status.best
    return FrontLine(
        what=on_one_line(what),
        value=number(float(row.value)),
        second_value=number(float(row.second_value)),
        is_best=best is not None
        and (best.pool, best.round, best.gpu_count, best.batch_size, best.extra)
        == (row.pool, row.round, row.gpu_count, row.batch_size, row.extra),
    )
