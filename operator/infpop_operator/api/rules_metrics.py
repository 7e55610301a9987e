"""Rules for a study's own metrics, objective and constraints; each problem names field, value and remedy."""

import difflib
import re
from collections.abc import Iterator, Sequence

from infpop_operator.api.checks import unique_names
from infpop_operator.api.spec import StudySpec
from infpop_operator.api.spec_metrics import ExtraMetric
from infpop_operator.core.errors import Problem
from infpop_operator.core.extra_metrics import PLACEHOLDERS, PRESETS
from infpop_operator.core.study import CONSTRAINT_METRICS, METRICS

BUILT_IN = frozenset((*METRICS, *CONSTRAINT_METRICS))
POWER_PRESETS = tuple(name for name, preset in PRESETS.items() if preset.unit == "watts")
KNOWN_PLACEHOLDERS = tuple(f"${name}" for name in PLACEHOLDERS)
# Any other dollar sign is PromQL: the end of a regular expression, or a group in label_replace.
PLACEHOLDER_PATTERN = "[$][{]?[A-Za-z_][A-Za-z0-9_]*"


def metric_rules(spec: StudySpec) -> Iterator[Problem]:
    """Return the problems of the metrics of `spec`, and of the objective and the constraints that refer to them."""
    yield from unique_names("spec.metrics", [metric.name for metric in spec.metrics])
    for position, metric in enumerate(spec.metrics):
        yield from _metric(f"spec.metrics[{position}]", metric)
    yield from _objective(spec)
    for position, constraint in enumerate(spec.objective.constraints):
        field = f"spec.objective.constraints[{position}].metric"
        yield from _known(spec, field, constraint.metric, CONSTRAINT_METRICS)


def is_power(metric: ExtraMetric) -> bool:
    """Return whether a metric is in watts."""
    return metric.unit == "watts" or metric.preset in POWER_PRESETS


def _metric(field: str, metric: ExtraMetric) -> Iterator[Problem]:
    if metric.name in BUILT_IN:
        message = "is the name of a built-in metric"
        yield Problem(field=f"{field}.name", value=metric.name, message=message, remedy="Use another name")
    if (metric.query is None) == (metric.preset is None):
        remedy = "Give exactly one of query and preset"
        yield Problem(field=field, value="", message="needs exactly one query", remedy=remedy)
    if metric.query is not None:
        yield from _query(field, metric, metric.query)
    if metric.preset is not None and metric.unit is not None:
        message = f"the preset {metric.preset} has its own unit"
        yield Problem(field=f"{field}.unit", value=metric.unit, message=message, remedy="Remove it")


def _query(field: str, metric: ExtraMetric, query: str) -> Iterator[Problem]:
    if metric.unit is None:
        remedy = "Add the unit of the query's number, for example watts"
        yield Problem(field=f"{field}.unit", value="", message="is required with a query", remedy=remedy)
    strange = [text for text in re.findall(PLACEHOLDER_PATTERN, query) if text not in KNOWN_PLACEHOLDERS]
    if strange:
        remedy = f"Use {', '.join(KNOWN_PLACEHOLDERS)}"
        message = "has an unknown placeholder"
        yield Problem(field=f"{field}.query", value=strange[0][:60], message=message, remedy=remedy)


def _objective(spec: StudySpec) -> Iterator[Problem]:
    objective = spec.objective
    yield from _known(spec, "spec.objective.metric", objective.metric, METRICS)
    if objective.metric in METRICS and objective.goal is not None:
        message = f"applies only to metrics from spec.metrics; {objective.metric} has its own goal"
        yield Problem(field="spec.objective.goal", value=objective.goal, message=message, remedy="Remove it")
    is_own = any(metric.name == objective.metric for metric in spec.metrics)
    if is_own and objective.metric not in METRICS and objective.goal is None:
        message = "is required with a metric from spec.metrics"
        yield Problem(field="spec.objective.goal", value="", message=message, remedy="Add Maximize or Minimize")
    powers = [metric.name for metric in spec.metrics if is_power(metric)]
    if "tokensPerJoule" in (objective.metric, objective.second_metric) and len(powers) != 1:
        yield Problem(
            field="spec.metrics",
            value=", ".join(powers),
            message="the objective tokensPerJoule needs exactly one metric in watts",
            remedy="Remove the others" if powers else "Add for example {name: power, preset: gpuPower}",
        )
    yield from _second_metric(spec)


def _second_metric(spec: StudySpec) -> Iterator[Problem]:
    second, field = spec.objective.second_metric, "spec.objective.secondMetric"
    if second is not None and second == spec.objective.metric:
        remedy = "Use another one, or remove it"
        yield Problem(field=field, value=second, message="is the objective's metric as well", remedy=remedy)
    if second == "secondsPerOutputToken" and spec.engine.name == "simulated":
        message = "is never measured in simulated runs, so no front could be shown"
        yield Problem(field=field, value=second, message=message, remedy="Use throughputPerGPU, or remove it")


def _known(spec: StudySpec, field: str, name: str, built_in: Sequence[str]) -> Iterator[Problem]:
    own = [metric.name for metric in spec.metrics]
    if name in (*built_in, *own):
        return
    choices = ", ".join(f"'{choice}'" for choice in (*built_in, *own))
    close = difflib.get_close_matches(name, (*built_in, *own), n=1)
    remedy = f"Did you mean {close[0]!r}?" if close else f"Use one of {choices}, or add it to spec.metrics"
    yield Problem(field=field, value=f'"{name}"', message="is not a known metric", remedy=remedy)
