"""Environment variables that an engine reads when it is imported; the process's edge sets them before."""

from collections.abc import Mapping, Sequence

from infpop_runner.contract import RunSpec


def build_environment(
    spec: RunSpec, *, current: Mapping[str, str], devices: Sequence[str], cores: int
) -> dict[str, str]:
    """Return the variables to set. What the user has set stays, except the devices: they are the run's.

    Args:
        spec: the run.
        current: the environment as it is.
        devices: names of the GPUs that the run may use; empty on a CPU.
        cores: that this process may use.
    """
    wanted = {
        # vLLM's processes must not be forked from one with threads.
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # Engine processes are killed once the result is complete; what they leave is cleaned up without remark.
        "PYTHONWARNINGS": "ignore::UserWarning:multiprocessing.resource_tracker",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # so that an index means the same to CUDA and to NVML
    }
    if spec.device == "cpu":
        wanted |= _cpu_threads(ranks=spec.gpu_count, cores=cores)
    missing = {name: value for name, value in wanted.items() if name not in current}
    return missing | {"CUDA_VISIBLE_DEVICES": ",".join(devices)}


def _cpu_threads(*, ranks: int, cores: int) -> dict[str, str]:
    """Share the cores among the ranks.

    vLLM's own binding gives each rank a NUMA node and refuses more ranks than nodes.
    """
    return {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(max(1, cores // ranks))}
