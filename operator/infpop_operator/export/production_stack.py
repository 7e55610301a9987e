"""Values for the Helm chart of the vLLM production stack: one entry of `servingEngineSpec.modelSpec`.

The chart has fields of its own for some arguments; all others are `extraArgs`, which it passes on as they are.
Source: vllm-project/production-stack, helm/values.schema.json and helm/templates/deployment-vllm-multi.yaml.
"""

from collections.abc import Iterator, Sequence

from infpop_operator.api.serving_values import ServingValues, container_argument
from infpop_operator.api.yaml_text import render_yaml
from infpop_operator.export.result import ExportedResult

# Name of an argument -> its field in vllmConfig, and the types that the chart's schema and template take.
FIELDS: dict[str, tuple[str, tuple[type, ...]]] = {
    "tensor_parallel_size": ("tensorParallelSize", (int,)),
    "max_num_seqs": ("maxNumSeqs", (int,)),
    "max_model_len": ("maxModelLen", (int,)),
    "gpu_memory_utilization": ("gpuMemoryUtilization", (int, float)),
    "dtype": ("dtype", (str,)),
    "enable_chunked_prefill": ("enableChunkedPrefill", (bool,)),
    "enable_prefix_caching": ("enablePrefixCaching", (bool,)),
    "max_loras": ("maxLoras", (int,)),
}
_NOTES = (
    "The chart requires requestCPU and requestMemory. InfPop does not measure them: set what your model needs.",
    "Without vllmConfig.enablePrefixCaching the chart turns prefix caching off, as it was in the measurement.",
)


def render_production_stack(result: ExportedResult) -> str:
    """Return the values for one model."""
    values = result.values
    repository, tag = split_image(result.image or "")
    has_gpus = values.gpu_resource != "cpu"
    model: dict[str, object] = {
        "name": result.name,
        "repository": repository,
        "tag": tag,
        "modelURL": values.model,
        "replicaCount": 1,
        "requestCPU": 1,
        "requestMemory": "1Gi",
        "requestGPU": values.gpu_count if has_gpus else 0,
        **({"requestGPUType": values.gpu_resource} if has_gpus else {}),
        "vllmConfig": _config(values),
    }
    return render_yaml({"servingEngineSpec": {"modelSpec": [model]}}, (*result.notes, *_NOTES))


def split_image(image: str) -> tuple[str, str]:
    """Return repository and tag so that `repository:tag` is `image`; without a tag it is `latest`, as in containers."""
    repository, colon, tag = image.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (image, "latest")


def _config(values: ServingValues) -> dict[str, object]:
    """Return each argument once: in its own field, or in `extraArgs`."""
    fields: dict[str, object] = {}
    extra: list[str] = []
    for name, parts in _by_name(values.args):
        field, types = FIELDS.get(name, ("", ()))
        value = values.arguments.get(name)
        if type(value) in types:
            fields[field] = container_argument(value) if isinstance(value, str) else value
        else:
            extra += [container_argument(part) for part in parts]
    return fields | ({"extraArgs": extra} if extra else {})


def _by_name(args: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the Python name of each argument with its strings: an option, and the items of a list after it."""
    groups: list[list[str]] = []
    for part in args:
        if part.startswith("--") or not groups:
            groups.append([part])
        else:
            groups[-1].append(part)
    for group in groups:
        option = group[0].partition("=")[0].removeprefix("--")
        yield option.removeprefix("no-").replace("-", "_"), group
