"""For each rule with a bound or a list of names: documents at, below and above it, and whether they are valid."""

from collections.abc import Iterator

from api import rule_bounds_metrics, rule_bounds_pod_template, rule_bounds_pools, whole_studies
from api.bound import SIMULATED, SIMULATION, TINY, Bound, table
from api.rule_examples import Changes
from api.whole_studies import LANDSCAPES
from infpop_runner.contract import PINNED_ARGUMENTS

KNOWS = {"spec.algorithm.name": "landscape"}
PLACEMENT = (
    "data_parallel_rank",
    "sequence_parallel_size",
    "num_nodes",
    "worker_use_ray",
    "ray_x",
    "ep_size",
    "local_rank",
)
NOT_PLACEMENT = (
    "block_size",
    "enable_expert_parallel",
    "max_parallel_loading_workers",
    "array",
    "renderer_num_workers",
)
TIMEOUTS = "spec.measurement.timeouts"
EXTRA = "spec.searchSpace.extra"
LIMIT = "max_num_batched_tokens"
RECORDED = LANDSCAPES["recorded"]["recorded"]
SOURCES = {kind: source for each in whole_studies.SOURCES.values() for kind, source in each.items()}
PRESET = "humaneval-infilling-single-line"


def _values(*sizes: int) -> list[dict[str, object]]:
    """Return that many values to search over, for each of the arguments a, b, ..."""
    return [
        {"name": name, "values": [str(value) for value in range(size)]}
        for name, size in zip("abcd", sizes, strict=False)
    ]


def _space(gpus: int, batches: int, *extra: int) -> Changes:
    return {
        "spec.budget.maxConcurrentGPUs": gpus,
        "spec.searchSpace.gpuCount": list(range(1, gpus + 1)),
        "spec.searchSpace.batchSize": list(range(1, batches + 1)),
        EXTRA: _values(*extra),
    }


def _arguments(arguments: int, extra: int) -> Changes:
    return {"spec.engine.args": {f"z{number}": "1" for number in range(arguments)}, EXTRA: _values(*(1,) * extra)}


def _engine() -> Iterator[Bound]:
    yield from table("simulated-needs-simulation", "spec.engine.name", good=("vllm", "hf-pipeline"), bad=("simulated",))
    yield from table(
        "simulation-is-for-simulated",
        "spec.engine.name",
        good=("simulated",),
        bad=("vllm", "hf-pipeline"),
        more={SIMULATION: {"formula": {}}},
    )
    yield from table(
        "one-landscape",
        SIMULATION,
        good=({"formula": {}}, {"recorded": RECORDED}),
        bad=({}, {"formula": {}, "recorded": RECORDED}),
        more={"spec.engine.name": "simulated"},
    )
    for rule, field in (("load-time", "loadTime"), ("repeat-time", "repeatTime")):
        good = ("0s", "59m59s999ms", "60m", "1h", "3600s")
        yield from table(rule, f"{SIMULATION}.{field}", good=good, bad=("1h1ms", "3601s", "60m1s"), more=SIMULATED)
    yield from table(
        "noise", f"{SIMULATION}.noise", good=("0", "0.499999999", "0.5"), bad=("0.500000001", "1"), more=SIMULATED
    )
    yield from table(
        "peak-throughput", f"{SIMULATION}.formula.peakThroughput", good=(TINY, "1"), bad=("0", "0.0"), more=SIMULATED
    )
    yield from table(
        "falloff",
        f"{SIMULATION}.formula.falloff",
        good=(TINY, "0.999998999", "0.999999"),
        bad=("0", "0.999999001", "1"),
        more=SIMULATED,
    )
    yield from table(
        "gpu-memory-utilization",
        "spec.engine.gpuMemoryUtilization",
        good=(TINY, "0.999999999", "1", "1.0"),
        bad=("0", "0.0", "1.000000001", "2"),
    )


def _names() -> Iterator[Bound]:
    yield from table("name-length", "metadata.name", good=("x", "x" * 51, "x" * 52), bad=("x" * 53,))
    yield from table("name-without-dots", "metadata.name", good=("a", "a-b"), bad=("a.b",))
    yield from table(
        "argument-names",
        "spec.engine.args",
        good=({"x" * 63: "1"}, {"x" * 64: "1"}, {"a_1": "1"}, {}),
        bad=({"x" * 65: "1"}, {"_a": "1"}, {"1a": "1"}, {"A": "1"}, {"a-b": "1"}, {"a": "1", "b.c": "1"}),
    )
    pinned = tuple({"block_size": "1", name: "1"} for name in sorted(PINNED_ARGUMENTS))
    yield from table("pinned-arguments", "spec.engine.args", good=({"block_size": "1"},), bad=pinned)
    yield from table(
        "placement-arguments",
        "spec.engine.args",
        good=tuple({name: "1"} for name in NOT_PLACEMENT),
        bad=tuple({"block_size": "1", name: "1"} for name in PLACEMENT),
    )
    labels = ("a" * 63, "a", "A_b.c-d", "example.org/a")
    no_labels = ("", "-a", "a/b/c", "Example/a", "a..b/c", "/a", "b" * 64, f"{'a' * 254}/b")
    yield from table(
        "label-keys",
        f"{rule_bounds_pools.POOL}.nodeSelector",
        good=tuple({key: "x"} for key in labels),
        bad=tuple({key: "x"} for key in no_labels),
    )


