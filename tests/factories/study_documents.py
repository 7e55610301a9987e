"""Study documents as users write them."""

from typing import Any

from infpop_operator.api.resource import API_VERSION, KIND


def make_study_document(name: str, namespace: str, **spec: object) -> dict[str, Any]:
    """Return a valid study on simulated GPUs; keywords replace parts of the spec."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"name": "example/model"},
            "engine": {"name": "vllm"},
            "searchSpace": {"gpuCount": [1, 2, 4, 8], "batchSize": [1, 8, 64, 256]},
            "budget": {"maxTrials": 6},
            "nodePools": [{"name": "a100", "gpuProduct": "A100"}],
            **spec,
        },
    }
