"""Build the rows about rounds: the history of rounds, the baseline of a round, and a change that has no round yet."""

from datetime import datetime

from infpop_operator.api.clip import clip
from infpop_operator.api.quantities import decimal_string
from infpop_operator.api.status_model import Baseline, PoolChange, RoundBest, RoundPublished, RoundRow
from infpop_operator.api.status_values import MESSAGE_BYTES, ROW_MESSAGE_BYTES, shown_extra, study_of, whole_seconds
from infpop_operator.core import objective
from infpop_operator.core.decision import Decision
from infpop_operator.core.history import current_round, runs_of, trials_of
from infpop_operator.core.model import REQUESTED, Round, Trial
from infpop_operator.core.recommend import best_of_round, improvement_ratio, measurement
from infpop_operator.core.round_facts import BaselineOutcome, baseline_outcome, reason_of_change, reason_of_round
from infpop_operator.core.study import Pool, Study

MAX_ROUND_ROWS = 32
MAX_FACTS = 4  # of one change; an identity has few parts that change together
# Why a round has no improvement over its baseline.
POOL_NOT_IN_SPEC = "PoolNotInSpec"
NO_BASELINE = "NoBaseline"  # nothing was in use before the round
BASELINE_INFEASIBLE = "BaselineInfeasible"  # what was in use cannot work on this hardware: the gain is over nothing
BASELINE_NOT_MEASURED = "BaselineNotMeasured"
NO_BEST = "NoBest"
NO_VALUE = "NoValue"  # the objective has no value for one of the two, or is 0 for the baseline


def round_rows(study: Study, decision: Decision) -> list[RoundRow]:
    """Return the rows of the newest `MAX_ROUND_ROWS` rounds of all pools; a round that was resumed counts as newest."""
    return [_row(study, decision, entry) for entry in decision.history.rounds[-MAX_ROUND_ROWS:]]


def change_row(pool: Pool, decision: Decision, newest: Round) -> PoolChange | None:
    """Return what changed on a pool since its newest round began, None if nothing did.

    It is also what the user has requested without any change, while no round may start for the request.
    """
    changed, retunes_at = newest.change, decision.retunes_at.get(pool.name)
    held_by = clip(decision.held_changes.get(pool.name, ""), 2 * MESSAGE_BYTES) or None
    if changed is None and retunes_at is None and held_by is None:
        return None
    return PoolChange(
        reason=REQUESTED if changed is None else reason_of_change(newest, changed),
        what=[] if changed is None else _facts(changed.what),
        since=None if changed is None else whole_seconds(changed.since),
        retunes_at=None if retunes_at is None else whole_seconds(retunes_at),
        held_by=held_by,
    )


def measured_facts(newest: Round) -> dict[str, object]:
    """Return the hardware and image of a round whose pool has changed since: what its numbers belong to.

    Empty while the pool is what the round measures, and for what an earlier version did not record.
    """
    if newest.change is None or newest.hardware is None:
        return {}
    facts: dict[str, object] = {"gpu": newest.hardware.gpu_model, "fingerprint": newest.hardware.fingerprint}
    image = _image(newest)
    return facts | ({} if image is None else {"image": image})


def compared_with_baseline(
    study: Study, pool: Pool, best: Trial | None, outcome: BaselineOutcome | None
) -> dict[str, object]:
    """Return the fields about the baseline of a round: what it reached there, and how much better `best` is."""
    improvement, interval = None, None
    if best is not None and outcome is not None and outcome.measured is not None:
        improvement = improvement_ratio(study, pool, new=best, old=outcome.measured)
        if best.configuration != outcome.configuration:
            interval = objective.improvement_interval(study, (pool, best), (pool, outcome.measured))
    return {
        "baseline": None if outcome is None else _baseline(outcome),
        "improvement_percent": None if improvement is None else _percent(improvement),
        "improvement_reason": None if improvement is not None else _why_no_improvement(best, outcome),
        "improvement_interval": None if interval is None else " to ".join(_percent(end) for end in interval),
    }


