"""Studies in which every field has a distinct, non-default value.

A prompt source and a landscape have alternatives: `WHOLE` has one of each, the others are changes to it.
"""

from typing import Any

from api import whole_pod_templates
from api.documents import Document, changed_of
from factories.studies import make_pool
from infpop_operator.api.convert import to_study
from infpop_operator.api.spec import ThroughputStudy
from infpop_operator.core.study import Study
from infpop_runner.contract import ModelFacts

WHOLE: Document = {
    "apiVersion": "infpop.io/v1alpha1",
    "kind": "ThroughputStudy",
    "metadata": {"name": "tune-codegen", "namespace": "serving"},
    "spec": {
        "model": {
            "name": "org/codegen",
            "revision": "model-revision",
            "dtype": "float16",
            "loadFormat": "dummy",
            "tokenSecretRef": {"name": "hub-secret", "key": "hub-key"},
            "cacheClaim": "model-cache",
        },
        "engine": {
            "name": "vllm",
            "image": "example.org/engine:1",
            "imagePullSecrets": [{"name": "pull-one"}, {"name": "pull-two"}],
            "gpuMemoryUtilization": "0.71",
            "maxNumBatchedTokens": 4097,
            "enforceEager": True,
            "args": {"block_size": "48", "swap_space": "2.5", "enable_lora": "true", "kv_cache_dtype": "fp8"},
            "podTemplate": whole_pod_templates.ENGINE,
        },
        "workload": {
            "source": {
                "huggingFace": {
                    "dataset": "org/prompts",
                    "config": "source-config",
                    "split": "source-split",
                    "field": "source-field",
                    "revision": "source-revision",
                }
            },
            "samples": 77,
            "maxNewTokens": 33,
        },
        "searchSpace": {
            "gpuCount": [9, 2, 5],
            "batchSize": [96, 3, 24],
            "extra": [
                {"name": "long_prefill", "values": ["7", "true", "0.625"]},
                {"name": "attention", "values": ["text", "false"]},
            ],
        },
        "objective": {
            "metric": "queue",
            "goal": "Minimize",
            "secondMetric": "throughputPerGPU",
            "constraints": [
                {"metric": "spread", "max": "0.4", "min": "0.1"},
                {"metric": "batchSecondsP95", "max": "57"},
                {"metric": "power", "min": "11.5"},
            ],
        },
        "algorithm": {"name": "landscape", "seed": 1234, "trialsPerRun": 6},
        "budget": {
            "maxTrials": 41,
            "parallelTrials": 14,
            "maxConcurrentGPUs": 43,
            "maxFailedTrials": 12,
            "maxGPUHours": "15.5",
            "deadline": "1h2m3s4ms",
            "plateau": {"trials": 13, "improvementPercent": "2.5", "confidence": "0.85"},
            "confirm": False,
        },
        "measurement": {
            "mode": "Full",
            "warmupBatches": 17,
            "repeats": 10,
            "minDuration": "16s",
            "maxSpread": "0.35",
            "timeouts": {"schedule": "18m", "pull": "19m", "load": "21m", "measure": "22m"},
        },
        "nodePools": [
            {
                "name": "a100",
                "gpuProduct": "A100",
                "nodeSelector": {"node-key": "node-value"},
                "tolerations": [
                    {"key": "dedicated", "value": "tuning", "effect": "NoExecute", "tolerationSeconds": 61},
                    {"key": "spot", "operator": "Exists", "effect": "NoSchedule"},
                ],
                "image": "example.org/pool:2",
                "resources": {"cpu": 23, "memory": "65Gi"},
                "pricePerGPUHour": "3.67",
                "podTemplate": whole_pod_templates.POOL,
            },
            {"name": "ranks", "gpuResource": "cpu", "resources": {"memory": "29Gi"}},
            {"name": "burst", "scaleFromZero": {"gpusPerNode": 37, "gpuProduct": "NVIDIA-H100-80GB-HBM3"}},
        ],
        "metrics": [
            {"name": "power", "preset": "gpuPower"},
            {"name": "queue", "query": 'sum(queue{pod="$pod"})', "unit": "count"},
        ],
        "baseline": {"gpuCount": 4, "batchSize": 47},
        "retune": {"policy": "Manual", "debounce": "24m", "maxPerDay": 5},
        "reuse": "SameIdentity",
        "publish": {
            "configMap": "best-of-all",
            "labels": {"reconcile.fluxcd.io/watch": "Enabled"},
            "annotations": {"reloader.stakater.com/match": "true"},
        },
        "scheduling": {"queueName": "local-queue", "priorityClassName": "low-priority"},
        "suspend": True,
        "ttlSecondsAfterFinished": 3601,
    },
}
SOURCES: dict[str, dict[str, Any]] = {
    "builtin": {"builtin": "code-infilling-v1"},
    "file": {"file": {"path": "data/prompts.jsonl", "field": "file-field"}},
    "config-map": {"configMap": {"name": "map-name", "key": "map-key.jsonl", "field": "map-field"}},
    "preset": {"huggingFace": {"preset": "humaneval-infilling-single-line", "revision": "preset-revision"}},
    "synthetic": {"synthetic": {"promptTokens": 321}},
}
LANDSCAPES: dict[str, dict[str, Any]] = {
    "formula": {
        "formula": {
            "peakThroughput": "987.5",
            "bestGpuCount": 3,
            "bestBatchSize": 58,
            "falloff": "0.375",
            "largestBatchPerGPU": 131,
        },
    },
    "recorded": {
        "recorded": {
            "path": "data/cells.csv",
            "gpuModel": "recorded-gpu",
            "engine": "recorded-engine",
            "model": "recorded-model",
        },
    },
}


def with_source(name: str) -> Document:
    """Return the whole study with another prompt source."""
    return changed_of(WHOLE, {"spec.workload.source": SOURCES[name]})


def simulated(name: str) -> Document:
    """Return the whole study on the simulated engine, with one of its landscapes."""
    simulation = {**LANDSCAPES[name], "noise": "0.0625", "loadTime": "9s", "repeatTime": "1500ms"}
    changes = {
        "spec.engine.name": "simulated",
        "spec.engine.simulation": simulation,
        "spec.objective.constraints": [{"metric": "spread", "max": "0.4"}],
        "spec.baseline": {"source": "EngineDefault"},
        "spec.algorithm.name": "anneal",
        "spec.budget.plateau": {"trials": 13, "improvementPercent": "2.5"},
    }
    return changed_of(WHOLE, changes)


DOCUMENTS: dict[str, Document] = {
    "whole": WHOLE,
    **{name: with_source(name) for name in SOURCES},
    **{name: simulated(name) for name in LANDSCAPES},
}
POOLS = (make_pool(), make_pool(name="ranks", device="cpu", gpu_model=None))
FACTS = ModelFacts(attention_heads=40, key_value_heads=8)


def converted(document: ThroughputStudy, **more: Any) -> Study:  # noqa: ANN401 - any argument of `to_study`
    """Return the core's view of a document on two pools."""
    return to_study(
        document,
        pools=POOLS,
        model_fingerprint="fingerprint-of-the-model",
        workload_fingerprint="fingerprint-of-the-workload",
        model_facts=FACTS,
        **more,
    )
