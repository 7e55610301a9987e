"""How the operator is set up: read once from the command line and the environment, then passed around."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args
from urllib.parse import SplitResult, urlsplit

from infpop_operator.core.errors import SettingError

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
PROMETHEUS_TOKEN_VARIABLE = "INFPOP_PROMETHEUS_TOKEN_FILE"  # noqa: S105 - the name of a variable
PROMETHEUS_CA_VARIABLE = "INFPOP_PROMETHEUS_CA_FILE"
PROMETHEUS_CERT_VARIABLE = "INFPOP_PROMETHEUS_CERT_FILE"
PROMETHEUS_KEY_VARIABLE = "INFPOP_PROMETHEUS_KEY_FILE"
PROMETHEUS_HEADERS_VARIABLE = "INFPOP_PROMETHEUS_HEADERS_FILE"

SourceName = Literal["Prometheus", "PodMetrics"]
_LONGEST_GRACE_SECONDS = 600.0  # as long as a run spec lets it be


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSettings:
    """How Prometheus, or whatever speaks its HTTP API (Thanos, Mimir, VictoriaMetrics), is asked.

    Secrets are files, read anew for every request, so that a mounted Secret can be rotated.

    Attributes:
        url: in front of `/api/v1/query`, with the path prefix where there is one.
        timeout_seconds: of one request.
        patience_seconds: for how long a question is asked again while there is no answer, or an empty one: what was
            scraped is there a moment later.
        token_file: holds the bearer token.
        ca_file: the certificates that the server's is checked with; None: the system's.
        cert_file: our own certificate, PEM.
        key_file: its key, PEM.
        headers_file: further headers, a `Name: value` a line (X-Scope-OrgID of Mimir, for example).
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
        runner_image: the image of pools and engines that name none; None: a study has to name one.
        namespace: the only namespace that is looked at; None: all of them.
        node_selector: labels of the nodes that are looked at; None: all nodes, so that pools without a GPU work too.
        nodes_file: says which nodes there are, for an operator that may not ask; None: the API server is asked.
        workers: studies looked at at the same time. A look takes milliseconds; the API server is what is spared.
        tick_seconds: how often unfinished studies are looked at although nothing happened: time-outs, phases and
            reasons are at most this old.
        resync_seconds: how often everything is listed anew, to repair what a watch lost.
        status_pause_seconds: a change of a run's phase alone is written at most this often.
        stop_seconds: how long the end of a stopped run is waited for, with the pod's own 30 s of grace inside.
        metrics_port: where the operator shows its own metrics; None: nowhere.
        prometheus: how Prometheus is asked; None: not at all.
        sources: whose number of a trial counts, the most trusted first; the run's own result comes after them.
        scrape_grace_seconds: how long a finished run holds its pod for the scrape that Prometheus owes it. Without
            Prometheus runs end at once.
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
        """How long runs may be held for a scrape: not at all where Prometheus' numbers are not wanted."""
        return self.scrape_grace_seconds if self.prometheus is not None and "Prometheus" in self.sources else 0.0


def settings_from(environment: Mapping[str, str], *, namespace: str | None) -> Settings:
    """Return the settings that the environment names; an empty variable is as good as none.

    Args:
        environment: of the process.
        namespace: what the command line says, which comes before the environment.

    Raises:
        SettingError: a variable is not what it has to be; the message names it and what to write instead.
    """
    usual = Settings()
    return Settings(
        runner_image=environment.get(RUNNER_IMAGE_VARIABLE) or None,
        node_selector=environment.get(NODE_SELECTOR_VARIABLE) or None,
        nodes_file=_path(environment, NODES_FILE_VARIABLE),
        namespace=namespace or environment.get(NAMESPACE_VARIABLE) or None,
        tick_seconds=_seconds(environment, TICK_VARIABLE, usual.tick_seconds),
        resync_seconds=_seconds(environment, RESYNC_VARIABLE, usual.resync_seconds),
        status_pause_seconds=_seconds(environment, STATUS_PAUSE_VARIABLE, usual.status_pause_seconds),
        stop_seconds=_seconds(environment, STOP_VARIABLE, usual.stop_seconds),
        metrics_port=_port(environment, METRICS_PORT_VARIABLE),
        prometheus=_prometheus(environment),
        sources=_sources(environment, usual.sources),
        scrape_grace_seconds=_grace(environment, usual.scrape_grace_seconds),
    )


