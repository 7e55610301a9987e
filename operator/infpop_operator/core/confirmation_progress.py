"""Say for the user how far the rounds of a study are with measuring their best again, and why one has not."""

from collections.abc import Mapping

from infpop_operator.core.budget import Exhausted
from infpop_operator.core.challenge import MOST_CHALLENGERS
from infpop_operator.core.contest import Confirmation
from infpop_operator.core.decision import ConfirmationProgress, ConfirmationState
from infpop_operator.core.history import current_round
from infpop_operator.core.model import POOL_CHANGED, History, Round
from infpop_operator.core.plan import PoolPlan
from infpop_operator.core.recommend import best_of_pool
from infpop_operator.core.study import Pool, Study

CONFIRMING = ConfirmationState.CONFIRMING.value  # the reason of a study all of whose runs measure a best again


def confirmation_progress(
    study: Study, history: History, plans: Mapping[str, PoolPlan], exhausted: Exhausted | None, *, goes_on: bool
) -> Mapping[str, ConfirmationProgress]:
    """Return by pool how far its newest round is, for the rounds that measure their best again.

    Args:
        study: the study.
        history: its history.
        plans: by pool, the plan of its newest round.
        exhausted: the budget that is spent, None while none is.
        goes_on: the study has not ended.
    """
    found: dict[str, ConfirmationProgress] = {}
    for pool in study.pools:
        plan, newest = plans[pool.name], current_round(history, pool.name)
        again = plan.confirmation
        if again is not None and again.winner is not None:
            if again.winner.confirmed is not None:
                loads = again.winner.confirmed.loads
                found[pool.name] = ConfirmationProgress(
                    state=ConfirmationState.CONFIRMED, loads=loads, planned=loads, unchecked=_unchecked(again)
                )
        elif goes_on and plan.ended is None:
            if again is not None:
                state = ConfirmationState.CONFIRMING
                found[pool.name] = ConfirmationProgress(state=state, loads=again.loads, planned=again.planned)
        elif newest is not None and _should_be_confirmed(study, pool, history, newest):
            reason, detail = _why_not(newest, plan, exhausted)
            found[pool.name] = ConfirmationProgress(
                state=ConfirmationState.NOT_CONFIRMED,
                loads=0 if again is None else again.loads,
                planned=0 if again is None else again.planned,
                reason=reason,
                detail=detail,
            )
    return found


def _unchecked(again: Confirmation) -> str:
    left = again.unchecked
    if left is None:
        return ""
    cell = left.configuration
    return (
        f"GPU count {cell.gpu_count}, batch size {cell.batch_size} was clearly better in the search, and was not "
        f"measured again, because {MOST_CHALLENGERS} others like it were. The machine may have become slower since "
        "the search; tune again when nothing else uses it"
    )


def _should_be_confirmed(study: Study, pool: Pool, history: History, newest: Round) -> bool:
    return newest.confirms and study.budget.confirm and best_of_pool(study, pool, history) is not None


def _why_not(newest: Round, plan: PoolPlan, exhausted: Exhausted | None) -> tuple[str, str]:
    if plan.unconfirmed is not None:
        return plan.unconfirmed
    if exhausted is not None:
        return (exhausted.reason, exhausted.message)
    what = () if newest.change is None else newest.change.what
    return (POOL_CHANGED, f"the pool has changed ({', '.join(what)})" if what else "the pool has changed")


def in_words(progress: Mapping[str, ConfirmationProgress]) -> str:
    """Return how far a study is with measuring its best again, as one sentence; empty if it does not."""
    live = {pool: each for pool, each in progress.items() if each.state is ConfirmationState.CONFIRMING}
    named = len(progress) > 1
    return ", ".join(
        (f"pool {pool}: " if named else "") + in_words_of(each) for pool, each in (live or progress).items()
    )


def in_words_of(progress: ConfirmationProgress) -> str:
    """Return how far a round is with measuring its best again."""
    match progress.state:
        case ConfirmationState.CONFIRMING:
            return f"confirming the best: {progress.loads} of at most {progress.planned} loads"
        case ConfirmationState.CONFIRMED:
            return f"the best is confirmed on {progress.loads} fresh loads"
        case ConfirmationState.NOT_CONFIRMED:
            why = ": ".join(part for part in (progress.reason, progress.detail) if part)
            return f"the best is not confirmed: {why}"
