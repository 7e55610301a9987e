"""Which pool of a study this machine is, and whether the search space fits on it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from infpop_operator.adapters.machine import Gpu, Machine, to_cpu_pool, to_gpu_pool, to_simulated_pool
from infpop_operator.api.spec import StudySpec
from infpop_operator.api.spec_pool import NodePool
from infpop_operator.core.errors import Problem, StudyError
from infpop_operator.core.model import Pool
from infpop_operator.local.installed import installed_software

_FIELD = "spec.nodePools"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPool:
    """The pools to tune here, one unless numbers are replayed, and the NVML indexes of the GPUs in it."""

    pools: tuple[Pool, ...]
    gpus: tuple[int, ...] = ()


def fit_pools(spec: StudySpec, machine: Machine) -> LocalPool:
    """Return the pool of `spec` that describes this machine.

    Replayed numbers need no hardware, so a simulated study has all its pools everywhere.

    Raises:
        StudyError: no pool or more than one fits, or the search space asks for more devices than there are.
    """
    if spec.engine.name == "simulated":
        pools = tuple(to_simulated_pool(name=node.name, price_per_gpu_hour=_price(node)) for node in spec.node_pools)
        return LocalPool(pools=pools)
    fitting = [(node, gpus) for node in spec.node_pools if (gpus := _fit(node, machine)) is not None]
    if len(fitting) != 1:
        raise StudyError([_none_or_many(spec, machine, [node for node, _ in fitting])])
    node, gpus = fitting[0]
    pool = replace(_to_pool(node, gpus, machine), software=installed_software(spec.engine.name))
    problems = list(_too_many_devices(spec, pool))
    if problems:
        raise StudyError(problems)
    return LocalPool(pools=(pool,), gpus=tuple(gpu.index for gpu in gpus))


def _fit(node: NodePool, machine: Machine) -> tuple[Gpu, ...] | None:
    """Return the GPUs of the machine that belong to `node`, none on a CPU pool, None where it does not fit."""
    if node.gpu_resource == "cpu":
        return ()
    return machine.matching(node.gpu_product) or None


def _to_pool(node: NodePool, gpus: tuple[Gpu, ...], machine: Machine) -> Pool:
    if node.gpu_resource == "cpu":
        return to_cpu_pool(machine, name=node.name, price_per_gpu_hour=_price(node))
    return to_gpu_pool(gpus, machine.driver_version, name=node.name, price_per_gpu_hour=_price(node))


def _price(node: NodePool) -> float | None:
    return None if node.price_per_gpu_hour is None else float(node.price_per_gpu_hour)


def _none_or_many(spec: StudySpec, machine: Machine, fitting: list[NodePool]) -> Problem:
    if fitting:
        names = ", ".join(node.name for node in fitting)
        return Problem(
            field=_FIELD,
            value=names,
            message="more than one of them describes this machine",
            remedy="Leave one of them in the study",
        )
    products = sorted({gpu.name for gpu in machine.gpus})
    has = f"its GPUs are {', '.join(products)}" if products else "it has no NVIDIA GPU"
    gpu_remedy = f'"gpuProduct: {products[0]}" or ' if products else ""
    return Problem(
        field=_FIELD,
        value=", ".join(f"{node.name} ({node.gpu_product or 'any GPU'})" for node in spec.node_pools),
        message=f"none of them describes this machine: {has}",
        remedy=f'Add a pool with {gpu_remedy}"gpuResource: cpu"',
    )


def _too_many_devices(spec: StudySpec, pool: Pool) -> Iterator[Problem]:
    have = pool.device_count
    if have is None:
        return
    word = "usable CPU cores" if pool.device == "cpu" else f"visible GPUs ({pool.gpu_model})"
    wanted = [
        *((f"spec.searchSpace.gpuCount[{place}]", count) for place, count in enumerate(spec.search_space.gpu_count)),
        *([("spec.baseline.gpuCount", spec.baseline.gpu_count)] if spec.baseline is not None else []),
    ]
    for field, count in wanted:
        if count > have:
            yield Problem(
                field=field,
                value=str(count),
                message=f"this machine has {have} {word}",
                remedy=f"Use at most {have}",
            )
