"""The forms in which the rows of a status show values: bounded, and as Kubernetes writes them."""

from datetime import datetime

from infpop_operator.api.clip import clip
from infpop_operator.api.quantities import decimal_string
from infpop_operator.core.model import Trial
from infpop_operator.core.scalars import scalar_text
from infpop_operator.core.study import Configuration, Scalar
from infpop_runner.contract import Measured

MESSAGE_BYTES = 256
ROW_MESSAGE_BYTES = 120  # of rows of which a status has hundreds
_ROW_VALUE_BYTES = 64  # of an extra argument; the row of the best configuration has the full values


def shown_extra(configuration: Configuration) -> dict[str, str]:
    """Return the extra arguments of a configuration as its row shows them."""
    return shown_arguments(configuration.extra)


def shown_arguments(extra: tuple[tuple[str, Scalar], ...]) -> dict[str, str]:
    """Return extra arguments as a row shows them."""
    return {name: clip(scalar_text(value), _ROW_VALUE_BYTES) for name, value in extra}


def shown_interval(measured: Measured) -> str | None:
    """Return the 95 % interval of a throughput as "805 to 819", None if it is not known."""
    ends = measured.interval_tokens_per_second
    return None if ends is None else " to ".join(decimal_string(end, significant=4) for end in ends)


def whole_seconds(instant: datetime) -> datetime:
    """Return the time without fractions of a second, as Kubernetes writes it."""
    return instant.replace(microsecond=0)


def study_of(trial: Trial) -> str | None:
    """Return the other study of the namespace that measured a trial, None for this study."""
    return None if trial.reused_from is None else trial.reused_from.study
