"""For each rule that the API server checks: changes to a valid document that satisfy it, and changes that break it.

The same examples are used twice: in `api/` for the rules in Python, in `cluster/` for the real API server.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Changes = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A change to the valid document of `api.documents`."""

    valid: Changes
    invalid: Changes


def _value(path: str, valid: object, invalid: object) -> Example:
    return Example(valid={path: valid}, invalid={path: invalid})


def _simulated(**simulation: object) -> Changes:
    return {"spec.engine": {"name": "simulated", "simulation": {"formula": {}} | simulation}}


def _formula(**formula: object) -> Changes:
    return _simulated(formula=formula)


_RECORDED = {"path": "/a.csv", "gpuModel": "g", "engine": "e", "model": "m"}
_PRICED = {"name": "a100", "gpuProduct": "A100", "pricePerGPUHour": "3.67"}
_SHARE = {"name": "a100", "gpuProduct": "A100", "resources": {"cpu": 8, "memory": "64Gi"}}
_MANY = [str(value) for value in range(16)]
POD_TEMPLATES = {"engine": "spec.engine.podTemplate", "pool": "spec.nodePools.0.podTemplate"}
_EXTRA = [{"name": "block_size", "values": ["16", "32"]}]
_LIMIT = "max_num_batched_tokens"

_QUERY = {"name": "queueLength", "query": 'sum(queue{pod="$pod"})', "unit": "count"}
_POWER = {"name": "power", "preset": "gpuPower"}


def _metrics(*metrics: object, **objective: object) -> Changes:
    return {"spec.metrics": list(metrics), "spec.objective": objective}


def _query(**changes: object) -> Changes:
    return _metrics({key: value for key, value in (_QUERY | changes).items() if value is not None})


def _publishing(part: str, valid: str, invalid: str) -> Example:
    return _value("spec.publish", *({"configMap": "best", part: {key: "x"}} for key in (valid, invalid)))


def _pods() -> Iterator[tuple[str, Example]]:
    """Yield an example of each rule for the Pod template of the engine, and for that of a pool."""
    for owner, path in POD_TEMPLATES.items():
        container, volume = f"{path}.spec.containers", {"name": "v", "secret": {"secretName": "s"}}
        volumes = {f"{path}.spec.volumes": [volume]}

        def variable(name: str = "NCCL_ALGO", **fields: object) -> list[object]:
            return [{"name": "runner", "env": [{"name": name, **(fields or {"value": "x"})}]}]

        def mounted(mount_path: str, **fields: object) -> list[object]:
            return [{"name": "runner", "volumeMounts": [{"name": "v", "mountPath": mount_path, **fields}]}]

        key = {"secretKeyRef": {"name": "s", "key": "k"}}
        both = key | {"fieldRef": {"fieldPath": "status.podIP"}}
        yield f"{owner}-pod-labels", _value(f"{path}.metadata.labels", {"a.b/c": "x"}, {"a/b/c": "x"})
        yield f"{owner}-reserved-labels", _value(f"{path}.metadata.labels", {"team": "x"}, {"infpop.io/run": "x"})
        yield f"{owner}-pod-annotations", _value(f"{path}.metadata.annotations", {"a.b/c": "x"}, {"a b": "x"})
        yield (
            f"{owner}-reserved-annotations",
            _value(f"{path}.metadata.annotations", {"prometheus.io/scrape": "false"}, {"prometheus.io/port": "1"}),
        )
        yield (
            f"{owner}-reserved-variables",
            _value(container, variable("HTTPS_PROXY"), variable("CUDA_VISIBLE_DEVICES")),
        )
        yield f"{owner}-one-value", _value(container, variable(value=""), variable(value="", valueFrom=key))
        yield f"{owner}-one-value-source", _value(container, variable(valueFrom=key), variable(valueFrom=both))
        yield f"{owner}-reserved-volumes", _value(f"{path}.spec.volumes", [volume], [volume | {"name": "cache"}])
        yield (
            f"{owner}-one-kind-of-volume",
            _value(f"{path}.spec.volumes", [volume], [volume | {"configMap": {"name": "c"}}]),
        )
        for name, valid, invalid in (
            ("reserved-paths", mounted("/etc/a.conf"), mounted("/cache/a")),
            ("paths-in-volumes", mounted("/a", subPath="a..b"), mounted("/a", subPath="a/../b")),
        ):
            yield (
                f"{owner}-{name}",
                Example(valid={**volumes, container: valid}, invalid={**volumes, container: invalid}),
            )


