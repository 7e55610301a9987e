"""Rules for node pools that the schema cannot express; each problem names field, value and remedy."""

import re
from collections.abc import Iterator

from infpop_operator.api.checks import positive, unique_names
from infpop_operator.api.quantities import memory_bytes, millicores
from infpop_operator.api.spec import StudySpec
from infpop_operator.api.spec_pool import LEAST_MEMORY, MOST_MEMORY, NodePool, Toleration
from infpop_operator.core.errors import Problem
from infpop_operator.core.object_names import LONGEST_IMAGE_NAME, LONGEST_SUBDOMAIN, has_long_name, has_long_prefix

_MOST_REPETITIONS = 4  # with more, or nested ones, matching a name of 63 characters can take practically forever


def pool_rules(spec: StudySpec) -> Iterator[Problem]:
    """Return the problems of the node pools of `spec`."""
    yield from _image("spec.engine.image", spec.engine.image)
    yield from unique_names("spec.nodePools", [pool.name for pool in spec.node_pools])
    yield from _smallest_node(spec)
    for position, pool in enumerate(spec.node_pools):
        field = f"spec.nodePools[{position}]"
        if pool.gpu_product is not None:
            yield from _product(f"{field}.gpuProduct", pool.gpu_product)
        for number, toleration in enumerate(pool.tolerations):
            yield from _toleration(f"{field}.tolerations[{number}]", toleration)
        yield from _image(f"{field}.image", pool.image)
        yield from _label_keys(field, pool)
        yield from _cpus(f"{field}.resources.cpu", pool)
        yield from _memory(f"{field}.resources.memory", pool)
        if pool.scale_from_zero is not None and pool.device == "cpu":
            message = "is not supported with gpuResource cpu: it is for nodes with GPUs"
            yield Problem(field=f"{field}.scaleFromZero", value="", message=message, remedy="Remove it")
        if pool.price_per_gpu_hour is None and "costPerMillionTokens" in _metrics(spec):
            remedy = 'Add what one GPU costs an hour, for example "3.67"'
            message = "is required by the objective costPerMillionTokens"
            yield Problem(field=f"{field}.pricePerGPUHour", value="", message=message, remedy=remedy)
        if pool.price_per_gpu_hour is not None:
            yield from positive(f"{field}.pricePerGPUHour", pool.price_per_gpu_hour)


def _metrics(spec: StudySpec) -> tuple[str | None, ...]:
    return (spec.objective.metric, spec.objective.second_metric)


def unsupported_resource(resource: str) -> tuple[str, str] | None:
    """Return message and remedy for a `gpuResource` that is another device and no misspelt name; None otherwise.

    A device plugin chooses the names of extended resources: other vendors have other domains, and NVIDIA's has other
    names for GPUs that are shared or partitioned.
    """
    name = resource.lower()
    if not name.startswith("nvidia.com/"):
        vendor = "/" in name and not re.match(r"nvidia|nvdia|nvida", name)
        remedy = "InfPop measures NVIDIA GPUs (nvidia.com/gpu) and CPUs (cpu): use nodes that have them"
        return ("is not supported", remedy) if vendor else None
    if name.startswith("nvidia.com/mig-"):
        message = "is not supported: the device plugin counts MIG partitions under this name"
        named = re.fullmatch(r"nvidia\.com/mig-([0-9a-z.+]{1,20})", name)
        example = f', for example "MIG-{named[1]}"' if named is not None else ""
        remedy = (
            'Give the device plugin the MIG strategy "single", use nvidia.com/gpu, and name the partition in gpuProduct'
        )
        return (message, remedy + example)
    if "shared" in name or "vgpu" in name:
        return ("is not supported: a measurement needs whole GPUs", "Use nvidia.com/gpu on nodes that share none")
    return None


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return False
    return True


