"""The state of a study as if one of its rounds were all that there is: for pages about rounds that are over.

With the history it is computed as the operator computes the status of a newest round; from a status alone it has what
the status keeps of old rounds, which are rounded numbers and no serving arguments.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from infpop_operator.api.landscapes import described_study
from infpop_operator.api.quantities import decimal_string
from infpop_operator.api.spec import ThroughputStudy
from infpop_operator.api.status import to_status
from infpop_operator.api.status_model import Best, PoolStatus, RoundBest, RoundRow, StudyStatus, TrialCounts, TrialRow
from infpop_operator.api.study_object import StudyObject
from infpop_operator.core.decision import Decision, Verdict
from infpop_operator.core.errors import Problem, ResultError
from infpop_operator.core.history import runs_of
from infpop_operator.core.model import History, Round
from infpop_operator.core.subject import recorded_model

_COUNTED = {"Measured": "measured", "Infeasible": "infeasible", "Invalid": "invalid", "Broken": "broken"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedRound:
    """One round of a pool.

    Args:
        study: the study with a status that has this round alone, as its pool's newest, and no conditions; its model
            and engine are those of the round, as far as the history tells.
        pool: the pool of the round.
        row: what is known of the round as a whole; None if the status has only its trials.
        number: of the round.
        newest: number of the pool's newest round.
    """

    study: StudyObject
    pool: str
    row: RoundRow | None
    number: int
    newest: int


def archived_round(
    study: StudyObject, history: History | None, *, pool: str | None, number: int | None
) -> ArchivedRound:
    """Return one round of a study.

    Args:
        study: the study with its status.
        history: from its journal, None without one.
        pool: of the round; None: the only pool that has such a round.
        number: of the round; None: the newest of the pool.

    Raises:
        ResultError: there is no such round, or several pools have one.
    """
    rounds = _known_rounds(study, history)
    chosen = _chosen(rounds, pool, number)
    newest = max(known for name, known in rounds if name == chosen[0])
    entry = None
    if history is not None:
        entry = next((each for each in history.rounds if (each.pool, each.number) == chosen), None)
    if entry is not None and history is not None and study.document is not None:
        status = _from_history(study, study.document, history, entry)
    else:
        status = _from_status(study.status, *chosen)
    row = next((each for each in status.rounds if (each.pool, each.round) == chosen), None)
    facts = {} if entry is None else dict(entry.subject)
    engine = facts.get("engine.name", study.engine)
    return ArchivedRound(
        study=replace(study, status=status, model=recorded_model(facts, study.model), engine=engine),
        pool=chosen[0],
        row=row,
        number=chosen[1],
        newest=newest,
    )


def _known_rounds(study: StudyObject, history: History | None) -> list[tuple[str, int]]:
    """Return the pool and number of all rounds of which anything is known."""
    of_history = ((entry.pool, entry.number) for entry in (history.rounds if history is not None else ()))
    status = study.status
    of_status = (*((row.pool, row.round) for row in status.rounds), *((row.pool, row.round) for row in status.trials))
    newest = ((row.name, row.round) for row in status.pools if row.round is not None)
    return sorted({*of_history, *of_status, *newest})


def _chosen(rounds: Sequence[tuple[str, int]], pool: str | None, number: int | None) -> tuple[str, int]:
    pools = sorted({name for name, _ in rounds})
    if not rounds:
        raise _error("--round", "" if number is None else str(number), "the study has no rounds yet", "Leave it out")
    if pool is not None and pool not in pools:
        raise _error("--pool", pool, "the study has no rounds of this pool", f"Choose one of: {', '.join(pools)}")
    found = [entry for entry in rounds if pool in {None, entry[0]} and number in {None, entry[1]}]
    if not found:
        numbers = ", ".join(f"{name} {known}" for name, known in rounds if pool in {None, name})
        raise _error(
            "--round", str(number), "there is no such round", f"Choose one of these pools and rounds: {numbers}"
        )
    of_pools = sorted({name for name, _ in found})
    if len(of_pools) > 1:
        message = f"{len(of_pools)} pools have such a round"
        raise _error("--round", str(number), message, f"Choose one with --pool: {', '.join(of_pools)}")
    return max(found)


def _error(field: str, value: str, message: str, remedy: str) -> ResultError:
    return ResultError(str(Problem(field=field, value=value, message=message, remedy=remedy)))


def _from_history(study: StudyObject, document: ThroughputStudy, history: History, entry: Round) -> StudyStatus:
    """Return the status that the study would have if it had only this pool and this round."""
    alone = replace(
        history,
        rounds=(replace(entry, change=None),),
        ended=tuple(runs_of(history.ended, entry)),
        active=tuple(runs_of(history.active, entry)),
    )
    described = described_study(document, study.status)
    hardware = entry.hardware
    pools = tuple(
        pool
        if hardware is None
        else replace(pool, gpu_model=hardware.gpu_model, device_count=hardware.device_count, fingerprint="")
        for pool in described.pools
        if pool.name == entry.pool
    )
    pools = tuple(replace(pool, software=dict(entry.subject).get("software", "")) for pool in pools)
    decision = Decision(history=alone, verdict=Verdict.WAITING, reason="Archived", message="")
    found = to_status(replace(described, pools=pools), decision, history.started_at)
    if not pools:  # the pool left the study: its trials are known, and nothing can be judged
        return _from_status(found.model_copy(update={"pools": []}), entry.pool, entry.number)
    return found.model_copy(update={"conditions": [], "progress": None, "published": None})


def _from_status(status: StudyStatus, pool: str, number: int) -> StudyStatus:
    trials = [row for row in status.trials if (row.pool, row.round) == (pool, number)]
    row = next((each for each in status.rounds if (each.pool, each.round) == (pool, number)), None)
    newest = next((each for each in status.pools if (each.name, each.round) == (pool, number)), None)
    shown = newest or _pool_of(row or RoundRow(pool=pool, round=number), trials)
    return status.model_copy(
        update={
            "conditions": [],
            "progress": None,
            "best": shown.best,
            "published": None,
            "pareto": [each for each in status.pareto or () if (each.pool, each.round) == (pool, number)] or None,
            "pools": [shown.model_copy(update={"change": None, "reason": None, "message": None})],
            "runs": [each for each in status.runs if newest is not None and each.pool == pool],
            "trials": trials,
            "rounds": [] if row is None else [row],
            "gpu_hours": shown.gpu_hours if row is None else row.gpu_hours,
        }
    )


def _pool_of(row: RoundRow, trials: Sequence[TrialRow]) -> PoolStatus:
    """Return the row of a pool when the round was its newest, as far as its status still tells."""
    return PoolStatus(
        name=row.pool,
        gpu=row.gpu,
        image=row.image,
        round=row.round,
        best=None if row.best is None else _best_of(row, row.best, trials),
        baseline=row.baseline,
        improvement_percent=row.improvement_percent,
        improvement_reason=row.improvement_reason,
        improvement_interval=row.improvement_interval,
        trials=_counts(trials, row.trials),
        gpu_hours=row.gpu_hours,
    )


def _best_of(row: RoundRow, best: RoundBest, trials: Iterable[TrialRow]) -> Best | None:
    """Return the best of a round with what its trial tells; None if the status has dropped that trial."""
    same = (best.gpu_count, best.batch_size, best.extra)
    trial = next(
        (each for each in trials if (each.gpu_count, each.batch_size, each.extra) == same and each.spread), None
    )
    if trial is None or trial.spread is None:
        return None
    return Best(
        pool=row.pool,
        round=row.round,
        gpu_count=best.gpu_count,
        batch_size=best.batch_size,
        extra=best.extra,
        throughput=best.throughput,
        throughput_per_gpu=decimal_string(float(best.throughput) / best.gpu_count),
        spread=trial.spread,
        metrics=trial.metrics,
        run=trial.run,
        reused_from=best.reused_from,
    )


def _counts(trials: Sequence[TrialRow], total: int) -> TrialCounts:
    states = [row.state for row in trials]
    return TrialCounts(
        total=max(total, len(states)),
        raced_out=states.count("RacedOut") or None,
        running=states.count("Running"),
        **{name: states.count(state) for state, name in _COUNTED.items()},
    )
