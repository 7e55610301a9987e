"""The values that a server of the best configuration is set up with, in the forms that delivery tools read. Pure.

`serving_values` joins a study with one of its results; `variables` and `render_values` write the values as a flat map
of strings and as the values of a Helm release. `infpop export` builds the manifests of other projects from them.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infpop_operator.api.spec import ThroughputStudy
from infpop_operator.api.status_model import Best, Published
from infpop_operator.api.yaml_text import render_yaml
from infpop_operator.core.engine_args import named_arguments

# Every key that `variables` may return. One that has no value is absent, for example TENSOR_PARALLEL_SIZE of a
# Hugging Face pipeline. Flux and shells take these characters only.
VARIABLES = (
    "STUDY",
    "POOL",
    "ROUND",
    "MODEL",
    "MODEL_REVISION",
    "ENGINE",
    "ENGINE_IMAGE",
    "GPU_COUNT",
    "GPU_RESOURCE",
    "GPU_PRODUCT",
    "BATCH_SIZE",
    "TENSOR_PARALLEL_SIZE",
    "MAX_NUM_SEQS",
    "MAX_NUM_BATCHED_TOKENS",
    "MAX_MODEL_LEN",
    "GPU_MEMORY_UTILIZATION",
    "DTYPE",
    "THROUGHPUT",
    "THROUGHPUT_PER_GPU",
    "REUSED_FROM",
    "ARGS_JSON",
    "ARGS_SHELL",
)
_FROM_ARGUMENTS = {
    "TENSOR_PARALLEL_SIZE": "tensor_parallel_size",
    "MAX_NUM_SEQS": "max_num_seqs",
    "MAX_NUM_BATCHED_TOKENS": "max_num_batched_tokens",
    "MAX_MODEL_LEN": "max_model_len",
    "GPU_MEMORY_UTILIZATION": "gpu_memory_utilization",
}
# JSON may have these characters as they are, and YAML may not.
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingValues:
    """What a server of one measured configuration needs, parsed.

    Args:
        study: name of the study.
        pool: pool on which it was measured.
        round: round of that pool.
        engine: vllm, hf-pipeline or simulated.
        engine_image: container image with which it was measured, None outside a cluster.
        model: hub id or directory.
        model_revision: revision of the model, None for the newest.
        dtype: data type of the weights, auto for the model's own.
        gpu_product: GPU model of the pool, as its node label has it, None if it is unknown.
        gpu_resource: resource that counts as a GPU, such as nvidia.com/gpu.
        gpu_count: GPUs of the server, all on one node.
        batch_size: concurrent sequences.
        max_model_len: context length with which the engine was loaded, None if it is unknown.
        throughput: generated tokens per second, a decimal number.
        throughput_per_gpu: the same per GPU.
        reused_from: other study that measured it, None if this one did.
        args: arguments of the engine: for vLLM those that follow `vllm serve MODEL`, for a Hugging Face pipeline the
            keyword arguments of `transformers.pipeline` as Python source.
        arguments: the same by their Python names, such as tensor_parallel_size, as the engine's Python interface takes
            them.
    """

    study: str
    pool: str
    round: int
    engine: str
    engine_image: str | None
    model: str
    model_revision: str | None
    dtype: str
    gpu_product: str | None
    gpu_resource: str
    gpu_count: int
    batch_size: int
    max_model_len: int | None
    throughput: str
    throughput_per_gpu: str
    reused_from: str | None
    args: tuple[str, ...]
    arguments: Mapping[str, object]


def serving_values(
    document: ThroughputStudy, best: Best, *, gpu_product: str | None = None, engine_image: str | None = None
) -> ServingValues:
    """Return the values of one result of a study.

    A published result says itself which model, engine, image and GPU it was measured with: the study may have others by
    now.

    Args:
        document: the study.
        best: the result, from its status: its best, or what it publishes.
        gpu_product: GPU model of the result's pool, None if it is unknown.
        engine_image: image of the result's pool, None if the pool, the engine and the operator name none.
    """
    spec = document.spec
    engine: str = spec.engine.name
    model = spec.model.name
    if isinstance(best, Published):
        engine, model = best.engine or engine, best.model or model
        gpu_product, engine_image = best.gpu, best.image
    pool = next((pool for pool in spec.node_pools if pool.name == best.pool), None)
    arguments = named_arguments(engine, best.engine_args)
    return ServingValues(
        study=document.metadata.name,
        pool=best.pool,
        round=best.round,
        engine=engine,
        engine_image=engine_image,
        model=model,
        model_revision=None if (revision := arguments.get("revision")) is None else str(revision),
        dtype=str(arguments.get("dtype", "auto")),
        gpu_product=gpu_product,
        gpu_resource="nvidia.com/gpu" if pool is None else pool.gpu_resource,
        gpu_count=best.gpu_count,
        batch_size=best.batch_size,
        max_model_len=best.max_model_len,
        throughput=best.throughput,
        throughput_per_gpu=best.throughput_per_gpu,
        reused_from=best.reused_from,
        args=tuple(best.engine_args),
        arguments=arguments,
    )


def variables(values: ServingValues) -> dict[str, str]:
    """Return the values as a flat map, in the order of `VARIABLES`; a value that does not exist is left out.

    ARGS_JSON is a JSON list on one line, which is also YAML. A container's `args` take it as it is: each `$` is
    doubled, because Kubernetes replaces `$(NAME)` there. ARGS_SHELL are the same arguments, quoted for a POSIX shell.
    """
    found: dict[str, object] = {
        "STUDY": values.study,
        "POOL": values.pool,
        "ROUND": values.round,
        "MODEL": values.model,
        "MODEL_REVISION": values.model_revision,
        "ENGINE": values.engine,
        "ENGINE_IMAGE": values.engine_image,
        "GPU_COUNT": values.gpu_count,
        "GPU_RESOURCE": values.gpu_resource,
        "GPU_PRODUCT": values.gpu_product,
        "BATCH_SIZE": values.batch_size,
        "DTYPE": values.dtype,
        "THROUGHPUT": values.throughput,
        "THROUGHPUT_PER_GPU": values.throughput_per_gpu,
        "REUSED_FROM": values.reused_from,
        "ARGS_JSON": container_args(values.args),
        "ARGS_SHELL": shlex.join(values.args),
        **{key: values.arguments.get(name) for key, name in _FROM_ARGUMENTS.items()},
    }
    return {key: str(found[key]) for key in VARIABLES if found[key] is not None}


def container_argument(argument: str) -> str:
    """Return an argument as a container's `args` take it: Kubernetes replaces `$(NAME)` and `$$` there."""
    return argument.replace("$", "$$")


def container_args(args: Sequence[str]) -> str:
    """Return arguments as a JSON list on one line, for a container's `args` in YAML."""
    text = json.dumps([container_argument(argument) for argument in args], ensure_ascii=False)
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def render_values(values: ServingValues) -> str:
    """Return the values as YAML for a Helm release, under the one key `infpop`, so that no chart has the same key."""
    tree: dict[str, object] = {
        "study": values.study,
        "pool": values.pool,
        "round": values.round,
        "model": values.model,
        "modelRevision": values.model_revision,
        "engine": values.engine,
        "image": values.engine_image,
        "gpuCount": values.gpu_count,
        "gpuResource": values.gpu_resource,
        "gpuProduct": values.gpu_product,
        "batchSize": values.batch_size,
        "maxModelLen": values.max_model_len,
        "dtype": values.dtype,
        "throughput": values.throughput,
        "throughputPerGPU": values.throughput_per_gpu,
        "reusedFrom": values.reused_from,
        "args": list(values.args),
        "arguments": dict(values.arguments),
    }
    known = {key: value for key, value in tree.items() if value is not None}
    return render_yaml({"infpop": known})