def _publish() -> Iterator[Bound]:
    for part in ("labels", "annotations"):
        field = f"spec.publish.{part}"
        more = {"spec.publish": {"configMap": "best"}}
        good = tuple({key: "x"} for key in ("a", "example.org/a", "infpop.io.example.org/a", "a.infpop.io/a"))
        own = tuple({"a": "x", key: "x"} for key in ("infpop.io/study", "app.kubernetes.io/managed-by"))
        yield from table(f"own-{part}", field, good=good, bad=own, more=more)
        bad = tuple({key: "x"} for key in ("", "-a", "a/b/c", "/a", "b" * 64, f"{'a' * 254}/b"))
        yield from table(f"published-{part}", field, good=good, bad=bad, more=more)


def _workload() -> Iterator[Bound]:
    one = tuple({name: source} for name, source in SOURCES.items())
    two = tuple({"file": SOURCES["file"], name: source} for name, source in SOURCES.items() if name != "file")
    yield from table("one-source", "spec.workload.source", good=one, bad=({}, *two, SOURCES))
    yield from table(
        "one-data-set",
        "spec.workload.source",
        good=({"huggingFace": {"dataset": "d"}}, {"huggingFace": {"preset": PRESET}}),
        bad=({"huggingFace": {}}, {"huggingFace": {"dataset": "d", "preset": PRESET}}),
    )


def _search_space() -> Iterator[Bound]:
    yield from table("unique-gpu-counts", "spec.searchSpace.gpuCount", good=([1], [2, 1]), bad=([2, 2], [1, 2, 1]))
    yield from table("unique-batch-sizes", "spec.searchSpace.batchSize", good=([1], [2, 1]), bad=([2, 2], [1, 2, 1]))
    a, b = _values(1, 2)
    yield from table("unique-extra-names", EXTRA, good=([], [a], [a, b]), bad=([a, a], [a, b, {**a, "values": ["9"]}]))
    yield from table(
        "unique-extra-values",
        EXTRA,
        good=([{"name": "a", "values": ["1", "2"]}],),
        bad=([{"name": "a", "values": ["1", "2", "1"]}], [b, {"name": "a", "values": ["x", "x"]}]),
    )
    for good in ((20, 25), (32, 62), (25, 40, 2), (5, 5, 2, 2, 4, 5)):  # 2,000 configurations, and 1,984
        yield Bound(rule="space-size", changes=_space(*good), holds=True)
    for bad in ((29, 23, 3), (32, 64), (5, 5, 3, 3, 3, 3), (20, 26, 4)):  # 2,001 configurations, and a few more
        yield Bound(rule="space-size", changes=_space(*bad), holds=False)


def _searched_arguments() -> Iterator[Bound]:
    pinned = tuple([{"name": name, "values": ["1"]}] for name in sorted(PINNED_ARGUMENTS - {LIMIT}))
    free = ([{"name": "block_size", "values": ["1"]}], [{"name": LIMIT, "values": ["1"]}])
    yield from table("pinned-extra", EXTRA, good=free, bad=pinned)
    yield from table(
        "placement-extra",
        EXTRA,
        good=tuple([{"name": name, "values": ["1"]}] for name in NOT_PLACEMENT),
        bad=tuple([{"name": name, "values": ["1"]}] for name in PLACEMENT),
    )
    yield from table(
        "token-limits",
        EXTRA,
        good=tuple([{"name": LIMIT, "values": ["8192", text]}] for text in ("1", "2", "1048575", "1048576")),
        bad=tuple([{"name": LIMIT, "values": ["8192", text]}] for text in ("0", "-1", "1048577", "1.0", "true", "x")),
    )
    limit = [{"name": "a", "values": ["1"]}, {"name": LIMIT, "values": ["1"]}]
    yield from table(
        "step-limit-is-for-vllm", "spec.engine.name", good=("vllm",), bad=("hf-pipeline",), more={EXTRA: limit}
    )
    yield from table(
        "extra-or-argument",
        "spec.engine.args",
        good=({}, {"c": "1"}),
        bad=({"a": "1"}, {"b": "1"}, {"c": "1", "b": "2"}),
        more={EXTRA: _values(1, 1)},
    )
    for arguments, extra in ((31, 1), (32, 0), (28, 4), (0, 4)):
        yield Bound(rule="number-of-arguments", changes=_arguments(arguments, extra), holds=True)
    for arguments, extra in ((32, 1), (31, 2), (29, 4)):
        yield Bound(rule="number-of-arguments", changes=_arguments(arguments, extra), holds=False)


