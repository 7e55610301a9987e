"""Study documents as users write them."""

from typing import Any

from infpop_operator.api.resource import API_VERSION, KIND


def make_study_document(name: str, namespace: str, **spec: object) -> dict[str, Any]:
    """Return a valid study on simulated GPUs; keywords replace parts of the spec.

    Its search ends the study and has a run for each configuration, which is measured in full: what measures the best
    again, several of a load, or adaptively, says so.
    """
    budget, measurement = spec.pop("budget", {"maxTrials": 6}), spec.pop("measurement", {})
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"name": "example/model"},
            "engine": {"name": "vllm"},
            "searchSpace": {"gpuCount": [1, 2, 4, 8], "batchSize": [1, 8, 64, 256]},
            "algorithm": {"name": "tpe", "trialsPerRun": 1},
            "budget": {"confirm": False, **budget} if isinstance(budget, dict) else budget,
            "measurement": {"mode": "Full", **measurement} if isinstance(measurement, dict) else measurement,
            "nodePools": [{"name": "a100", "gpuProduct": "A100"}],
            **spec,
        },
    }
