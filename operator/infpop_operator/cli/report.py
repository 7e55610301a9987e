"""The command `infpop report`, and the report that `infpop tune` writes at its end."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path

from plotly.offline import get_plotlyjs

from infpop_operator import __version__
from infpop_operator.adapters.result_sources import read_all
from infpop_operator.adapters.score_file import read_scores
from infpop_operator.analysis.comparable import hardware_of
from infpop_operator.analysis.rows import ResultTable
from infpop_operator.analysis.statistics.answers import answer
from infpop_operator.analysis.statistics.statistic import to_document
from infpop_operator.analysis.trial_csv import render_csv
from infpop_operator.cli.error_output import print_error
from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.core.errors import InfPopError, NoAnswerError, ReportError
from infpop_operator.report.figures.all_figures import FORMATS, MOST_LANDSCAPES, PlannedFigure, plan_figures
from infpop_operator.report.html.page import render_html
from infpop_operator.report.report_content import ReportContent
from infpop_operator.report.report_files import PAGE, ReportDirectory
from infpop_operator.report.report_tables import render_alternatives, render_rounds

_STATISTICS = "statistics.json"


def run(
    sources: Sequence[str],
    *,
    output: Path,
    scores: Path | None,
    batch_size: int,
    prices: Sequence[str],
    figures: bool,
    force: bool,
    namespace: str | None,
    context: str | None,
    kubeconfig: str | None,
) -> ExitCode:
    """Write the report of `sources` to the directory `output`."""
    try:
        known = {} if scores is None else read_scores(scores)
        priced = _parse_prices(prices)
        table = with_prices(read_all(sources, namespace=namespace, context=context, kubeconfig=kubeconfig), priced)
        page = write_report(table, output, scores=known, batch_size=batch_size, has_figures=figures, force=force)
    except NoAnswerError as error:
        print_error("The sources cannot be read now.", error)
        return ExitCode.INTERNAL_ERROR
    except InfPopError as error:
        return print_error("No report was written.", error)
    sys.stdout.write(f"{page}\n")
    return ExitCode.FOUND


def report_study(directory: Path, output: Path) -> Path:
    """Write the report of a study that `infpop tune` has just ended, and return the path of its page.

    Raises:
        InfPopError: the results cannot be read, or the report cannot be written.
    """
    return write_report(read_all([str(directory)]), output)


def write_report(
    table: ResultTable,
    output: Path,
    *,
    scores: Mapping[str, float] | None = None,
    batch_size: int = 1,
    has_figures: bool = True,
    force: bool = False,
) -> Path:
    """Write the report of `table` to the directory `output`, and return the path of its page.

    Raises:
        ReportError: the directory cannot be written, or has files that no report wrote.
        ExportError: a value cannot stand in a table.
    """
    statistics = answer(table, scores=scores or None, batch_size=batch_size)
    content = ReportContent(
        table=table,
        statistics=statistics,
        scores=scores or {},
        batch_size=batch_size,
        made_at=datetime.now(UTC),  # noqa: TID251 - the edge: from here on the time is an argument
        version=__version__,
        title=_title(table),
    )
    tables: dict[str, str | bytes] = {
        "tables/trials.csv": render_csv(table.trials),
        "tables/best.csv": render_csv([best for each in content.newest if (best := each.best) is not None]),
        "tables/rounds.csv": render_rounds(content),
        "tables/alternatives.csv": render_alternatives(content),
    }
    planned = plan_figures(content, batch_size) if has_figures else ()
    drawn = [f"{figure.name}{suffix}" for figure in planned for suffix in FORMATS]
    directory = ReportDirectory(output, [*tables, _STATISTICS, *drawn, PAGE], force=force)
    for name, text in tables.items():
        directory.write(name, text)
    directory.write(_STATISTICS, json.dumps(to_document(statistics), indent=1, allow_nan=False) + "\n")
    directory.write(PAGE, render_html(content, get_plotlyjs()))
    _draw(planned, directory)
    if has_figures and len(content.newest) > MOST_LANDSCAPES:
        sys.stderr.write(f"Figures are of the first {MOST_LANDSCAPES} of {len(content.newest)} landscapes.\n")
    directory.finish()
    return directory.path(PAGE)


def _draw(planned: Sequence[PlannedFigure], directory: ReportDirectory) -> None:
    for figure in planned:
        for suffix in FORMATS:
            path = directory.path(f"{figure.name}{suffix}")
            try:
                figure.draw(path)
            except OSError as error:
                raise ReportError(f"--output: {path}: cannot be written ({error.strerror or error}).") from error


def with_prices(table: ResultTable, prices: Mapping[str, float]) -> ResultTable:
    """Return the table with the prices of GPU hours that the user gave; "" stands for all GPU models.

    Raises:
        ReportError: a price is for a GPU model that no trial has.
    """
    if not prices:
        return table
    known = sorted({hardware_of(row) for row in table.trials})
    for name in prices:
        if name and name not in known:
            raise ReportError(f"--price: {name}: no trial has this GPU model. Use one of: {', '.join(known)}.")
    trials = tuple(
        row if price is None else replace(row, price_per_gpu_hour=price)
        for row in table.trials
        for price in [prices.get(hardware_of(row), prices.get(""))]
    )
    return replace(table, trials=trials)


def _parse_prices(prices: Sequence[str]) -> dict[str, float]:
    found = {}
    for text in prices:
        name, _, number = text.rpartition("=")
        try:
            price = float(number)
        except ValueError:
            price = -1.0
        if not isfinite(price) or price <= 0:
            raise ReportError(
                f"--price: {text}: is no price. Write a number above 0, or GPU=NUMBER, such as A100=3.67."
            )
        found[name] = price
    return found


def _title(table: ResultTable) -> str:
    studies = {(row.source, row.study) for row in table.trials}
    return f"Throughput of {next(iter(studies))[1]}" if len(studies) == 1 else f"Throughput of {len(studies)} studies"
