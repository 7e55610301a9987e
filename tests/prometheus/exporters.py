"""The metrics of other exporters for the simulated kubelet's Pods: NVIDIA's DCGM exporter and cAdvisor.

Names and labels are those of dcgm-exporter 4 and of the kubelet's `/metrics/cadvisor`; the caller sets the values.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controlplane.kubelet import SimulatedKubelet
from controlplane.played_pod import RunningPod

_GPU_LABELS = ("gpu", "UUID", "device", "modelName", "Hostname", "container", "namespace", "pod")
_CONTAINER_LABELS = ("id", "name", "image", "container", "namespace", "pod", "cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The load of a run on its devices and its node, the same for each GPU."""

    gpu_utilisation_percent: float = 87.0
    gpu_power_watts: float = 310.0
    gpu_memory_used_mib: float = 30_000.0
    cpu_cores: float = 1.5


LoadOf = Callable[[RunningPod], Load]


class GpuExporter(Collector):
    """DCGM metrics of every GPU that a Pod holds now, on `node` or on any node; unused GPUs are not shown."""

    def __init__(
        self, kubelet: SimulatedKubelet, load: LoadOf = lambda _pod: Load(), *, node: str | None = None
    ) -> None:
        self._kubelet = kubelet
        self._load = load
        self._node = node

    def collect(self) -> Iterator[Metric]:
        """Yield the families with the names of dcgm-exporter."""
        pods = tuple(pod for pod in self._kubelet.running if self._node in (None, pod.node))
        yield self._family(pods, "DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %).", "gpu_utilisation_percent")
        yield self._family(pods, "DCGM_FI_DEV_POWER_USAGE", "Power draw (in W).", "gpu_power_watts")
        yield self._family(pods, "DCGM_FI_DEV_FB_USED", "Framebuffer memory used (in MiB).", "gpu_memory_used_mib")

    def _family(self, pods: tuple[RunningPod, ...], name: str, text: str, field: str) -> Metric:
        family = GaugeMetricFamily(name, text, labels=_GPU_LABELS)
        for pod in pods:
            value = getattr(self._load(pod), field)
            for gpu in range(pod.gpu_count):
                uuid = f"GPU-{pod.name}-{gpu}"
                place = (pod.node, pod.container, pod.namespace, pod.name)
                family.add_metric((str(gpu), uuid, f"nvidia{gpu}", "NVIDIA A100-SXM4-40GB", *place), value)
        return family


class ContainerExporter(Collector):
    """CPU seconds of every running Pod, of its container and of the whole Pod, as cAdvisor shows them.

    Samples have the time at which they were read, as in cAdvisor, so a rate is right even if a scrape is late.
    """

    def __init__(
        self,
        kubelet: SimulatedKubelet,
        load: LoadOf = lambda _pod: Load(),
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),  # noqa: TID251 - the edge of the tests
    ) -> None:
        self._kubelet = kubelet
        self._load = load
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """Yield the family with cAdvisor's name; the series of the whole Pod has no container."""
        text = "Cumulative cpu time consumed in seconds."
        family = CounterMetricFamily("container_cpu_usage_seconds", text, labels=_CONTAINER_LABELS)
        now = self._now()
        for pod in self._kubelet.running:
            seconds = self._load(pod).cpu_cores * max(0.0, (now - pod.started_at).total_seconds())
            place = (pod.namespace, pod.name, "total")
            for labels in (("", "", "", ""), ("/1", "1", "image", pod.container)):
                path = f"/kubepods/{pod.name}{labels[0]}"
                family.add_metric((path, *labels[1:], *place), seconds, timestamp=now.timestamp())
        yield family


@contextmanager
def serving(collector: Collector) -> Iterator[str]:
    """Serve an exporter for the duration of the block, and yield its address, `host:port`."""
    registry = CollectorRegistry()
    registry.register(collector)
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
