"""Scrape configurations as used in production.

Three ways to find targets: by the annotations of Pods, as most charts do it; by a PodMonitor, as the Prometheus
Operator translates it; and by a list of addresses.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus.server import duration

Document = dict[str, Any]
_ANNOTATION = "__meta_kubernetes_pod_annotation_prometheus_io_"


def annotated_pods(kubeconfig: Path, *, namespace: str | None = None) -> Document:
    """Return the job `kubernetes-pods` of the chart prometheus-community/prometheus, without the sharding by `slow`.

    It keeps the labels that a target sets itself, and copies the labels of Pods.
    """
    return {
        "job_name": "kubernetes-pods",
        "honor_labels": True,
        "kubernetes_sd_configs": [_pods(kubeconfig, () if namespace is None else (namespace,))],
        "relabel_configs": [
            {"source_labels": [f"{_ANNOTATION}scrape"], "action": "keep", "regex": "true"},
            {"source_labels": [f"{_ANNOTATION}scheme"], "regex": "(https?)", "target_label": "__scheme__"},
            {"source_labels": [f"{_ANNOTATION}path"], "regex": "(.+)", "target_label": "__metrics_path__"},
            {
                "source_labels": [f"{_ANNOTATION}port", "__meta_kubernetes_pod_ip"],
                "regex": r"(\d+);((([0-9]+?)(\.|$)){4})",
                "replacement": "$2:$1",
                "target_label": "__address__",
            },
            {"action": "labelmap", "regex": f"{_ANNOTATION}param_(.+)", "replacement": "__param_$1"},
            {"action": "labelmap", "regex": "__meta_kubernetes_pod_label_(.+)"},
            {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
            {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
            {
                "source_labels": ["__meta_kubernetes_pod_phase"],
                "action": "drop",
                "regex": "Pending|Succeeded|Failed|Completed",
            },
            {"source_labels": ["__meta_kubernetes_pod_node_name"], "target_label": "node"},
        ],
    }


def monitored_pods(
    monitor: Mapping[str, Any],
    kubeconfig: Path,
    *,
    namespace: str | None = None,
    interval_seconds: float | None = None,
) -> Document:
    """Return what the Prometheus Operator generates for a PodMonitor with one endpoint.

    The labels of the target override those that it sets itself, which become `exported_`.

    Args:
        monitor: the manifest of the PodMonitor.
        kubeconfig: a kubeconfig that may watch Pods.
        namespace: discover Pods only in this namespace, whatever the manifest says.
        interval_seconds: replaces the manifest's interval.

    Raises:
        ValueError: the manifest has a field that is not translated here, so that a test of it would prove nothing.

    Source: generatePodMonitorConfig in pkg/prometheus/promcfg.go of prometheus-operator, with its defaults.
    """
    metadata, spec = monitor["metadata"], monitor["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    selector = spec["selector"]
    _refuse_unknown(monitor, "apiVersion", "kind", "metadata", "spec")
    _refuse_unknown(spec, "namespaceSelector", "selector", "podMetricsEndpoints")
    _refuse_unknown(selector, "matchLabels")
    _refuse_unknown(endpoint, "port", "interval")
    owner = metadata.get("namespace", "default")
    config: Document = {
        "job_name": f"podMonitor/{owner}/{metadata['name']}/0",
        "honor_labels": False,
        "kubernetes_sd_configs": [_pods(kubeconfig, _selected(spec, owner) if namespace is None else (namespace,))],
        "relabel_configs": [
            {"source_labels": ["job"], "target_label": "__tmp_prometheus_job_name"},
            {"source_labels": ["__meta_kubernetes_pod_phase"], "action": "drop", "regex": "(Failed|Succeeded)"},
            *(_keep_label(name, value) for name, value in sorted(selector["matchLabels"].items())),
            {
                "source_labels": ["__meta_kubernetes_pod_container_port_name"],
                "action": "keep",
                "regex": endpoint["port"],
            },
            {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
            {"source_labels": ["__meta_kubernetes_pod_container_name"], "target_label": "container"},
            {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
            {"target_label": "job", "replacement": f"{owner}/{metadata['name']}"},
            {"target_label": "endpoint", "replacement": endpoint["port"]},
        ],
    }
    if interval_seconds is not None:
        config["scrape_interval"] = duration(interval_seconds)
    elif "interval" in endpoint:
        config["scrape_interval"] = endpoint["interval"]
    return config


def static_targets(
    job: str, *addresses: str, honor_labels: bool = False, labels: Mapping[str, str] | None = None
) -> Document:
    """Return a job for fixed addresses, each as `host:port`, with the given labels."""
    return {
        "job_name": job,
        "honor_labels": honor_labels,
        "static_configs": [{"targets": list(addresses), "labels": dict(labels or {})}],
    }


def _pods(kubeconfig: Path, namespaces: tuple[str, ...]) -> Document:
    discovery: Document = {"role": "pod", "kubeconfig_file": str(kubeconfig)}
    return {**discovery, "namespaces": {"names": list(namespaces)}} if namespaces else discovery


def _selected(spec: Mapping[str, Any], owner: str) -> tuple[str, ...]:
    """Return the namespaces that a PodMonitor selects; None means all, an empty selector means its own."""
    selector = spec.get("namespaceSelector", {})
    _refuse_unknown(selector, "any", "matchNames")
    return () if selector.get("any") else tuple(selector.get("matchNames", (owner,)))


def _keep_label(name: str, value: str) -> Document:
    key = "".join(character if character.isalnum() else "_" for character in name)
    labels = [f"__meta_kubernetes_pod_label_{key}", f"__meta_kubernetes_pod_labelpresent_{key}"]
    return {"source_labels": labels, "action": "keep", "regex": f"({value});true"}


def _refuse_unknown(document: Mapping[str, Any], *known: str) -> None:
    unknown = sorted(document.keys() - set(known))
    if unknown:
        raise ValueError(f"PodMonitor: {', '.join(unknown)}: not translated here")