def _prometheus(environment: Mapping[str, str]) -> PrometheusSettings | None:
    url = environment.get(PROMETHEUS_URL_VARIABLE)
    if not url:
        return None
    parts = _split(url)
    if parts is None:
        raise SettingError(
            f"{PROMETHEUS_URL_VARIABLE}={url!r}: is no address. Give one such as http://prometheus.monitoring.svc:9090."
        )
    if parts.username is not None or parts.password is not None:
        raise SettingError(f"{PROMETHEUS_URL_VARIABLE}: holds a password. Mount {PROMETHEUS_HEADERS_VARIABLE} instead.")
    certificate, key = _path(environment, PROMETHEUS_CERT_VARIABLE), _path(environment, PROMETHEUS_KEY_VARIABLE)
    if (certificate is None) != (key is None):
        raise SettingError(f"{PROMETHEUS_CERT_VARIABLE} and {PROMETHEUS_KEY_VARIABLE}: set both or neither.")
    usual = PrometheusSettings(url=url.rstrip("/"))
    return replace(
        usual,
        timeout_seconds=_seconds(environment, PROMETHEUS_TIMEOUT_VARIABLE, usual.timeout_seconds),
        patience_seconds=_seconds(environment, PROMETHEUS_PATIENCE_VARIABLE, usual.patience_seconds),
        token_file=_path(environment, PROMETHEUS_TOKEN_VARIABLE),
        ca_file=_path(environment, PROMETHEUS_CA_VARIABLE),
        cert_file=certificate,
        key_file=key,
        headers_file=_path(environment, PROMETHEUS_HEADERS_VARIABLE),
    )


def _split(url: str) -> SplitResult | None:
    """Return the parts of an address that a path can be put behind, None for anything else."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is none
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
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65_536):  # noqa: PLR2004 - the ports that there are
        raise SettingError(f"{variable}={text!r}: is no port. Give a number from 1 to 65535, for example 8000.")
    return int(text)


def _sources(environment: Mapping[str, str], default: tuple[SourceName, ...]) -> tuple[SourceName, ...]:
    text = environment.get(SOURCES_VARIABLE)
    if not text:
        return default
    names = tuple(part.strip() for part in text.split(","))
    known: tuple[SourceName, ...] = get_args(SourceName)
    if len(set(names)) != len(names) or not set(names) <= set(known):
        raise SettingError(f"{SOURCES_VARIABLE}={text!r}: give each of {', '.join(known)} once at most, best first.")
    return cast("tuple[SourceName, ...]", names)


def _grace(environment: Mapping[str, str], default: float) -> float:
    seconds = _seconds(environment, SCRAPE_GRACE_VARIABLE, default)
    if seconds > _LONGEST_GRACE_SECONDS:
        raise SettingError(f"{SCRAPE_GRACE_VARIABLE}={seconds:g}: at most {_LONGEST_GRACE_SECONDS:g}; it costs GPUs.")
    return seconds


def check_watched(settings: Settings, watched: Collection[str]) -> None:
    """Check that a framework that was set up by itself watches what the settings say: else we would act on the rest.

    Args:
        settings: of the operator.
        watched: the namespaces that the framework watches, empty for all of them.

    Raises:
        SettingError: they differ.
    """
    if set(watched) == ({settings.namespace} - {None}):
        return
    told = f"--namespace {', '.join(sorted(watched))}" if watched else "no --namespace"
    remedy = f"Set both to one namespace, or neither for all of them: {NAMESPACE_VARIABLE} is what InfPop acts on."
    raise SettingError(f"kopf was given {told} and {NAMESPACE_VARIABLE} is {settings.namespace or 'unset'}. {remedy}")


def _seconds(environment: Mapping[str, str], variable: str, default: float) -> float:
    text = environment.get(variable)
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise SettingError(f"{variable}={text!r}: is no time. Give seconds above 0, for example {default:g}.")
    return number
