"""The study's own metrics of a trial: which of them its objective and constraints need, and which have no value."""

from collections.abc import Iterable, Iterator, Mapping

from infpop_operator.core.model import Missing
from infpop_operator.core.study import CONSTRAINT_METRICS, METRICS, Objective

NO_WINDOW = Missing(reason="NoWindow")  # the run did not report when it measured, so nothing could be queried
LEAST_WATTS = 1e-3  # no working device draws less; dividing by almost 0 would give an absurd value

MetricValues = Mapping[str, float | Missing]  # extra metrics of a trial, by name
NO_METRICS: MetricValues = {}


def required_metrics(objective: Objective) -> tuple[str, ...]:
    """Return the names of the study's own metrics that the objective and its constraints need."""
    bounds = (bound.metric for bound in objective.constraints if bound.metric not in CONSTRAINT_METRICS)
    return tuple(dict.fromkeys((*_inputs(objective), *bounds)))


def missing_metrics(objective: Objective, extra_metrics: MetricValues) -> tuple[str, ...]:
    """Return a text for each required metric that has no value; empty if all of them have one."""
    return tuple(_sentences(objective, required_metrics(objective), extra_metrics))


def has_value(objective: Objective, extra_metrics: MetricValues) -> bool:
    """Return whether every extra metric that the objective itself needs has a value; constraints do not matter."""
    return not any(_sentences(objective, _inputs(objective), extra_metrics))


def _inputs(objective: Objective) -> tuple[str, ...]:
    """Return the names of the extra metrics from which the objective value is computed."""
    if objective.metric == "tokensPerJoule":
        return () if objective.power_metric is None else (objective.power_metric,)
    return () if objective.metric in METRICS else (objective.metric,)


def _sentences(objective: Objective, names: Iterable[str], extra_metrics: MetricValues) -> Iterator[str]:
    for name in names:
        number = extra_metrics.get(name, NO_WINDOW)
        if isinstance(number, Missing):
            yield f"{name} missing: {number.reason}"
        elif (objective.metric, objective.power_metric) == ("tokensPerJoule", name) and number < LEAST_WATTS:
            yield f"{name} missing: NotPositive"
