"""What the report is about: the rows, grouped once for all of its forms (HTML, figures, tables)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from infpop_operator.analysis.grids import Grid, arrange_grids
from infpop_operator.analysis.paired_cells import PairedCells, paired_cells
from infpop_operator.analysis.parameter_counts import parameter_counts
from infpop_operator.analysis.result_landscapes import ResultLandscape, to_landscapes
from infpop_operator.analysis.rows import ResultTable, TrialResultRow
from infpop_operator.analysis.statistics.statistic import Statistic
from infpop_operator.core.landscape import CellState
from infpop_operator.report.html.study_json import courses


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """Everything that a report shows.

    Attributes:
        table: the rows that were read.
        statistics: the answers to the questions, in the order in which they are shown.
        scores: quality scores by model; empty if the user gave none.
        batch_size: at which GPU counts are compared first.
        made_at: when the report is made.
        version: of InfPop.
        title: of the page.
    """

    table: ResultTable
    statistics: tuple[Statistic, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    batch_size: int = 1
    made_at: datetime
    version: str
    title: str

    @cached_property
    def landscapes(self) -> tuple[ResultLandscape, ...]:
        """The landscapes of all rounds."""
        return to_landscapes(self.table)

    @cached_property
    def newest(self) -> tuple[ResultLandscape, ...]:
        """The landscape of the newest round of each pool."""
        rounds: dict[tuple[str, ...], ResultLandscape] = {}
        for each in self.landscapes:  # rounds ascend
            row = each.first
            rounds[row.source, row.study, row.pool, row.model, row.engine, row.gpu_model or "", row.workload or ""] = (
                each
            )
        return tuple(rounds.values())

    @cached_property
    def grids(self) -> tuple[Grid, ...]:
        """The numbers that the statistics are about."""
        return arrange_grids(self.table.trials)

    @cached_property
    def hardware(self) -> tuple[PairedCells, ...]:
        """The same configurations on two GPU models."""
        return paired_cells(self.newest, "gpu_model")

    @cached_property
    def engines(self) -> tuple[PairedCells, ...]:
        """The same configurations on two engines."""
        return paired_cells(self.newest, "engine")

    @cached_property
    def parameters(self) -> Mapping[str, float]:
        """The number of parameters of each model of which it is known."""
        return parameter_counts(each.first for each in self.newest)

    @cached_property
    def courses(self) -> dict[tuple[str, str, str, int], list[TrialResultRow]]:
        """The trials of each round of a study, in the order in which they ran."""
        return courses(self.table.trials)

    @cached_property
    def measured(self) -> int:
        """How many trials have a number."""
        return sum(row.state is CellState.MEASURED for row in self.table.trials)

    def of_question(self, question: str) -> tuple[Statistic, ...]:
        """Return the answers to one question."""
        return tuple(each for each in self.statistics if each.question == question)