def _percent(ratio: float) -> str:
    return f"{ratio * 100:.1f}"


def _row(study: Study, decision: Decision, entry: Round) -> RoundRow:
    history = decision.history
    return RoundRow(
        pool=entry.pool,
        round=entry.number,
        opened_at=_seconds_of(entry.opened_at),
        resumed_at=_seconds_of(entry.resumed_at),
        reason=reason_of_round(entry),
        cause=_facts(entry.cause) or None,
        gpu=entry.hardware.gpu_model if entry.hardware is not None else None,
        image=_image(entry),
        published=_published(entry),
        trials=len(trials_of(history, entry.pool, entry.number)),
        gpu_hours=decimal_string(sum(ended.gpu_seconds for ended in runs_of(history.ended, entry)) / 3600),
    ).model_copy(update=_found(study, decision, entry))


def _found(study: Study, decision: Decision, entry: Round) -> dict[str, object]:
    """Return what a round found, by the study as it is now; nothing can be judged without the pool's price."""
    pool = next((pool for pool in study.pools if pool.name == entry.pool), None)
    if pool is None:
        return {"improvement_reason": POOL_NOT_IN_SPEC}
    history, newest = decision.history, current_round(decision.history, pool.name)
    set_aside = decision.set_aside.get(pool.name, ()) if entry == newest else ()
    best = best_of_round(study, pool, history, entry)
    outcome = baseline_outcome(study, pool, history, entry, set_aside=set_aside)
    return {
        "best": None if best is None else _best(best),
        **compared_with_baseline(study, pool, best, outcome),
    }


def _why_no_improvement(best: Trial | None, outcome: BaselineOutcome | None) -> str:
    if outcome is None:
        return NO_BASELINE
    if outcome.measured is None:
        return BASELINE_INFEASIBLE if outcome.is_impossible else BASELINE_NOT_MEASURED
    return NO_BEST if best is None else NO_VALUE


def _baseline(outcome: BaselineOutcome) -> Baseline:
    configuration, measured = outcome.configuration, outcome.measured
    return Baseline(
        gpu_count=configuration.gpu_count,
        batch_size=configuration.batch_size,
        extra=shown_extra(configuration) or None,
        throughput=None if measured is None else decimal_string(measurement(measured).throughput_tokens_per_second),
        reason=outcome.reason or None,
        message=clip(outcome.detail, ROW_MESSAGE_BYTES) or None,
        reused_from=None if measured is None else study_of(measured),
    )


def _best(trial: Trial) -> RoundBest:
    return RoundBest(
        gpu_count=trial.configuration.gpu_count,
        batch_size=trial.configuration.batch_size,
        extra=shown_extra(trial.configuration) or None,
        throughput=decimal_string(measurement(trial).throughput_tokens_per_second),
        reused_from=study_of(trial),
    )


def _image(entry: Round) -> str | None:
    return clip(dict(entry.subject).get("software", ""), MESSAGE_BYTES) or None


def _published(entry: Round) -> RoundPublished | None:
    if entry.published is None:
        return None
    return RoundPublished(
        at=whole_seconds(entry.published.at),
        reason=entry.published.reason,
        gpu_count=entry.published.configuration.gpu_count,
        batch_size=entry.published.configuration.batch_size,
        extra=shown_extra(entry.published.configuration) or None,
    )


def _facts(what: tuple[str, ...]) -> list[str]:
    """Return what changed, bounded in number and length; the last entry says whether there is more."""
    shown = [clip(fact, MESSAGE_BYTES) for fact in what[:MAX_FACTS]]
    return [*shown, "and more"] if len(what) > len(shown) else shown


def _seconds_of(instant: datetime | None) -> datetime | None:
    return None if instant is None else whole_seconds(instant)
