"""The operator's settings: read once from the command line and the environment, then passed as arguments."""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args
from urllib.parse import SplitResult, urlsplit

from infpop_operator.core.errors import SettingError
from infpop_operator.core.object_names import IMAGE_PATTERN, NAME_PATTERN
from infpop_runner.contract import LONGEST_SCRAPE_GRACE_SECONDS

RUNNER_IMAGE_VARIABLE = "INFPOP_RUNNER_IMAGE"
NAMESPACE_VARIABLE = "INFPOP_NAMESPACE"
NODE_SELECTOR_VARIABLE = "INFPOP_NODE_SELECTOR"
NODES_FILE_VARIABLE = "INFPOP_NODES_FILE"
TICK_VARIABLE = "INFPOP_TICK_SECONDS"
RESYNC_VARIABLE = "INFPOP_RESYNC_SECONDS"
STOP_VARIABLE = "INFPOP_STOP_SECONDS"
STATUS_PAUSE_VARIABLE = "INFPOP_STATUS_PAUSE_SECONDS"
METRICS_PORT_VARIABLE = "INFPOP_METRICS_PORT"
SOURCES_VARIABLE = "INFPOP_METRICS_SOURCES"
SCRAPE_GRACE_VARIABLE = "INFPOP_SCRAPE_GRACE_SECONDS"
PROMETHEUS_URL_VARIABLE = "INFPOP_PROMETHEUS_URL"
PROMETHEUS_TIMEOUT_VARIABLE = "INFPOP_PROMETHEUS_TIMEOUT_SECONDS"
PROMETHEUS_PATIENCE_VARIABLE = "INFPOP_PROMETHEUS_PATIENCE_SECONDS"
PROMETHEUS_TOKEN_VARIABLE = "INFPOP_PROMETHEUS_TOKEN_FILE"  # noqa: S105 - the name of a variable, not a password
PROMETHEUS_CA_VARIABLE = "INFPOP_PROMETHEUS_CA_FILE"
PROMETHEUS_CERT_VARIABLE = "INFPOP_PROMETHEUS_CERT_FILE"
PROMETHEUS_KEY_VARIABLE = "INFPOP_PROMETHEUS_KEY_FILE"
PROMETHEUS_HEADERS_VARIABLE = "INFPOP_PROMETHEUS_HEADERS_FILE"

