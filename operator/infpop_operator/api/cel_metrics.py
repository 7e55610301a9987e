"""The rules of `api.rules_metrics` that the API server can check, in CEL."""

from infpop_operator.api.cel_rule import Rule, listed, unique
from infpop_operator.api.rules_metrics import BUILT_IN, KNOWN_PLACEHOLDERS, PLACEHOLDER_PATTERN, POWER_PRESETS
from infpop_operator.core.study import CONSTRAINT_METRICS, METRICS

_IS_OWN = f"!(self.metric in {listed(METRICS)})"
_IS_POWER = f"(has(x.unit) && x.unit == 'watts') || (has(x.preset) && x.preset in {listed(POWER_PRESETS)})"

METRIC_RULES = (
    unique("unique-metric-names", "spec.metrics", key=".name"),
    Rule(
        name="own-metric-names",
        path="spec.metrics[].name",
        rule=f"!(self in {listed(BUILT_IN)})",
        message="is the name of a built-in metric. Use another name",
    ),
    Rule(
        name="query-or-preset",
        path="spec.metrics[]",
        rule="has(self.query) != has(self.preset)",
        message="needs exactly one query. Give exactly one of query and preset",
    ),
    Rule(
        name="query-has-unit",
        path="spec.metrics[]",
        rule="!has(self.query) || has(self.unit)",
        message="is required with a query. Add the unit of the query's number",
        field="unit",
    ),
    Rule(
        name="preset-has-its-own-unit",
        path="spec.metrics[]",
        rule="!has(self.preset) || !has(self.unit)",
        message="a preset has its own unit. Remove it",
        field="unit",
    ),
    Rule(
        name="known-placeholders",
        path="spec.metrics[].query",
        rule=f"self.findAll('{PLACEHOLDER_PATTERN}').all(text, text in {listed(KNOWN_PLACEHOLDERS)})",
        message="has an unknown placeholder. Use $namespace, $pod and $window",
    ),
    Rule(
        name="known-objective",
        path="spec",
        rule=f"self.objective.metric in {listed(METRICS)} || self.metrics.exists(x, x.name == self.objective.metric)",
        message=f"is not a known metric. Use {', '.join(METRICS)} or a name from spec.metrics",
        field="objective.metric",
    ),
    Rule(
        name="known-constraints",
        path="spec",
        rule=f"self.objective.constraints.all(bound, bound.metric in {listed(CONSTRAINT_METRICS)} || "
        "self.metrics.exists(x, x.name == bound.metric))",
        message=f"has an unknown metric. Use {', '.join(CONSTRAINT_METRICS)} or a name from spec.metrics",
        field="objective.constraints",
    ),
    Rule(
        name="own-metric-needs-goal",
        path="spec.objective",
        rule=f"has(self.goal) || !({_IS_OWN})",
        message="is required with a metric from spec.metrics. Add Maximize or Minimize",
        field="goal",
    ),
    Rule(
        name="goal-is-for-own-metrics",
        path="spec.objective",
        rule=f"!has(self.goal) || {_IS_OWN}",
        message="applies only to metrics from spec.metrics; built-in ones have their own goal. Remove it",
        field="goal",
    ),
    Rule(
        name="two-metrics-differ",
        path="spec.objective",
        rule="!has(self.secondMetric) || self.secondMetric != self.metric",
        message="is the objective's metric as well. Use another one, or remove it",
        field="secondMetric",
    ),
    Rule(
        name="second-metric-when-simulated",
        path="spec",
        rule="self.engine.name != 'simulated' || !has(self.objective.secondMetric)"
        " || self.objective.secondMetric != 'secondsPerOutputToken'",
        message="is never measured in simulated runs, so no front could be shown. Use throughputPerGPU, or remove it",
        field="objective.secondMetric",
    ),
    Rule(
        name="energy-needs-power",
        path="spec",
        rule="(self.objective.metric != 'tokensPerJoule' && (!has(self.objective.secondMetric)"
        " || self.objective.secondMetric != 'tokensPerJoule'))"
        f" || self.metrics.filter(x, {_IS_POWER}).size() == 1",
        message="the objective tokensPerJoule needs exactly one metric in watts. "
        "Add for example {name: power, preset: gpuPower}",
        field="metrics",
    ),
)
