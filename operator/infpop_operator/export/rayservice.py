"""A KubeRay `RayService` that serves with Ray Serve LLM.

Ray passes `engine_kwargs` to vLLM as Python values, and places one GPU for each tensor-parallel rank. The workers of
the cluster have the GPUs of one server, so all ranks are on one node, as in the measurement.
Sources: ray-project/kuberay, ray-operator/apis/ray/v1; ray-project/ray,
python/ray/llm/_internal/serve/core/configs/llm_config.py and python/ray/util/accelerators/accelerators.py.
"""

import re

from infpop_operator.api.serving_values import ServingValues
from infpop_operator.api.yaml_text import LiteralText, render_yaml
from infpop_operator.export.container import gpu_resources
from infpop_operator.export.result import ExportedResult

API_VERSION = "ray.io/v1"
KIND = "RayService"
IMPORT_PATH = "ray.serve.llm:build_openai_app"
# Ray's names of NVIDIA GPUs; a node has the one that stands in the product name of its GPU.
ACCELERATORS = frozenset(
    {"V100", "P100", "T4", "P4", "K80", "A10G", "L4", "L40S", "A100", "H100", "H200", "H20", "B200"}
)
_PORTS = {"serve": 8000, "gcs": 6379, "dashboard": 8265, "client": 10001}
_NOTE = "The image needs Ray Serve LLM and, for the same throughput, the vLLM of the measurement."


def render_rayservice(result: ExportedResult) -> str:
    """Return the object with one application, a head without GPUs and one worker."""
    head = {
        "rayStartParams": {"num-cpus": "0", "num-gpus": "0"},
        "template": _pod(
            "ray-head", result, ports=[{"name": name, "containerPort": port} for name, port in _PORTS.items()]
        ),
    }
    worker = {
        "groupName": "gpu",
        "replicas": 1,
        "minReplicas": 1,
        "maxReplicas": 1,
        "rayStartParams": {},
        "template": _pod("ray-worker", result, **gpu_resources(result.values)),
    }
    tree = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": result.name},
        "spec": {
            "serveConfigV2": LiteralText(render_yaml({"applications": [_application(result.values)]})),
            "rayClusterConfig": {"headGroupSpec": head, "workerGroupSpecs": [worker]},
        },
    }
    return render_yaml(tree, (*result.notes, _NOTE))


def _pod(container: str, result: ExportedResult, **fields: object) -> dict[str, object]:
    return {"spec": {"containers": [{"name": container, "image": result.image, **fields}]}}


def _application(values: ServingValues) -> dict[str, object]:
    accelerator = accelerator_type(values.gpu_product)
    config: dict[str, object] = {
        "model_loading_config": {"model_id": values.model, "model_source": values.model},
        **({} if accelerator is None else {"accelerator_type": accelerator}),
        "engine_kwargs": dict(values.arguments),
        "deployment_config": {
            "autoscaling_config": {
                "min_replicas": 1,
                "max_replicas": 1,
                "target_ongoing_requests": values.batch_size,
            }
        },
    }
    if values.arguments.get("disable_log_stats") is True:  # Ray refuses to log metrics that vLLM does not count
        config["log_engine_metrics"] = False
    return {"name": "llm", "import_path": IMPORT_PATH, "route_prefix": "/", "args": {"llm_configs": [config]}}


def accelerator_type(product: str | None) -> str | None:
    """Return Ray's name of a GPU model, None if it is unknown: the workers then have any GPU."""
    words = re.split(r"[^A-Za-z0-9]+", product or "")
    return next((word for word in words if word in ACCELERATORS), None)
