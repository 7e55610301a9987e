"""The rules of `api.rules` that the API server can check, in the Common Expression Language (CEL).

With them `kubectl apply` reports a mistake immediately, without waiting for the operator. The operator checks the same
rules again in Python, because a cluster may have an older CRD. The API server fills in defaults before it evaluates a
rule; a field without a default needs `has()`. The cost of a rule depends on the bounds in the schema. Messages are
fixed texts, because a message that names the value would exceed the API server's cost limit.

Every message ends with a remedy. Only Python can check whether `gpuProduct` is a regular expression, and whether two
strings in `extra[].values` are the same number.
"""

from collections.abc import Iterator

from infpop_operator.api.cel_metrics import METRIC_RULES
from infpop_operator.api.cel_pod_template import POD_TEMPLATE_RULES
from infpop_operator.api.cel_pools import POOL_RULES
from infpop_operator.api.cel_rule import LABEL_KEYS, Rule, above_zero, at_most, listed, unique
from infpop_operator.api.fields import ARGUMENT_PATTERN
from infpop_operator.api.rules import LEAST_CONFIDENCE, MOST_CONFIDENCE, NOT_SIMULATED
from infpop_operator.api.rules_publish import OWN_KEY, OWN_PREFIX
from infpop_operator.api.spec import LARGEST_SPREAD, LONGEST_TIMEOUT
from infpop_operator.api.spec_engine import MOST_BATCHED_TOKENS
from infpop_operator.core.run_spec import SEARCHED_FIELD
from infpop_runner.contract import MOST_ENGINE_ARGUMENTS, PINNED_ARGUMENTS, PLACEMENT_PATTERN, SAME_DEVICES


def rules_by_path() -> dict[str, list[Rule]]:
    """Return all rules, grouped by the path that they validate."""
    found: dict[str, list[Rule]] = {}
    for rule in RULES:
        found.setdefault(rule.path, []).append(rule)
    return found


def _publish() -> Iterator[Rule]:
    for part in ("labels", "annotations"):
        yield Rule(
            name=f"published-{part}",
            path=f"spec.publish.{part}",
            rule=LABEL_KEYS,
            message=f"has a key that no object can have. Use for example reconcile.fluxcd.io/{part}",
        )
        yield Rule(
            name=f"own-{part}",
            path=f"spec.publish.{part}",
            rule=f"self.all(key, !key.startsWith('{OWN_PREFIX}') && key != '{OWN_KEY}')",
            message="has a key by which the operator recognises its ConfigMaps. Use a key of another domain",
        )


def _timeouts() -> Iterator[Rule]:
    for phase in ("schedule", "pull", "load", "measure"):
        yield Rule(
            name=f"timeout-{phase}",
            path=f"spec.measurement.timeouts.{phase}",
            rule="duration(self) >= duration('1s')",
            message='is shorter than a second. Use "1s" or more',
        )
        yield at_most(f"longest-{phase}", f"spec.measurement.timeouts.{phase}", LONGEST_TIMEOUT)


