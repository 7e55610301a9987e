"""Which GPU counts of the search space an ended study has not tried: the best may be among them."""

from collections.abc import Iterator

from infpop_operator.api.landscapes import to_landscape
from infpop_operator.api.status_model import PoolStatus
from infpop_operator.core.landscape import CellState
from infpop_operator.report.shown_study import ShownStudy


def untried_facts(shown: ShownStudy) -> Iterator[tuple[str, str]]:
    """Yield a line for each pool with GPU counts of which nothing was tried, although nothing rules them out."""
    for row in shown.status.pools:
        counts = _untried_counts(shown, row)
        if counts:
            device, numbers = shown.device(row.name), " and ".join(_listed(counts))
            where = f" on pool {row.name}" if shown.has_several_pools else ""
            plural = "" if counts == [1] else "s"
            remedy = "; raise budget.maxTrials" if row.ended == "MaxTrialsReached" else ""
            yield ("Not tried", f"{numbers} {device}{plural}{where}: the best may be there{remedy}")


def _untried_counts(shown: ShownStudy, row: PoolStatus) -> list[int]:
    """Return the GPU counts, ascending; none if there are no trials, or the status has no room for all."""
    rows = [trial for trial in shown.status.trials if (trial.pool, trial.round) == (row.name, row.round)]
    landscape = to_landscape(shown.status, row, shown.study)
    if landscape is None or not rows or row.trials is None or row.trials.total > len(rows):
        return []
    tried = {trial.gpu_count for trial in rows}
    cells = (cell for cells in landscape.rows for cell in cells)
    return sorted({cell.gpu_count for cell in cells if cell.state is CellState.UNTRIED} - tried)


def _listed(counts: list[int]) -> list[str]:
    """Return the counts as they are joined by "and": "1, 2" and "4"."""
    texts = [str(count) for count in counts]
    return [", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts
