"""Find the pool of a study that matches this machine, and check that the search space fits on it.

A pool's fingerprint is built from the facts that affect a measurement, and from nothing that changes by itself: no
UUIDs, clock rates, temperatures or memory in use.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from infpop_operator.adapters.gpus import Gpu
from infpop_operator.adapters.machine import Machine
from infpop_operator.api.spec import StudySpec
from infpop_operator.api.spec_pool import NodePool
from infpop_operator.core.errors import Problem, StudyError
from infpop_operator.core.fingerprint import digest
from infpop_operator.core.study import Pool
from infpop_operator.local.installed import installed_software

_FIELD = "spec.nodePools"
_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPool:
    """The pools to tune on this machine (one, unless the engine is simulated), and the NVML indexes of their GPUs."""

    pools: tuple[Pool, ...]
    gpus: tuple[int, ...] = ()


def fit_pools(spec: StudySpec, machine: Machine) -> LocalPool:
    """Return the pool of `spec` that matches this machine.

    Replayed measurements need no hardware, so a simulated study has all its pools on every machine.

    Raises:
        StudyError: no pool matches, more than one does, or the search space needs more devices than the machine has.
    """
    if spec.engine.name == "simulated":
        return LocalPool(pools=tuple(to_simulated_pool(node) for node in spec.node_pools))
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
    """Return the GPUs of the machine that match the pool `node`, () for a CPU pool, None if the pool does not match."""
    if node.device == "cpu":
        return ()
    return machine.matching(node.gpu_product) or None


def _to_pool(node: NodePool, gpus: tuple[Gpu, ...], machine: Machine) -> Pool:
    if node.device == "cpu":
        return to_cpu_pool(node, machine)
    return to_gpu_pool(node, gpus, machine.driver_version)


def to_cpu_pool(node: NodePool, machine: Machine) -> Pool:
    """Return the pool `node` on the CPU, with one device for each core, because each core can run at most one rank."""
    facts = {"device": "cpu", "model": machine.cpu_model, "cores": machine.cpu_cores}
    return Pool(
        name=node.name,
        device="cpu",
        fingerprint=digest(facts)[:16],
        gpu_model=machine.cpu_model,
        device_count=machine.cpu_cores,
        total_device_count=machine.cpu_cores,
        price_per_gpu_hour=node.price,
    )


def to_gpu_pool(node: NodePool, gpus: tuple[Gpu, ...], driver_version: str | None) -> Pool:
    """Return the pool `node` on these GPUs; its memory is that of the smallest."""
    kinds = sorted([gpu.name, gpu.memory_bytes // _MIB, gpu.compute_capability] for gpu in gpus)
    driver = (driver_version or "").split(".")[0]
    facts = {"device": "cuda", "gpus": kinds, "driver": driver}
    return Pool(
        name=node.name,
        device="cuda",
        fingerprint=digest(facts)[:16],
        gpu_model=" + ".join(sorted({gpu.name for gpu in gpus})),
        device_count=len(gpus),
        total_device_count=len(gpus),
        gpu_memory_mib=min(gpu.memory_bytes for gpu in gpus) // _MIB,
        compute_capability=_common({gpu.compute_capability for gpu in gpus}),
        driver_major=driver or None,
        price_per_gpu_hour=node.price,
    )


def _common(values: set[str]) -> str | None:
    return values.pop() if len(values) == 1 else None


def to_simulated_pool(node: NodePool) -> Pool:
    """Return the pool `node` for replayed measurements, which need no hardware."""
    return Pool(name=node.name, device="cpu", fingerprint="simulated", price_per_gpu_hour=node.price)


def _none_or_many(spec: StudySpec, machine: Machine, fitting: list[NodePool]) -> Problem:
    if fitting:
        names = ", ".join(node.name for node in fitting)
        return Problem(
            field=_FIELD,
            value=names,
            message="more than one of these pools matches this machine",
            remedy="Keep only one of them in the study",
        )
    products = sorted({gpu.name for gpu in machine.gpus})
    has = f"its GPUs are {', '.join(products)}" if products else "it has no NVIDIA GPU"
    gpu_remedy = f'"gpuProduct: {products[0]}" or ' if products else ""
    return Problem(
        field=_FIELD,
        value=", ".join(f"{node.name} ({node.gpu_product or 'any GPU'})" for node in spec.node_pools),
        message=f"none of these pools matches this machine: {has}",
        remedy=f'Add a pool with {gpu_remedy}"gpuResource: cpu"',
    )


def _too_many_devices(spec: StudySpec, pool: Pool) -> Iterator[Problem]:
    have = pool.device_count
    if have is None:
        return
    many = "" if have == 1 else "s"
    devices = f"usable CPU core{many}" if pool.device == "cpu" else f"visible GPU{many} ({pool.gpu_model})"
    wanted = [
        *((f"spec.searchSpace.gpuCount[{place}]", count) for place, count in enumerate(spec.search_space.gpu_count)),
    ]
    if spec.baseline is not None and spec.baseline.gpu_count is not None:
        wanted.append(("spec.baseline.gpuCount", spec.baseline.gpu_count))
    for field, count in wanted:
        if count > have:
            yield Problem(
                field=field,
                value=str(count),
                message=f"this machine has {have} {devices}",
                remedy=f"Use at most {have}",
            )
