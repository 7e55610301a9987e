"""ThroughputStudies and Nodes for tests as their owner writes them."""

from typing import Any

Body = dict[str, Any]


def make_study_body(name: str = "study", *, namespace: str = "serving", **spec: object) -> Body:
    """Return a valid study whose grid has four configurations on one pool; keywords replace parts of the spec.

    Its search ends the study, and each configuration is measured in full: what measures the best again, or adaptively,
    says so.
    """
    budget, measurement = spec.pop("budget", {"maxTrials": 4}), spec.pop("measurement", {})
    return {
        "apiVersion": "infpop.io/v1alpha1",
        "kind": "ThroughputStudy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"name": "example/model"},
            "engine": {"name": "vllm"},
            "searchSpace": {"gpuCount": [1, 2], "batchSize": [8, 64]},
            "algorithm": {"name": "grid", "trialsPerRun": 1},
            "budget": {"confirm": False, **budget} if isinstance(budget, dict) else budget,
            "measurement": {"mode": "Full", **measurement} if isinstance(measurement, dict) else measurement,
            "nodePools": [{"name": "a100", "gpuProduct": "A100"}],
            **spec,
        },
    }