SourceName = Literal["Prometheus", "PodMetrics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSettings:
    """How the operator queries Prometheus, or a service with its HTTP API (Thanos, Mimir, VictoriaMetrics).

    Secrets are files that are read again for every request, so that a mounted Secret can be rotated.

    Attributes:
        url: base URL in front of `/api/v1/query`, including a path prefix if there is one.
        timeout_seconds: timeout of one request.
        patience_seconds: how long a query is retried while it fails or returns nothing: scraped samples become
            available a moment later.
        token_file: file with the bearer token.
        ca_file: CA certificates that verify the server's certificate; None: those of the system.
        cert_file: client certificate, PEM.
        key_file: key of the client certificate, PEM.
        headers_file: additional headers, one `Name: value` per line (for example X-Scope-OrgID for Mimir).
    """

    url: str
    timeout_seconds: float = 5.0
    patience_seconds: float = 10.0
    token_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    headers_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of the operator.

    Attributes:
        runner_image: default runner image of pools and engines that name none; None: each study must name one.
        namespace: the only namespace that the operator watches; None: all namespaces.
        node_selector: label selector of the nodes that the operator watches; None: all nodes, so that pools without a
            GPU work too.
        nodes_file: file that lists the nodes, for an operator that may not read Nodes; None: read them from the API
            server.
        workers: number of studies that are reconciled concurrently. A reconcile takes milliseconds; the limit protects
            the API server.
        tick_seconds: how often unfinished studies are reconciled without an event: timeouts, phases and reasons are at
            most this old.
        resync_seconds: how often the operator lists all objects again, to repair what a watch missed.
        status_pause_seconds: minimum time between status writes that change only the phase of a run.
        stop_seconds: how long the operator waits for a stopped run to end, including the Pod's grace period of 30 s.
        metrics_port: port on which the operator serves its own metrics; None: it serves none.
        prometheus: how to query Prometheus; None: the operator does not use it.
        sources: metrics sources in order of trust, the most trusted first; the run's own result comes last.
        scrape_grace_seconds: how long a finished run keeps its Pod so that Prometheus can scrape it once more. Without
            Prometheus a run ends immediately.
    """

    runner_image: str | None = None
    namespace: str | None = None
    node_selector: str | None = None
    nodes_file: Path | None = None
    workers: int = 8
    tick_seconds: float = 15.0
    resync_seconds: float = 300.0
    status_pause_seconds: float = 5.0
    stop_seconds: float = 120.0
    metrics_port: int | None = None
    prometheus: PrometheusSettings | None = None
    sources: tuple[SourceName, ...] = ("Prometheus", "PodMetrics")
    scrape_grace_seconds: float = 60.0

    @property
    def held_seconds(self) -> float:
        """How long finished runs wait for a scrape: 0 if Prometheus is not one of the metrics sources."""
        return self.scrape_grace_seconds if self.prometheus is not None and "Prometheus" in self.sources else 0.0


def settings_from(environment: Mapping[str, str], *, namespace: str | None) -> Settings:
    """Return the settings from the environment; an empty variable counts as unset.

    Args:
        environment: environment variables of the process.
        namespace: namespace from the command line, which takes precedence over the environment.

    Raises:
        SettingError: a variable is invalid; the message names it and the remedy.
    """
    defaults = Settings()
    return Settings(
        runner_image=_matching(environment.get(RUNNER_IMAGE_VARIABLE), RUNNER_IMAGE_VARIABLE, IMAGE_PATTERN),
        node_selector=environment.get(NODE_SELECTOR_VARIABLE) or None,
        nodes_file=_path(environment, NODES_FILE_VARIABLE),
        namespace=_matching(namespace, "--namespace", NAME_PATTERN)
        or _matching(environment.get(NAMESPACE_VARIABLE), NAMESPACE_VARIABLE, NAME_PATTERN),
        tick_seconds=_seconds(environment, TICK_VARIABLE, defaults.tick_seconds),
        resync_seconds=_seconds(environment, RESYNC_VARIABLE, defaults.resync_seconds),
        status_pause_seconds=_seconds(environment, STATUS_PAUSE_VARIABLE, defaults.status_pause_seconds),
        stop_seconds=_seconds(environment, STOP_VARIABLE, defaults.stop_seconds),
        metrics_port=_port(environment, METRICS_PORT_VARIABLE),
        prometheus=_prometheus(environment),
        sources=_sources(environment, defaults.sources),
        scrape_grace_seconds=_grace(environment, defaults.scrape_grace_seconds),
    )


_NOT_MATCHING = {
    IMAGE_PATTERN: "is not an image. Use one such as registry.example.com/runner:1.0.",
    NAME_PATTERN: "is not the name of a namespace. Use lower-case letters, digits and dashes.",
}


def _matching(text: str | None, source: str, pattern: str) -> str | None:
    """Return a text that matches the pattern, None if it is absent or empty."""
    if text and not re.fullmatch(pattern.strip("^$"), text):
        raise SettingError(f"{source}={text!r}: {_NOT_MATCHING[pattern]}")
    return text or None


def _prometheus(environment: Mapping[str, str]) -> PrometheusSettings | None:
    url = environment.get(PROMETHEUS_URL_VARIABLE)
    if not url:
        return None
    parts = _split(url)
    if parts is None:
        raise SettingError(
            f"{PROMETHEUS_URL_VARIABLE}={url!r}: is not a URL. Use one such as http://prometheus.monitoring.svc:9090."
        )
    if parts.username is not None or parts.password is not None:
        raise SettingError(
            f"{PROMETHEUS_URL_VARIABLE}: contains a password. Use {PROMETHEUS_HEADERS_VARIABLE} instead."
        )
    certificate, key = _path(environment, PROMETHEUS_CERT_VARIABLE), _path(environment, PROMETHEUS_KEY_VARIABLE)
    if (certificate is None) != (key is None):
        raise SettingError(f"{PROMETHEUS_CERT_VARIABLE} and {PROMETHEUS_KEY_VARIABLE}: set both or neither.")
    defaults = PrometheusSettings(url=url.rstrip("/"))
    return replace(
        defaults,
        timeout_seconds=_seconds(environment, PROMETHEUS_TIMEOUT_VARIABLE, defaults.timeout_seconds),
        patience_seconds=_seconds(environment, PROMETHEUS_PATIENCE_VARIABLE, defaults.patience_seconds),
        token_file=_path(environment, PROMETHEUS_TOKEN_VARIABLE),
        ca_file=_path(environment, PROMETHEUS_CA_VARIABLE),
        cert_file=certificate,
        key_file=key,
        headers_file=_path(environment, PROMETHEUS_HEADERS_VARIABLE),
    )


def _split(url: str) -> SplitResult | None:
    """Return the parts of a URL that a path can be appended to, None for any other text."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError if it is invalid
    except ValueError:
        return None
    is_base = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
    return parts if is_base else None


def _path(environment: Mapping[str, str], variable: str) -> Path | None:
    text = environment.get(variable)
    return Path(text) if text else None


def _port(environment: Mapping[str, str], variable: str) -> int | None:
    text = environment.get(variable)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65_536):  # noqa: PLR2004 - the range of ports
        raise SettingError(f"{variable}={text!r}: is not a port. Use a number from 1 to 65535, for example 8000.")
    return int(text)


