"""Build the rows about measuring the best again: how far a round is with it, and what a confirmed number is worth."""

from infpop_operator.api.clip import clip
from infpop_operator.api.quantities import decimal_string
from infpop_operator.api.status_model import Confirmation, Confirmed
from infpop_operator.api.status_values import MESSAGE_BYTES, shown_interval
from infpop_operator.core.confirmation_progress import in_words_of
from infpop_operator.core.decision import ConfirmationProgress, ConfirmationState
from infpop_operator.core.model import Trial
from infpop_operator.core.recommend import measurement


def confirmed_row(trial: Trial) -> Confirmed | None:
    """Return what the number of a trial is worth, None if it was not measured again."""
    if trial.confirmed is None:
        return None
    return Confirmed(loads=trial.confirmed.loads, interval=shown_interval(measurement(trial)))


def confirmation_row(progress: ConfirmationProgress | None, best: Trial | None) -> Confirmation | None:
    """Return how far a round is with measuring its best again, None if it does not.

    Args:
        progress: from the decision.
        best: the best of the round, None while there is none.
    """
    if progress is None:
        return None
    message = in_words_of(progress)
    if progress.state is ConfirmationState.CONFIRMED and best is not None:
        message += f": {confirmed_text(best)}"
    return Confirmation(
        state=progress.state.value,
        loads=progress.loads,
        planned=progress.planned if progress.state is ConfirmationState.CONFIRMING else None,
        reason=progress.reason or None,
        message=clip(message, MESSAGE_BYTES),
        unchecked=progress.unchecked or None,
    )


def confirmed_text(trial: Trial) -> str:
    """Return the throughput of a trial with its interval: "812 tokens/s (805 to 819)"."""
    result = measurement(trial)
    tokens, interval = f"{decimal_string(result.throughput_tokens_per_second)} tokens/s", shown_interval(result)
    return tokens if interval is None else f"{tokens} ({interval})"
