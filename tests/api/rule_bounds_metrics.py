"""The bounds of the rules of objectives, constraints and metrics."""

from collections.abc import Iterator, Sequence

from api.bound import SIMULATED, TINY, Bound, table
from api.rule_bounds_pools import POOLS
from infpop_operator.core.extra_metrics import PRESETS
from infpop_operator.core.study import CONSTRAINT_METRICS, METRICS, SECOND_METRICS

CONSTRAINTS = "spec.objective.constraints"
METRIC_LIST = "spec.metrics"
QUERY = {"name": "queue", "query": "sum(queue)", "unit": "count"}
PRICED = {"name": "a100", "pricePerGPUHour": "3.67"}


def _bound(**bounds: str) -> list[dict[str, str]]:
    return [{"metric": "spread", **bounds}]


def _power(*units: str) -> list[dict[str, str]]:
    return [
        {"name": f"metric{number}"} | ({"preset": unit} if unit in PRESETS else {"query": "q", "unit": unit})
        for number, unit in enumerate(units)
    ]


def _objective() -> Iterator[Bound]:
    yield from table("constraint-has-bound", CONSTRAINTS, good=([], _bound(min="1"), _bound(max="1")), bad=(_bound(),))
    yield from table(
        "min-below-max",
        CONSTRAINTS,
        good=(_bound(min="9", max="10"), _bound(min="10", max="10.0"), _bound(min="0", max=TINY)),
        bad=(_bound(min="10.000000001", max="10"), _bound(min="10", max="9"), _bound(min=TINY, max="0")),
    )
    unknown = ("batchSecondsP50", "batchSecondsP95", "gpuMemoryPeakBytes", "secondsPerOutputToken")
    known, others = ("spread", "throughputPerGPU"), ("batchSecondsP50", "batchSecondsP95", "secondsPerOutputToken")
    yield from table(
        "known-when-simulated", CONSTRAINTS, good=_constrained(known), bad=_constrained(unknown), more=SIMULATED
    )
    cpu = {POOLS: [{"name": "gpu"}, {"name": "here", "gpuResource": "cpu"}]}
    yield from table(
        "memory-needs-gpus",
        CONSTRAINTS,
        good=_constrained((*known, *others)),
        bad=_constrained(("gpuMemoryPeakBytes",)),
        more=cpu,
    )
    for rule in ("known-when-simulated", "memory-needs-gpus"):
        yield from table(rule, CONSTRAINTS, good=_constrained(unknown), bad=())
    bare = {"name": "v100"}
    yield from table(
        "cost-needs-prices",
        POOLS,
        good=([PRICED], [PRICED, {**PRICED, "name": "v100"}]),
        bad=([bare], [PRICED, bare], [bare, PRICED]),
        more={"spec.objective.metric": "costPerMillionTokens"},
    )
    yield from table(
        "cost-needs-prices",
        POOLS,
        good=([PRICED],),
        bad=([bare], [PRICED, bare]),
        more={"spec.objective.secondMetric": "costPerMillionTokens"},
    )
    others = tuple(metric for metric in METRICS if metric not in {"costPerMillionTokens", "tokensPerJoule"})
    yield from table("cost-needs-prices", "spec.objective.metric", good=others, bad=())


