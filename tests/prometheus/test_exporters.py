"""The exporters of the simulated kubelet show its Pods as DCGM and cAdvisor would."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.behaviours import HangsLoading
from controlplane.cluster import ControlPlane
from prometheus.discovery import static_targets
from prometheus.exporters import ContainerExporter, GpuExporter, Load, serving
from prometheus.runs import Site, run_site
from prometheus.server import PrometheusServer

pytestmark = [pytest.mark.cluster, pytest.mark.prometheus]
LOAD = Load(gpu_utilisation_percent=50.0, gpu_power_watts=250.0, gpu_memory_used_mib=1000.0, cpu_cores=2.0)


@pytest.fixture
def site(control_plane: ControlPlane, namespace: str) -> Iterator[Site]:
    """Yield a namespace in which one Pod with two GPUs runs until it is deleted."""
    with run_site(control_plane, namespace, lambda _spec, _attempt: HangsLoading()) as site:
        site.start_run()
        yield site


def test_gpus_are_shown_with_the_pod_that_holds_them(site: Site, tmp_path: Path) -> None:
    """There is one series for each GPU, with the Pod's labels if they are honored and exported ones otherwise."""
    own = {"namespace": "monitoring", "pod": "dcgm-exporter-0"}
    pod = site.wait_for_pod("Running")["metadata"]["name"]
    with serving(GpuExporter(site.kubelet, lambda _pod: LOAD)) as address:
        configs = [
            static_targets("honored", address, honor_labels=True, labels=own),
            static_targets("exported", address, labels=own),
        ]
        with PrometheusServer(tmp_path, configs) as prometheus:
            prometheus.wait_for("count(DCGM_FI_DEV_POWER_USAGE) == 4")
            where = f'namespace="{site.namespace}", pod="{pod}", container="runner"'
            exported = f'exported_namespace="{site.namespace}", exported_pod="{pod}", pod="dcgm-exporter-0"'
            for labels in (where, exported):
                assert value(prometheus, f"sum(DCGM_FI_DEV_POWER_USAGE{{{labels}}})") == 500.0
                assert value(prometheus, f"avg(DCGM_FI_DEV_GPU_UTIL{{{labels}}})") == 50.0
                assert value(prometheus, f"max(DCGM_FI_DEV_FB_USED{{{labels}}})") == 1000.0
            site.delete_pod()
            prometheus.wait_for("absent(DCGM_FI_DEV_POWER_USAGE)")


def test_the_cpu_time_of_a_container_grows(site: Site, tmp_path: Path) -> None:
    """As in cAdvisor, there is a counter of the container, and one of the whole Pod without a container."""
    with (
        serving(ContainerExporter(site.kubelet, lambda _pod: LOAD)) as address,
        PrometheusServer(tmp_path, [static_targets("cadvisor", address, honor_labels=True)]) as prometheus,
    ):
        site.wait_for_pod("Running")
        prometheus.wait_for('increase(container_cpu_usage_seconds_total{container="runner"}[1m]) > 0')
        found = prometheus.query(f'container_cpu_usage_seconds_total{{namespace="{site.namespace}"}}')
    assert sorted(each["metric"].get("container", "") for each in found) == ["", "runner"]


def value(prometheus: PrometheusServer, promql: str) -> float:
    """Return the only value of a query."""
    (element,) = prometheus.query(promql)
    return float(element["value"][1])
