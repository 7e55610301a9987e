"""The operator's settings: read once from the environment, and refused if invalid."""

from pathlib import Path

import pytest

from infpop_operator.core.errors import SettingError
from infpop_operator.settings import PrometheusSettings, Settings, settings_from

_TIMES = ("TICK", "RESYNC", "STOP", "STATUS_PAUSE", "SCRAPE_GRACE")
PROMETHEUS = "http://prometheus:9090"


def test_an_empty_environment_gives_the_defaults() -> None:
    """No variable is required, and an empty variable counts as unset."""
    assert settings_from({}, namespace=None) == Settings()
    empty = dict.fromkeys(("INFPOP_RUNNER_IMAGE", "INFPOP_NODE_SELECTOR", "INFPOP_TICK_SECONDS"), "")
    assert settings_from(empty, namespace=None) == Settings()


def test_the_environment_sets_everything() -> None:
    """Each variable sets its own field."""
    environment = {
        "INFPOP_RUNNER_IMAGE": "example.org/runner:1",
        "INFPOP_NODE_SELECTOR": "gpu=true",
        "INFPOP_NODES_FILE": "/etc/nodes.yaml",
        "INFPOP_TICK_SECONDS": "1.5",
        "INFPOP_RESYNC_SECONDS": "20",
        "INFPOP_STOP_SECONDS": "3",
        "INFPOP_STATUS_PAUSE_SECONDS": "0.5",
        "INFPOP_METRICS_PORT": "8000",
        "INFPOP_METRICS_SOURCES": "PodMetrics, Prometheus",
        "INFPOP_SCRAPE_GRACE_SECONDS": "90",
        "INFPOP_PROMETHEUS_URL": "https://mimir.monitoring.svc/prometheus/",
        "INFPOP_PROMETHEUS_TIMEOUT_SECONDS": "2",
        "INFPOP_PROMETHEUS_PATIENCE_SECONDS": "7",
        "INFPOP_PROMETHEUS_TOKEN_FILE": "/secrets/token",
        "INFPOP_PROMETHEUS_CA_FILE": "/secrets/ca.crt",
        "INFPOP_PROMETHEUS_CERT_FILE": "/secrets/tls.crt",
        "INFPOP_PROMETHEUS_KEY_FILE": "/secrets/tls.key",
        "INFPOP_PROMETHEUS_HEADERS_FILE": "/secrets/headers",
    }
    assert settings_from(environment, namespace="serving") == Settings(
        runner_image="example.org/runner:1",
        namespace="serving",
        node_selector="gpu=true",
        nodes_file=Path("/etc/nodes.yaml"),
        tick_seconds=1.5,
        resync_seconds=20.0,
        status_pause_seconds=0.5,
        stop_seconds=3.0,
        metrics_port=8000,
        sources=("PodMetrics", "Prometheus"),
        scrape_grace_seconds=90.0,
        prometheus=PrometheusSettings(
            url="https://mimir.monitoring.svc/prometheus",
            timeout_seconds=2.0,
            patience_seconds=7.0,
            token_file=Path("/secrets/token"),
            ca_file=Path("/secrets/ca.crt"),
            cert_file=Path("/secrets/tls.crt"),
            key_file=Path("/secrets/tls.key"),
            headers_file=Path("/secrets/headers"),
        ),
    )


def test_the_environment_may_name_the_namespace() -> None:
    """The command line takes precedence."""
    environment = {"INFPOP_NAMESPACE": "team-a"}
    assert settings_from(environment, namespace=None).namespace == "team-a"
    assert settings_from(environment, namespace="team-b").namespace == "team-b"


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
@pytest.mark.parametrize("variable", [f"INFPOP_{name}_SECONDS" for name in _TIMES])
def test_a_time_that_is_none_is_refused(variable: str, text: str) -> None:
    """The error names the variable, its value and what to write instead."""
    with pytest.raises(SettingError, match=rf"^{variable}='{text}': is not a duration\. Use seconds above 0"):
        settings_from({variable: text}, namespace=None)


@pytest.mark.parametrize(
    ("variable", "text", "complaint"),
    [
        ("INFPOP_METRICS_PORT", "http", "is not a port"),
        ("INFPOP_METRICS_PORT", "0", "is not a port"),
        ("INFPOP_METRICS_PORT", "70000", "is not a port"),
        ("INFPOP_METRICS_SOURCES", "Prometheus,Pushgateway", "use each of Prometheus, PodMetrics at most once"),
        ("INFPOP_METRICS_SOURCES", "Prometheus,Prometheus", "use each of Prometheus, PodMetrics at most once"),
        ("INFPOP_SCRAPE_GRACE_SECONDS", "3600", "use at most 600: the run holds its GPUs"),
        ("INFPOP_PROMETHEUS_URL", "prometheus:9090", "is not a URL"),
        ("INFPOP_PROMETHEUS_URL", "file:///etc/passwd", "is not a URL"),
        ("INFPOP_PROMETHEUS_URL", "http://[::1", "is not a URL"),
        ("INFPOP_PROMETHEUS_URL", "http://prometheus:port", "is not a URL"),
        ("INFPOP_PROMETHEUS_URL", "http://prometheus:9090?tenant=a", "is not a URL"),
    ],
)
def test_what_metrics_cannot_be_is_refused(variable: str, text: str, complaint: str) -> None:
    """The error names the variable and what to write instead."""
    with pytest.raises(SettingError, match=rf"^{variable}=.*{complaint}"):
        settings_from({variable: text}, namespace=None)


def test_a_password_in_the_address_is_refused_and_not_shown() -> None:
    """Secrets are mounted: an address appears in logs and messages."""
    with pytest.raises(SettingError, match="contains a password") as caught:
        settings_from({"INFPOP_PROMETHEUS_URL": "http://me:hunter2@prometheus"}, namespace=None)
    assert "hunter2" not in str(caught.value)


def test_a_certificate_without_its_key_is_refused() -> None:
    """Half of a pair is a mistake."""
    environment = {"INFPOP_PROMETHEUS_URL": PROMETHEUS, "INFPOP_PROMETHEUS_CERT_FILE": "/secrets/tls.crt"}
    with pytest.raises(SettingError, match="set both or neither"):
        settings_from(environment, namespace=None)


def test_runs_are_held_only_for_a_prometheus_whose_numbers_are_wanted() -> None:
    """No GPU waits for a scrape whose values no source will read."""
    prometheus = PrometheusSettings(url=PROMETHEUS)
    assert Settings().held_seconds == 0.0
    assert Settings(prometheus=prometheus).held_seconds == 60.0
    assert Settings(prometheus=prometheus, sources=("PodMetrics",)).held_seconds == 0.0


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("INFPOP_RUNNER_IMAGE", "example.org/Runner:1"),
        ("INFPOP_RUNNER_IMAGE", "run ner"),
        ("INFPOP_NAMESPACE", "a.b"),
        ("INFPOP_NAMESPACE", "Serving"),
    ],
)
def test_a_name_that_the_cluster_would_refuse_is_refused_at_the_start(variable: str, text: str) -> None:
    """Otherwise each run would fail on its node, or the operator would watch a namespace that cannot exist."""
    with pytest.raises(SettingError, match=f"^{variable}='{text}': is not "):
        settings_from({variable: text}, namespace=None)