def _metrics() -> Iterator[Bound]:
    other = {**QUERY, "name": "load"}
    yield from table(
        "unique-metric-names", METRIC_LIST, good=([], [QUERY, other]), bad=([QUERY, QUERY], [QUERY, other, QUERY])
    )
    built_in = tuple([{**QUERY, "name": name}] for name in sorted({*METRICS, *CONSTRAINT_METRICS}))
    yield from table("own-metric-names", METRIC_LIST, good=([QUERY],), bad=built_in)
    neither = {"name": "queue", "unit": "count"}
    preset = {"name": "queue", "preset": "gpuMemory"}
    both = {**preset, "query": "q"}
    yield from table("query-or-preset", METRIC_LIST, good=([QUERY], [preset]), bad=([neither], [both]))
    unitless = {"name": "queue", "query": "q"}
    yield from table("query-has-unit", METRIC_LIST, good=([QUERY], [preset]), bad=([unitless], [other, unitless]))
    yield from table("preset-has-its-own-unit", METRIC_LIST, good=([preset],), bad=([{**preset, "unit": "bytes"}],))
    yield from table(
        "known-placeholders",
        f"{METRIC_LIST}.0.query",
        good=("$namespace", "$pod[$window]", "$", "$1", "a$|b", "${1}"),
        bad=("$Pod", "$pods", "${pod}", "$_a", "$a", "$pod$Z", "${Z"),
        more={METRIC_LIST: [QUERY]},
    )
    yield from table(
        "energy-needs-power",
        METRIC_LIST,
        good=(_power("watts"), _power("gpuPower"), _power("gpuMemory", "gpuPower", "joules")),
        bad=([], _power("joules"), _power("watts", "watts"), _power("watts", "gpuPower"), _power("gpuUtilization")),
        more={"spec.objective.metric": "tokensPerJoule"},
    )
    yield from table(
        "energy-needs-power",
        METRIC_LIST,
        good=(_power("watts"),),
        bad=([], _power("watts", "watts")),
        more={"spec.objective.secondMetric": "tokensPerJoule"},
    )
    priced, second = {POOLS: [PRICED], METRIC_LIST: _power("watts")}, "spec.objective.secondMetric"
    for metric in SECOND_METRICS:
        others = tuple(other for other in SECOND_METRICS if other != metric)
        bad = (metric,) if metric in METRICS else ()
        first = metric if metric in METRICS else "throughput"
        yield from table(
            "two-metrics-differ", second, good=others, bad=bad, more={**priced, "spec.objective.metric": first}
        )
    yield from table(
        "second-metric-when-simulated",
        second,
        good=("throughputPerGPU", "costPerMillionTokens", "tokensPerJoule"),
        bad=("secondsPerOutputToken",),
        more=SIMULATED | priced,
    )


def _named_metrics() -> Iterator[Bound]:
    priced, own = {POOLS: [PRICED]}, {METRIC_LIST: [QUERY, *_power("watts")]}
    only = tuple(sorted({*CONSTRAINT_METRICS} - {*METRICS}))
    yield from table(
        "known-objective", "spec.objective.metric", good=METRICS, bad=("queues", "metric1"), more=priced | own
    )
    goal = {"spec.objective.goal": "Minimize"}
    yield from table("known-objective", "spec.objective.metric", good=("queue",), bad=only, more=own | goal)
    yield from table(
        "known-constraints",
        CONSTRAINTS,
        good=_constrained((*CONSTRAINT_METRICS, "queue", "metric0")),
        bad=_constrained(("throughput", "costPerMillionTokens", "tokensPerJoule", "queues")),
        more=own,
    )
    goals = ("Minimize", "Maximize")
    yield from table(
        "own-metric-needs-goal",
        "spec.objective.goal",
        good=goals,
        bad=(),
        more=own | {"spec.objective.metric": "queue"},
    )
    yield from table(
        "own-metric-needs-goal", "spec.objective.metric", good=METRICS, bad=("queue", "metric0"), more=priced | own
    )
    for metric in METRICS:
        more = priced | own | {"spec.objective.metric": metric}
        yield Bound(rule="goal-is-for-own-metrics", changes=more, holds=True)
        yield from table("goal-is-for-own-metrics", "spec.objective.goal", good=(), bad=goals, more=more)


def _constrained(metrics: Sequence[str]) -> tuple[object, ...]:
    """Return, for each of the metrics, a list of two constraints with that metric in the second."""
    spread = {"metric": "spread", "max": "1"}
    return tuple([spread, {"metric": metric, "max": "1"}] for metric in metrics)


TABLES = (_objective, _metrics, _named_metrics)