def _sources(environment: Mapping[str, str], default: tuple[SourceName, ...]) -> tuple[SourceName, ...]:
    text = environment.get(SOURCES_VARIABLE)
    if not text:
        return default
    names = tuple(part.strip() for part in text.split(","))
    known: tuple[SourceName, ...] = get_args(SourceName)
    if len(set(names)) != len(names) or not set(names) <= set(known):
        raise SettingError(f"{SOURCES_VARIABLE}={text!r}: use each of {', '.join(known)} at most once, best first.")
    return cast("tuple[SourceName, ...]", names)


def _grace(environment: Mapping[str, str], default: float) -> float:
    seconds = _seconds(environment, SCRAPE_GRACE_VARIABLE, default)
    if seconds > LONGEST_SCRAPE_GRACE_SECONDS:
        most = f"{LONGEST_SCRAPE_GRACE_SECONDS:g}"
        raise SettingError(f"{SCRAPE_GRACE_VARIABLE}={seconds:g}: use at most {most}: the run holds its GPUs.")
    return seconds


def check_watched(settings: Settings, watched: Collection[str]) -> None:
    """Check that kopf, which has its own command line, watches the namespace of the settings and no other.

    Args:
        settings: the operator's settings.
        watched: the namespaces that kopf watches, empty for all namespaces.

    Raises:
        SettingError: they differ.
    """
    if set(watched) == ({settings.namespace} - {None}):
        return
    given = f"--namespace {', '.join(sorted(watched))}" if watched else "no --namespace"
    remedy = f"Set both to the same namespace, or neither for all: InfPop acts on {NAMESPACE_VARIABLE}."
    raise SettingError(
        f"kopf was started with {given}, but {NAMESPACE_VARIABLE} is {settings.namespace or 'unset'}. {remedy}"
    )


def _seconds(environment: Mapping[str, str], variable: str, default: float) -> float:
    text = environment.get(variable)
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise SettingError(f"{variable}={text!r}: is not a duration. Use seconds above 0, for example {default:g}.")
    return number
