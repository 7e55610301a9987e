"""Build the landscape of a round from a status.

The status is trusted: its best and its constraint violations are taken over without computing them again. What follows
from the search space (untried and ruled-out configurations) is derived by the core's rules from the rows of the status.
"""

from collections.abc import Mapping

from infpop_operator.api.convert import to_study
from infpop_operator.api.spec import ThroughputStudy
from infpop_operator.api.spec_pool import NodePool
from infpop_operator.api.status_model import Best, PoolStatus, StudyStatus, TrialRow
from infpop_operator.api.status_rows import REOPENED
from infpop_operator.api.status_values import shown_extra
from infpop_operator.core.contest import CONSTRAINT_BROKEN, METRIC_MISSING
from infpop_operator.core.landscape import CellState, Landscape, LandscapeCell, arrange, collapsed, open_cell
from infpop_operator.core.load_memory import OUT_OF_MEMORY
from infpop_operator.core.model import Trial, TrialState
from infpop_operator.core.run_spec import pool_named
from infpop_operator.core.space import RuledOut, cells, ruled_out
from infpop_operator.core.study import Configuration, Pool, Study
from infpop_runner.contract import Infeasible, ModelFacts

_Place = tuple[int, int, tuple[tuple[str, str], ...]]  # a configuration as its row shows it
_CELL_STATES = {state.value: CellState(state.value) for state in TrialState}


def described_study(document: ThroughputStudy, status: StudyStatus) -> Study:
    """Return the study with the pools and model facts from the status; the fingerprints are left empty."""
    seen = {row.name: row for row in status.pools}
    pools = tuple(_pool(node, seen.get(node.name)) for node in document.spec.node_pools)
    facts = ModelFacts(attention_heads=status.attention_heads)
    return to_study(document, pools=pools, model_fingerprint="", workload_fingerprint="", model_facts=facts)


def to_landscape(status: StudyStatus, pool: PoolStatus, study: Study | None) -> Landscape | None:
    """Return the landscape of a pool's newest round, None while it has none.

    Args:
        status: the status of the study.
        pool: the pool's row in that status.
        study: the result of `described_study`; None if the spec cannot be read, so that only tried cells are known.
    """
    if pool.round is None:
        return None
    space = {} if study is None else {_place(cell): cell for cell in cells(study.space)}
    own = (row for row in status.trials if (row.pool, row.round) == (pool.name, pool.round))
    rows = {_row_place(row): row for row in own if row.reason != REOPENED}
    tried = [_tried(row, pool.best) for row in rows.values()]
    if study is None or all(known.name != pool.name for known in study.pools):
        return arrange(tried)
    trials = tuple(_trial(row, space.get(place)) for place, row in rows.items())
    excluded = ruled_out(study, pool_named(study, pool.name), trials, None)
    aside = {cell: each for place, cell in space.items() if (each := _aside(pool, place)) is not None}
    untried = [
        open_cell(cell, excluded.get(cell) or aside.get(cell)) for place, cell in space.items() if place not in rows
    ]
    return arrange((*untried, *tried), collapsed_extra=collapsed(study.space))


def _aside(pool: PoolStatus, place: _Place) -> RuledOut | None:
    """Return why the configuration is not tried now, None if it is not among those that were set aside."""
    gpu_count, batch_size, extra = place
    for each in pool.set_aside or ():
        is_large = each.min_batch_size is None or batch_size >= each.min_batch_size
        if each.gpu_count == gpu_count and each.extra in (None, dict(extra)) and is_large:
            return RuledOut(reason=each.reason, detail=each.message or "")
    return None


def _pool(node: NodePool, row: PoolStatus | None) -> Pool:
    row = row if row is not None else PoolStatus(name=node.name)
    return Pool(
        name=node.name,
        device=node.device,
        fingerprint=row.fingerprint or "",
        gpu_model=row.gpu,
        device_count=row.gpus_per_node,
        price_per_gpu_hour=node.price,
    )


def _place(cell: Configuration) -> _Place:
    return (cell.gpu_count, cell.batch_size, _sorted(shown_extra(cell)))


def _row_place(row: TrialRow) -> _Place:
    return (row.gpu_count, row.batch_size, _sorted(row.extra))


def _sorted(extra: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((extra or {}).items()))


def _tried(row: TrialRow, best: Best | None) -> LandscapeCell:
    number = None if row.throughput is None else float(row.throughput)
    breaks = number is not None and row.reason == CONSTRAINT_BROKEN
    lacks = number is not None and row.reason == METRIC_MISSING
    return LandscapeCell(
        gpu_count=row.gpu_count,
        batch_size=row.batch_size,
        state=_CELL_STATES.get(row.state, CellState.INVALID),  # an unknown state of a newer version cannot be compared
        throughput_tokens_per_second=number,
        at_most_tokens_per_second=None if row.throughput_at_most is None else float(row.throughput_at_most),
        spread_ratio=None if row.spread is None else float(row.spread),
        reason=None if breaks or lacks else row.reason,
        detail="" if breaks or lacks else row.message or "",
        violations=(row.message or CONSTRAINT_BROKEN,) if breaks else (),
        missing=(row.message or METRIC_MISSING,) if lacks else (),
        extra=_sorted(row.extra),
        reused_from=row.reused_from,
        is_best=number is not None and best is not None and is_row_of(best, row),
    )


def is_row_of(best: Best, row: TrialRow) -> bool:
    """Return whether a row is the trial of the best, whose run is another one if it was measured again."""
    return best.round == row.round and (best.gpu_count, best.batch_size, _sorted(best.extra)) == _row_place(row)


def _trial(row: TrialRow, cell: Configuration | None) -> Trial:
    """Return the trial of a row; ruling out cells needs no result but that of a load that ran out of memory."""
    configuration = cell or Configuration(gpu_count=row.gpu_count, batch_size=row.batch_size, extra=_sorted(row.extra))
    known = row.state in _CELL_STATES
    return Trial(
        pool=row.pool,
        round=row.round,
        index=row.index,
        configuration=configuration,
        state=TrialState(row.state) if known else TrialState.INVALID,
        run=row.run,
        attempts=row.attempts,
        failures=0,
        result=_load_failure(row) if row.while_loading else None,
        reason=row.reason,
        detail=row.message or "",
    )


def _load_failure(row: TrialRow) -> Infeasible:
    return Infeasible(index=row.index, batch_size=row.batch_size, reason=OUT_OF_MEMORY, phase="load")