def _product(field: str, pattern: str) -> Iterator[Problem]:
    remedy = 'Write for example "A100" or "A100.*80GB"'
    if not _compiles(pattern):
        yield Problem(field=field, value=pattern, message="is not a regular expression", remedy=remedy)
    elif re.search(r"[)][*+?{]", pattern) or len(re.findall(r"[*+?{]", pattern)) > _MOST_REPETITIONS:
        message = f"has more than {_MOST_REPETITIONS} of * + ? {{, or one after a group"
        yield Problem(field=field, value=pattern, message=message, remedy=remedy)


def _image(field: str, image: str | None) -> Iterator[Problem]:
    if image is not None and has_long_name(image):
        message = f"names an image with more than {LONGEST_IMAGE_NAME} characters, without tag and digest"
        yield Problem(field=field, value=image, message=message, remedy="Use a shorter name")


def _smallest_node(spec: StudySpec) -> Iterator[Problem]:
    """Yield a problem if no pool can have a node for even the smallest run; pools without a limit may."""
    most = [pool.scale_from_zero.gpus_per_node for pool in spec.node_pools if pool.scale_from_zero is not None]
    smallest = min(spec.search_space.gpu_count)
    if len(most) == len(spec.node_pools) and max(most) < smallest:
        yield Problem(
            field="spec.searchSpace.gpuCount",
            value=str(smallest),
            message=f"is above the GPUs of every node that an autoscaler adds: scaleFromZero.gpusPerNode {max(most)}",
            remedy=f"Add a GPU count of at most {max(most)}, or correct gpusPerNode",
        )


def _label_keys(field: str, pool: NodePool) -> Iterator[Problem]:
    keys = [(f"{field}.nodeSelector", key) for key in pool.node_selector]
    tolerated = enumerate(pool.tolerations)
    keys += [(f"{field}.tolerations[{number}].key", each.key) for number, each in tolerated if each.key is not None]
    for where, key in keys:
        if has_long_prefix(key):
            message = f"has more than {LONGEST_SUBDOMAIN} characters before its slash"
            yield Problem(field=where, value=key, message=message, remedy="Use the key of a node's label or taint")


def _cpus(field: str, pool: NodePool) -> Iterator[Problem]:
    cpus = None if pool.resources is None else pool.resources.cpu
    if cpus is None:
        return
    if pool.device == "cpu":
        message = "is not allowed with gpuResource cpu, where a run requests one CPU for each rank"
        yield Problem(field=field, value=cpus, message=message, remedy="Remove it")
    elif millicores(cpus) == 0:
        yield Problem(field=field, value=cpus, message="must be above 0", remedy="Use for example 8, or remove it")


def _memory(field: str, pool: NodePool) -> Iterator[Problem]:
    memory = None if pool.resources is None else pool.resources.memory
    if memory is not None and not memory_bytes(LEAST_MEMORY) <= memory_bytes(memory) <= memory_bytes(MOST_MEMORY):
        message = f"must be from {LEAST_MEMORY} to {MOST_MEMORY}"
        remedy = 'Write it with its unit, for example "64Gi"'
        yield Problem(field=field, value=memory, message=message, remedy=remedy)


def _toleration(field: str, toleration: Toleration) -> Iterator[Problem]:
    if toleration.operator == "Equal" and toleration.key is None:
        remedy = "Add the taint's key, or use operator: Exists"
        yield Problem(field=f"{field}.key", value="", message="is required with the operator Equal", remedy=remedy)
    if toleration.operator == "Exists" and toleration.value:
        message, remedy = "is not allowed with the operator Exists", "Remove it, or use operator: Equal"
        yield Problem(field=f"{field}.value", value=toleration.value, message=message, remedy=remedy)
    if toleration.toleration_seconds is not None and toleration.effect != "NoExecute":
        message, remedy = "applies only to the effect NoExecute", "Remove it, or set effect: NoExecute"
        value = str(toleration.toleration_seconds)
        yield Problem(field=f"{field}.tolerationSeconds", value=value, message=message, remedy=remedy)