EXAMPLES: Mapping[str, Example] = {
    **dict(_pods()),
    "name-length": _value("metadata.name", "x" * 52, "x" * 53),
    "name-without-dots": _value("metadata.name", "a-b", "a.b"),
    "simulated-needs-simulation": Example(valid=_simulated(), invalid={"spec.engine": {"name": "simulated"}}),
    "simulation-is-for-simulated": Example(valid=_simulated(), invalid={"spec.engine.simulation": {"formula": {}}}),
    "one-landscape": Example(valid=_simulated(), invalid=_simulated(recorded=_RECORDED)),
    "load-time": Example(valid=_simulated(loadTime="60m"), invalid=_simulated(loadTime="1h1s")),
    "repeat-time": Example(valid=_simulated(repeatTime="1h"), invalid=_simulated(repeatTime="3601s")),
    "noise": Example(valid=_simulated(noise="0.5"), invalid=_simulated(noise="0.51")),
    "peak-throughput": Example(valid=_formula(peakThroughput="0.1"), invalid=_formula(peakThroughput="0.0")),
    "falloff": Example(valid=_formula(falloff="0.999999"), invalid=_formula(falloff="1")),
    "gpu-memory-utilization": _value("spec.engine.gpuMemoryUtilization", "1.0", "1.01"),
    "argument-names": _value("spec.engine.args", {"block_size": "16"}, {"--foo; rm -rf": "16"}),
    "placement-arguments": _value("spec.engine.args", {"enable_expert_parallel": "true"}, {"num_nodes": "2"}),
    "pinned-arguments": _value("spec.engine.args", {"block_size": "16"}, {"max_num_seqs": "16"}),
    "one-source": _value(
        "spec.workload.source",
        {"configMap": {"name": "prompts"}},
        {"configMap": {"name": "prompts"}, "builtin": "code-infilling-v1"},
    ),
    "one-data-set": _value(
        "spec.workload.source",
        {"huggingFace": {"dataset": "org/data"}},
        {"huggingFace": {"dataset": "org/data", "preset": "humaneval-infilling-single-line"}},
    ),
    "unique-gpu-counts": _value("spec.searchSpace.gpuCount", [1, 4], [1, 1]),
    "unique-batch-sizes": _value("spec.searchSpace.batchSize", [1, 8, 16], [1, 8, 8]),
    "unique-extra-names": _value(
        "spec.searchSpace.extra", [*_EXTRA, {"name": "swap", "values": ["1"]}], [*_EXTRA, *_EXTRA]
    ),
    "unique-extra-values": _value("spec.searchSpace.extra", _EXTRA, [{"name": "block_size", "values": ["16", "16"]}]),
    "space-size": _value(
        "spec.searchSpace.extra",
        [{"name": name, "values": _MANY} for name in ("a", "b")],
        [{"name": name, "values": _MANY} for name in ("a", "b", "c")],
    ),
    "placement-extra": _value("spec.searchSpace.extra", _EXTRA, [{"name": "sequence_parallel_size", "values": ["1"]}]),
    "pinned-extra": _value("spec.searchSpace.extra", _EXTRA, [{"name": "seed", "values": ["1"]}]),
    "token-limits": _value(
        "spec.searchSpace.extra",
        [{"name": _LIMIT, "values": ["1", "1048576"]}],
        [{"name": _LIMIT, "values": ["8192", "1048577"]}],
    ),
    "step-limit-is-for-vllm": Example(
        valid={"spec.engine.name": "hf-pipeline", "spec.searchSpace.extra": _EXTRA},
        invalid={"spec.engine.name": "hf-pipeline", "spec.searchSpace.extra": [{"name": _LIMIT, "values": ["1"]}]},
    ),
    "extra-or-argument": Example(
        valid={"spec.searchSpace.extra": _EXTRA, "spec.engine.args": {"swap": "1"}},
        invalid={"spec.searchSpace.extra": _EXTRA, "spec.engine.args": {"block_size": "1"}},
    ),
    "number-of-arguments": Example(
        valid={"spec.searchSpace.extra": _EXTRA, "spec.engine.args": {f"a{place}": "1" for place in range(31)}},
        invalid={"spec.searchSpace.extra": _EXTRA, "spec.engine.args": {f"a{place}": "1" for place in range(32)}},
    ),
    "gpu-counts-within-budget": _value("spec.searchSpace.gpuCount", [1, 8], [1, 9]),
    "baseline-is-one-configuration": _value("spec.baseline", {"source": "EngineDefault"}, {"gpuCount": 8}),
    "baseline-within-budget": _value("spec.baseline", {"gpuCount": 8, "batchSize": 1}, {"gpuCount": 9, "batchSize": 1}),
    "parallel-trials": Example(
        valid={"spec.budget": {"parallelTrials": 20}}, invalid={"spec.budget": {"parallelTrials": 21}}
    ),
    "plateau-has-a-rule": _value("spec.budget.plateau", {"trials": 1}, {}),
    "confidence": Example(
        valid={"spec.algorithm": {"name": "landscape"}, "spec.budget": {"plateau": {"confidence": "0.5"}}},
        invalid={"spec.algorithm": {"name": "landscape"}, "spec.budget": {"plateau": {"confidence": "0.49"}}},
    ),
    "confidence-needs-landscape": Example(
        valid={"spec.algorithm": {"name": "landscape"}, "spec.budget": {"plateau": {"confidence": "0.9"}}},
        invalid={"spec.algorithm": {"name": "tpe"}, "spec.budget": {"plateau": {"confidence": "0.9"}}},
    ),
    "gpu-hours": _value("spec.budget.maxGPUHours", "0.5", "0"),
    "deadline": _value("spec.budget.deadline", "1ms", "0s"),
    "constraint-has-bound": _value(
        "spec.objective.constraints", [{"metric": "spread", "max": "0.1"}], [{"metric": "spread"}]
    ),
    "min-below-max": _value(
        "spec.objective.constraints",
        [{"metric": "spread", "min": "9", "max": "10"}],
        [{"metric": "spread", "min": "10", "max": "9"}],
    ),
    "known-when-simulated": Example(
        valid=_simulated() | {"spec.objective.constraints": [{"metric": "spread", "max": "1"}]},
        invalid=_simulated() | {"spec.objective.constraints": [{"metric": "batchSecondsP95", "max": "1"}]},
    ),
    "memory-needs-gpus": Example(
        valid={"spec.objective.constraints": [{"metric": "gpuMemoryPeakBytes", "max": "1"}]},
        invalid={
            "spec.objective.constraints": [{"metric": "gpuMemoryPeakBytes", "max": "1"}],
            "spec.nodePools": [{"name": "here", "gpuResource": "cpu"}],
        },
    ),
    "cost-needs-prices": Example(
        valid={"spec.objective.metric": "costPerMillionTokens", "spec.nodePools": [_PRICED]},
        invalid={
            "spec.objective.metric": "costPerMillionTokens",
            "spec.nodePools": [_PRICED, {"name": "v100", "gpuProduct": "V100"}],
        },
    ),
    "unique-metric-names": Example(
        valid=_metrics(_POWER, _POWER | {"name": "watts"}), invalid=_metrics(_POWER, _QUERY | {"name": "power"})
    ),
    "own-metric-names": Example(valid=_query(name="speed"), invalid=_query(name="tokensPerJoule")),
    "query-or-preset": Example(valid=_query(), invalid=_query(preset="gpuPower", unit=None)),
    "query-has-unit": Example(valid=_query(unit="ratio"), invalid=_query(unit=None)),
    "preset-has-its-own-unit": Example(valid=_metrics(_POWER), invalid=_metrics(_POWER | {"unit": "watts"})),
    "known-placeholders": Example(
        valid=_query(query='sum_over_time(a{namespace="$namespace",pod=~"^$pod$"}[$window]) # label_replace: $1 ${1}'),
        invalid=_query(query='a{pod="$pod_name"}'),
    ),
    "known-objective": Example(
        valid=_metrics(_QUERY, metric="queueLength", goal="Minimize"),
        invalid=_metrics(_QUERY, metric="queueLengths", goal="Minimize"),
    ),
    "known-constraints": Example(
        valid=_metrics(_QUERY, constraints=[{"metric": "queueLength", "max": "8"}, {"metric": "spread", "max": "1"}]),
        invalid=_metrics(_QUERY, constraints=[{"metric": "costPerMillionTokens", "max": "8"}]),
    ),
    "own-metric-needs-goal": Example(
        valid=_metrics(_QUERY, metric="queueLength", goal="Maximize"), invalid=_metrics(_QUERY, metric="queueLength")
    ),
    "goal-is-for-own-metrics": Example(
        valid=_metrics(_QUERY, metric="throughput"), invalid=_metrics(_QUERY, metric="throughput", goal="Maximize")
    ),
    "two-metrics-differ": _value(
        "spec.objective",
        {"secondMetric": "throughputPerGPU"},
        {"metric": "throughputPerGPU", "secondMetric": "throughputPerGPU"},
    ),
    "second-metric-when-simulated": Example(
        valid=_simulated() | {"spec.objective.secondMetric": "throughputPerGPU"},
        invalid=_simulated() | {"spec.objective.secondMetric": "secondsPerOutputToken"},
    ),
    "energy-needs-power": Example(
        valid=_metrics(_QUERY, _POWER, metric="tokensPerJoule"),
        invalid=_metrics(_POWER, _QUERY | {"unit": "watts"}, metric="tokensPerJoule"),
    ),
    "max-spread": _value("spec.measurement.maxSpread", "0.000000001", "0.0"),
    "min-duration": Example(
        valid={"spec.measurement": {"minDuration": "20m", "timeouts": {"measure": "61m"}}},
        invalid={"spec.measurement": {"minDuration": "20m1ms", "timeouts": {"measure": "61m"}}},
    ),
    "timeout-schedule": _value("spec.measurement.timeouts.schedule", "1s", "999ms"),
    "timeout-pull": _value("spec.measurement.timeouts.pull", "1s", "999ms"),
    "timeout-load": _value("spec.measurement.timeouts.load", "1s", "999ms"),
    "longest-schedule": _value("spec.measurement.timeouts.schedule", "720h", "720h1ms"),
    "longest-pull": _value("spec.measurement.timeouts.pull", "720h", "999999h"),
    "longest-load": _value("spec.measurement.timeouts.load", "720h", "43201m"),
    "longest-measure": _value("spec.measurement.timeouts.measure", "720h", "999999h999999m999999s"),
    "timeout-measure": Example(
        valid={"spec.measurement": {"minDuration": "0s", "timeouts": {"measure": "1s"}}},
        invalid={"spec.measurement": {"minDuration": "0s", "timeouts": {"measure": "999ms"}}},
    ),
    "repeats-fit-timeout": Example(
        valid={"spec.measurement": {"minDuration": "10s", "timeouts": {"measure": "30001ms"}}},
        invalid={"spec.measurement": {"minDuration": "10s", "timeouts": {"measure": "30s"}}},
    ),
    "unique-pool-names": _value(
        "spec.nodePools", [_PRICED, _PRICED | {"name": "v100"}], [_PRICED, _PRICED | {"gpuProduct": "V100"}]
    ),
    "price": _value("spec.nodePools.0.pricePerGPUHour", "0.01", "0.00"),
    "simple-gpu-product": _value("spec.nodePools.0.gpuProduct", "^(?:NVIDIA-)A100.*(40|80)GB$", "(A+)+B"),
    "label-keys": _value(
        "spec.nodePools.0.nodeSelector", {"nvidia.com/gpu.product": "A100-SXM4-40GB"}, {"a/b/c; rm -rf /": "x"}
    ),
    "equal-needs-key": _value("spec.nodePools.0.tolerations", [{"operator": "Exists"}], [{"value": "a"}]),
    "exists-has-no-value": _value(
        "spec.nodePools.0.tolerations", [{"key": "k", "value": "v"}], [{"operator": "Exists", "value": "v"}]
    ),
    "seconds-need-no-execute": _value(
        "spec.nodePools.0.tolerations",
        [{"key": "k", "effect": "NoExecute", "tolerationSeconds": 1}],
        [{"key": "k", "effect": "NoSchedule", "tolerationSeconds": 1}],
    ),
    "cpus-beside-gpus": _value(
        "spec.nodePools",
        [{"name": "here", "gpuResource": "cpu", "resources": {"memory": "16Gi"}}, _SHARE],
        [{"name": "here", "gpuResource": "cpu", "resources": {"cpu": 8}}, _SHARE],
    ),
    "scale-from-zero-is-for-gpus": _value(
        "spec.nodePools",
        [{"name": "a", "scaleFromZero": {"gpusPerNode": 1}}],
        [{"name": "a", "gpuResource": "cpu", "scaleFromZero": {"gpusPerNode": 1}}],
    ),
    "nodes-fit-a-run": Example(
        valid={
            "spec.searchSpace.gpuCount": [2, 4],
            "spec.nodePools": [{"name": "a", "scaleFromZero": {"gpusPerNode": 2}}],
        },
        invalid={
            "spec.searchSpace.gpuCount": [2, 4],
            "spec.nodePools": [{"name": "a", "scaleFromZero": {"gpusPerNode": 1}}],
        },
    ),
    "cpus-above-zero": _value("spec.nodePools.0.resources.cpu", "0.001", "0.0"),
    "memory-of-a-run": _value("spec.nodePools.0.resources.memory", "64Ti", "64"),
    "published-labels": _publishing("labels", "reconcile.fluxcd.io/watch", "a/b/c"),
    "own-labels": _publishing("labels", "app.kubernetes.io/part-of", "app.kubernetes.io/managed-by"),
    "published-annotations": _publishing("annotations", "reloader.stakater.com/match", "not a key"),
    "own-annotations": _publishing("annotations", "example.org/publication", "infpop.io/publication"),
}