def _budget() -> Iterator[Bound]:
    for most, more in ((8, {}), (4, {"spec.budget.maxConcurrentGPUs": 4})):
        yield from table(
            "gpu-counts-within-budget",
            "spec.searchSpace.gpuCount",
            good=([most - 1], [most, 1]),
            bad=([1, most + 1], [most + 1, 1]),
            more=more,
        )
        counts = [{"gpuCount": most + beyond, "batchSize": 9} for beyond in (-1, 0, 1)]
        yield from table(
            "baseline-within-budget", "spec.baseline", good=tuple(counts[:2]), bad=tuple(counts[2:]), more=more
        )
    whole = {"gpuCount": 1, "batchSize": 1}
    yield from table(
        "baseline-is-one-configuration",
        "spec.baseline",
        good=(whole, {"source": "EngineDefault"}),
        bad=({}, {"gpuCount": 1}, {"batchSize": 1}, whole | {"source": "EngineDefault"}),
    )
    yield from table(
        "plateau-has-a-rule",
        "spec.budget.plateau",
        good=({"trials": 1}, {"confidence": "0.9"}, {"trials": 1, "confidence": "0.9"}),
        bad=({}, {"improvementPercent": "1"}),
        more=KNOWS,
    )
    yield from table(
        "confidence",
        "spec.budget.plateau",
        good=({"confidence": "0.5"}, {"confidence": "0.999"}),
        bad=tuple({"confidence": text} for text in ("0", "0.499999999", "0.999000001", "1", "90")),
        more=KNOWS,
    )
    yield from table(
        "confidence-needs-landscape",
        "spec.algorithm.name",
        good=("landscape",),
        bad=("tpe", "anneal", "random", "grid"),
        more={"spec.budget.plateau": {"confidence": "0.9"}},
    )
    yield from table("parallel-trials", "spec.budget.parallelTrials", good=(19, 20), bad=(21,))
    yield from table("parallel-trials", "spec.budget.maxTrials", good=(6, 5), bad=(4,), more={
        "spec.budget.parallelTrials": 5
    })  # fmt: skip
    yield from table("gpu-hours", "spec.budget.maxGPUHours", good=(TINY, "1"), bad=("0", "0.0"))
    yield from table("deadline", "spec.budget.deadline", good=("1ms", "1s"), bad=("0s", "0h0m"))


def _measurement() -> Iterator[Bound]:
    yield from table(
        "max-spread", "spec.measurement.maxSpread", good=(TINY, "1", "10"), bad=("0", "0.0", "10.000000001", "25")
    )
    yield from table(
        "min-duration",
        "spec.measurement.minDuration",
        good=("0s", "19m59s999ms", "20m", "1200s"),
        bad=("20m1ms", "1201s", "1h"),
        more={f"{TIMEOUTS}.measure": "720h"},
    )
    for phase in ("schedule", "pull", "load", "measure"):
        yield from table(
            f"timeout-{phase}",
            f"{TIMEOUTS}.{phase}",
            good=("1s", "1000ms", "1s1ms", "1h"),
            bad=("0s", "999ms"),
            more={"spec.measurement.minDuration": "0s"},
        )
        yield from table(
            f"longest-{phase}",
            f"{TIMEOUTS}.{phase}",
            good=("720h", "719h59m59s999ms", "43200m"),
            bad=("720h1ms", "721h", "999999h", "999999h999999m999999s999999ms"),
        )
    for repeats, most in ((3, 30), (7, 70)):
        yield from table(
            "repeats-fit-timeout",
            f"{TIMEOUTS}.measure",
            good=(f"{most}s1ms", f"{most + 1}s"),
            bad=(f"{most}s", f"{most - 1}s"),
            more={"spec.measurement.repeats": repeats},
        )


_TABLES = (
    _engine, _names, _workload, _search_space, _searched_arguments, _budget, *rule_bounds_metrics.TABLES,
    _measurement, *rule_bounds_pools.TABLES, *rule_bounds_pod_template.TABLES, _publish,
)  # fmt: skip
BOUNDS: tuple[Bound, ...] = tuple(bound for bounds in _TABLES for bound in bounds())
