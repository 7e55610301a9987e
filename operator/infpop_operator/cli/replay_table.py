"""The table of `infpop replay retune`: a row for each model, and what it amounts to."""

from collections.abc import Iterator, Mapping, Sequence
from math import exp, log
from statistics import mean
from typing import cast

from rich.console import Group, RenderableType
from rich.text import Text

from infpop_operator.core.study import Configuration
from infpop_operator.replay.retune import ModelResult
from infpop_operator.report.name_table import NameTable
from infpop_operator.report.words import on_one_line

_HEADINGS = ("old best", "new best", "gain", "warm", "cold", "paper")
_NOTE = (
    "Old best and new best: GPUs x batch size. Gain: the new best against the old best, both on the new hardware. "
    "Warm, cold, paper: trials to within 1 % of the new optimum, for a study that knows the old landscape, a fresh "
    "one, and Hyperopt as arXiv 2408.01050 ran it. Numbers are replayed from the file; nothing was measured."
)


def render_retune(results: Sequence[ModelResult], document: Mapping[str, object]) -> RenderableType:
    """Return a table for each engine with its summary below."""
    return Group(*_parts(results, document))


def _parts(results: Sequence[ModelResult], document: Mapping[str, object]) -> Iterator[RenderableType]:
    summaries = cast("Mapping[str, Mapping[str, object]]", document["summary"])
    for engine, summary in summaries.items():
        own = [result for result in results if result.engine == engine]
        yield Text(f"{engine}, {document['from']} → {document['to']}", style="bold")
        yield _table(own)
        yield Text(_in_words(summary, own))
        yield Text("")
    yield Text(_NOTE, style="dim")


def _table(results: Sequence[ModelResult]) -> NameTable:
    return NameTable(name="model", headings=_HEADINGS, rows=tuple(_row(result) for result in results))


def _row(result: ModelResult) -> tuple[Text, tuple[Text, ...]]:
    trials = (Text(_count(count)) for count in result.trials_to_99.values())
    cells = (Text(_cell(result.baseline)), Text(_cell(result.best)), _gain(result), *trials)
    return Text(on_one_line(result.model)), cells


def _cell(cell: Configuration) -> str:
    return f"{cell.gpu_count} x {cell.batch_size}"


def _gain(result: ModelResult) -> Text:
    gain = result.improvement_percent
    if gain is None:
        return Text("no record" if result.baseline_reason == "NotRecorded" else "no memory", style="red")
    return Text(f"{gain:+.1f} %", style="" if gain else "dim")


def _count(value: float) -> str:
    return f"{value:.1f}"


def _in_words(summary: Mapping[str, object], results: Sequence[ModelResult]) -> str:
    trials = cast("Mapping[str, float]", summary["trials_to_99"])
    gained = summary["mean_improvement_percent"]
    gain = (
        "no old best works"
        if gained is None
        else f"mean gain {gained} %, median {summary['median_improvement_percent']} %"
    )
    cold, paper = trials["cold"], trials["infpop-paper"]
    return (
        f"{summary['models']} models: {gain}; no gain: {summary['no_gain']}; old best cannot run: "
        f"{summary['baseline_infeasible']}\n"
        f"trials: warm {trials['warm']:.1f}, cold {cold:.1f}, paper {paper:.1f}; GPU time of warm: "
        f"{_share(results, 'cold')} of cold, {_share(results, 'infpop-paper')} of paper (geometric mean)"
    )


def _share(results: Sequence[ModelResult], search: str) -> str:
    """Return the geometric mean of the ratios of GPU time: an arithmetic mean is ruled by the slowest model."""
    spent = (each.gpu_seconds_to_99 for each in results)
    ratios = (dict(each)["warm"] / value for each in spent for name, value in each.items() if name == search)
    return f"{100 * exp(mean(log(ratio) for ratio in ratios)):.0f} %"
