"""The environment variables that an engine reads when it is imported; `main` sets them before."""

from collections.abc import Mapping, Sequence

from infpop_runner.contract import RunSpec


def build_environment(
    spec: RunSpec, *, current: Mapping[str, str], devices: Sequence[str], cores: int
) -> dict[str, str]:
    """Return the variables to set. Values that the user has set stay, except the devices, which belong to the run.

    Args:
        spec: the run.
        current: the current environment.
        devices: names of the GPUs that the run may use; empty on a CPU.
        cores: number of CPU cores that this process may use.
    """
    wanted = {
        # vLLM must not fork its processes from a process with threads.
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # Engine processes are killed once the result is complete; this silences warnings about their leftovers.
        "PYTHONWARNINGS": "ignore::UserWarning:multiprocessing.resource_tracker",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # so that CUDA and NVML use the same index
    }
    if spec.device == "cpu":
        wanted |= _cpu_threads(ranks=spec.gpu_count, cores=cores)
    missing = {name: value for name, value in wanted.items() if name not in current}
    return missing | {"CUDA_VISIBLE_DEVICES": ",".join(devices)}


def _cpu_threads(*, ranks: int, cores: int) -> dict[str, str]:
    """Share the cores among the ranks.

    vLLM's own binding gives each rank a NUMA node, and refuses more ranks than NUMA nodes.
    """
    return {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(max(1, cores // ranks))}