_OBJECT = (
    Rule(
        name="name-length",
        path="",
        rule="size(self.metadata.name) <= 52",
        message="metadata.name is too long: runs are named after it. Use at most 52 characters",
    ),
    Rule(
        name="name-without-dots",
        path="",
        rule="!self.metadata.name.contains('.')",
        message="metadata.name has a dot. Use lower-case letters, digits and dashes",
    ),
)
_ENGINE = (
    Rule(
        name="simulated-needs-simulation",
        path="spec.engine",
        rule="self.name != 'simulated' || has(self.simulation)",
        message="the simulated engine needs simulation. Add simulation: {formula: {}} or simulation: {recorded: {...}}",
    ),
    Rule(
        name="simulation-is-for-simulated",
        path="spec.engine",
        rule="self.name == 'simulated' || !has(self.simulation)",
        message="applies only to the simulated engine. Remove it",
        field="simulation",
    ),
    Rule(
        name="one-landscape",
        path="spec.engine.simulation",
        rule="has(self.recorded) != has(self.formula)",
        message="needs exactly one landscape. Give exactly one of recorded and formula",
    ),
    at_most("load-time", "spec.engine.simulation.loadTime", "60m"),
    at_most("repeat-time", "spec.engine.simulation.repeatTime", "60m"),
    Rule(
        name="noise",
        path="spec.engine.simulation.noise",
        rule="double(self) <= 0.5",
        message='must be at most 0.5. Use for example "0.02"',
    ),
    above_zero("peak-throughput", "spec.engine.simulation.formula.peakThroughput"),
    Rule(
        name="falloff",
        path="spec.engine.simulation.formula.falloff",
        rule="double(self) > 0.0 && double(self) <= 0.999999",
        message='must be above 0 and below 1. Use for example "0.25"',
    ),
    Rule(
        name="gpu-memory-utilization",
        path="spec.engine.gpuMemoryUtilization",
        rule="double(self) > 0.0 && double(self) <= 1.0",
        message='must be above 0 and at most 1. Use for example "0.85"',
    ),
    Rule(
        name="argument-names",
        path="spec.engine.args",
        rule=f"self.all(key, size(key) <= 64 && key.matches('{ARGUMENT_PATTERN}'))",
        message="has a key that is not an argument name. Use the engine's Python names, for example block_size",
    ),
    Rule(
        name="pinned-arguments",
        path="spec.engine.args",
        rule=f"self.all(key, !(key in {listed(PINNED_ARGUMENTS)}))",
        message="has an argument that InfPop sets. Remove it and use the field of the study for it",
    ),
    Rule(
        name="placement-arguments",
        path="spec.engine.args",
        rule=f"self.all(key, key in {listed(SAME_DEVICES)} || !key.matches('{PLACEMENT_PATTERN}'))",
        message="has an argument that changes how many GPUs a run uses or where it runs. "
        "Remove it and set spec.searchSpace.gpuCount",
    ),
)
_WORKLOAD = (
    Rule(
        name="one-source",
        path="spec.workload.source",
        rule="[has(self.builtin), has(self.file), has(self.configMap), has(self.huggingFace), has(self.synthetic)]"
        ".filter(given, given).size() == 1",
        message="needs exactly one source. Give exactly one of builtin, file, configMap, huggingFace, synthetic",
    ),
    Rule(
        name="one-data-set",
        path="spec.workload.source.huggingFace",
        rule="has(self.preset) != has(self.dataset)",
        message="needs exactly one dataset. Give exactly one of preset and dataset",
    ),
)
_VALUES = " * ".join(
    ["size(self.gpuCount) * size(self.batchSize)"]
    + [f"(size(self.extra) > {place} ? size(self.extra[{place}].values) : 1)" for place in range(4)]
)
_SPACE = (
    unique("unique-gpu-counts", "spec.searchSpace.gpuCount"),
    unique("unique-batch-sizes", "spec.searchSpace.batchSize"),
    unique("unique-extra-names", "spec.searchSpace.extra", key=".name"),
    unique("unique-extra-values", "spec.searchSpace.extra[].values"),
    Rule(
        name="space-size",
        path="spec.searchSpace",
        rule=f"{_VALUES} <= 2000",
        message="has more than 2,000 configurations. Use fewer values; doubling ones (1, 2, 4, ...) lose little",
    ),
    Rule(
        name="pinned-extra",
        path="spec.searchSpace.extra[].name",
        rule=f"!(self in {listed(PINNED_ARGUMENTS - {SEARCHED_FIELD})})",
        message="is set by InfPop. Remove it and use the field of the study for it",
    ),
    Rule(
        name="placement-extra",
        path="spec.searchSpace.extra[].name",
        rule=f"self in {listed(SAME_DEVICES)} || !self.matches('{PLACEMENT_PATTERN}')",
        message="changes how many GPUs a run uses or where it runs. Remove it and set spec.searchSpace.gpuCount",
    ),
    Rule(
        name="token-limits",
        path="spec.searchSpace.extra[]",
        rule=f"self.name != '{SEARCHED_FIELD}' || self.values.all(text, text.matches('^[0-9]{{1,7}}$') && "
        f"int(text) >= 1 && int(text) <= {MOST_BATCHED_TOKENS})",
        message=f'{SEARCHED_FIELD} takes whole numbers from 1 to {MOST_BATCHED_TOKENS:,}. Use for example "8192"',
        field="values",
    ),
    Rule(
        name="step-limit-is-for-vllm",
        path="spec",
        rule=f"self.engine.name != 'hf-pipeline' || self.searchSpace.extra.all(x, x.name != '{SEARCHED_FIELD}')",
        message=f"hf-pipeline does not support {SEARCHED_FIELD}. Remove it",
        field="searchSpace.extra",
    ),
    Rule(
        name="extra-or-argument",
        path="spec",
        rule="self.searchSpace.extra.all(x, !(x.name in self.engine.args))",
        message="has an argument that is also set in spec.engine.args. Remove one of the two",
        field="searchSpace.extra",
    ),
    Rule(
        name="number-of-arguments",
        path="spec",
        rule=f"size(self.engine.args) + size(self.searchSpace.extra) <= {MOST_ENGINE_ARGUMENTS}",
        message=f"has more than {MOST_ENGINE_ARGUMENTS} arguments, counting spec.searchSpace.extra. Remove some",
        field="engine.args",
    ),
)
_BUDGET = (
    Rule(
        name="gpu-counts-within-budget",
        path="spec",
        rule="self.searchSpace.gpuCount.all(count, count <= self.budget.maxConcurrentGPUs)",
        message="has a GPU count above spec.budget.maxConcurrentGPUs. Remove it or raise the budget",
        field="searchSpace.gpuCount",
    ),
    Rule(
        name="baseline-is-one-configuration",
        path="spec.baseline",
        rule="has(self.gpuCount) == has(self.batchSize) && has(self.gpuCount) != has(self.source)",
        message="is neither one configuration nor the engine's default. Give gpuCount and batchSize, or only source",
    ),
    Rule(
        name="baseline-within-budget",
        path="spec",
        rule="!has(self.baseline) || !has(self.baseline.gpuCount)"
        " || self.baseline.gpuCount <= self.budget.maxConcurrentGPUs",
        message="is more than spec.budget.maxConcurrentGPUs ever allows. Remove the baseline or raise the budget",
        field="baseline.gpuCount",
    ),
    Rule(
        name="parallel-trials",
        path="spec.budget",
        rule="self.parallelTrials <= self.maxTrials",
        message="is more than maxTrials. Use maxTrials or less",
        field="parallelTrials",
    ),
    above_zero("gpu-hours", "spec.budget.maxGPUHours"),
    Rule(
        name="plateau-has-a-rule",
        path="spec.budget.plateau",
        rule="has(self.trials) || has(self.confidence)",
        message="has no rule to stop by. Give trials or confidence, or both, or remove plateau",
    ),
    Rule(
        name="confidence",
        path="spec.budget.plateau.confidence",
        rule=f"double(self) >= {LEAST_CONFIDENCE} && double(self) <= {MOST_CONFIDENCE}",
        message=f'must be from {LEAST_CONFIDENCE:g} to {MOST_CONFIDENCE:g}. Use for example "0.9"',
    ),
    Rule(
        name="confidence-needs-landscape",
        path="spec",
        rule="self.algorithm.name == 'landscape' || !has(self.budget.plateau) || !has(self.budget.plateau.confidence)",
        message="only the algorithm landscape can say how sure it is. Use it, or plateau.trials instead",
        field="budget.plateau.confidence",
    ),
    Rule(
        name="deadline",
        path="spec.budget.deadline",
        rule="duration(self) > duration('0s')",
        message="must be above 0. Remove it",
    ),
)
_OBJECTIVE = (
    Rule(
        name="constraint-has-bound",
        path="spec.objective.constraints[]",
        rule="has(self.max) || has(self.min)",
        message="has no bound. Give max, min or both",
    ),
    Rule(
        name="min-below-max",
        path="spec.objective.constraints[]",
        rule="!has(self.max) || !has(self.min) || double(self.min) <= double(self.max)",
        message="min is above max. Swap them",
    ),
    Rule(
        name="known-when-simulated",
        path="spec",
        rule="self.engine.name != 'simulated' || self.objective.constraints.all("
        f"x, !(x.metric in {listed(NOT_SIMULATED)}))",
        message="has a metric that is never measured in simulated runs, so nothing could be recommended. Remove it",
        field="objective.constraints",
    ),
    Rule(
        name="memory-needs-gpus",
        path="spec",
        rule="self.objective.constraints.all(x, x.metric != 'gpuMemoryPeakBytes') "
        "|| self.nodePools.all(pool, pool.gpuResource != 'cpu')",
        message="gpuMemoryPeakBytes is never measured on a pool without GPUs, so nothing could be recommended. "
        "Remove it",
        field="objective.constraints",
    ),
    Rule(
        name="cost-needs-prices",
        path="spec",
        rule="(self.objective.metric != 'costPerMillionTokens' && (!has(self.objective.secondMetric)"
        " || self.objective.secondMetric != 'costPerMillionTokens'))"
        " || self.nodePools.all(pool, has(pool.pricePerGPUHour))",
        message="the objective costPerMillionTokens needs pricePerGPUHour of every pool. "
        'Add what one GPU costs an hour, for example "3.67"',
        field="nodePools",
    ),
)
_MEASUREMENT = (
    Rule(
        name="max-spread",
        path="spec.measurement.maxSpread",
        rule=f"double(self) > 0.0 && double(self) <= {LARGEST_SPREAD:.1f}",
        message=f'must be above 0 and at most {LARGEST_SPREAD:g}, where 1 is 100 %. Use for example "0.25"',
    ),
    at_most("min-duration", "spec.measurement.minDuration", "20m"),
    *_timeouts(),
    Rule(
        name="repeats-fit-timeout",
        path="spec.measurement",
        rule="self.repeats * duration(self.minDuration).getMilliseconds() < "
        "duration(self.timeouts.measure).getMilliseconds()",
        message="is too short for all repeats of minDuration. Use a longer timeout, or fewer or shorter repeats",
        field="timeouts.measure",
    ),
)
RULES: tuple[Rule, ...] = (
    *_OBJECT,
    *_ENGINE,
    *_WORKLOAD,
    *_SPACE,
    *_BUDGET,
    *_OBJECTIVE,
    *METRIC_RULES,
    *_MEASUREMENT,
    *POOL_RULES,
    *POD_TEMPLATE_RULES,
    *_publish(),
)
