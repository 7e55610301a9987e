"""Run the operator's process: this module creates the clocks, settings and connections, and passes them on."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import kopf

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.cluster_clock import ClusterClock
from infpop_operator.adapters.kube.connection import FindConnection, find_connection
from infpop_operator.adapters.kube.nodes_file import NodesFile
from infpop_operator.adapters.kube.pod_metrics import build_client
from infpop_operator.adapters.prometheus import PrometheusMetrics
from infpop_operator.cluster.metrics.operator_metrics import OperatorMetrics
from infpop_operator.cluster.service import Service
from infpop_operator.handlers.login import register_login
from infpop_operator.handlers.registration import register
from infpop_operator.handlers.watches import WatchEndedError, WithoutTraceback, is_refused_watch, refused_watch
from infpop_operator.settings import Settings, settings_from

_KOPF_TASK_LOGGERS = tuple(f"kopf._core.reactor.{name}" for name in ("orchestration", "queueing", "running"))


def run_operator(
    *,
    context: str | None = None,
    kubeconfig: str | None = None,
    namespace: str | None = None,
    liveness: str | None = None,
    metrics_port: int | None = None,
) -> None:
    """Run the operator until it receives a signal to end.

    Args:
        context: context of the kubeconfig.
        kubeconfig: path of a kubeconfig, None to find the API server as kubectl does.
        namespace: the only namespace to watch.
        liveness: URL at which to answer probes.
        metrics_port: port on which to serve metrics.

    Raises:
        WatchEndedError: the API server refused a watch, for example because the CRD was deleted, or its credentials.
        InfPopError: a setting in the environment, or the connection to the cluster, is missing or invalid.
    """
    settings = settings_from(os.environ, namespace=namespace)  # noqa: TID251 - the edge
    if metrics_port is not None:
        settings = replace(settings, metrics_port=metrics_port)
    find = partial(find_connection, context=context, kubeconfig=kubeconfig)
    asyncio.run(_check(find))  # without this check, kopf would log a traceback each minute
    registry = kopf.OperatorRegistry()
    wire(registry, settings, find)
    for logger in _KOPF_TASK_LOGGERS:
        logging.getLogger(logger).addFilter(WithoutTraceback())
    try:
        kopf.run(
            registry=registry,
            standalone=True,
            clusterwide=settings.namespace is None,
            namespaces=() if settings.namespace is None else (settings.namespace,),
            liveness_endpoint=liveness,
        )
    except Exception as error:
        ended = _lost_watch(error)
        if ended is None:
            raise
        raise ended from error


def _lost_watch(error: Exception) -> WatchEndedError | None:
    """Return the watch that ended if that is why kopf failed, None if it failed for another reason."""
    outcomes = getattr(error, "outcomes", {})  # what the handlers of the operator's start or end raised
    for outcome in outcomes.values():
        if isinstance(outcome.exception, WatchEndedError):
            return outcome.exception
    return refused_watch(error) if is_refused_watch(error) else None


def wire(registry: kopf.OperatorRegistry, settings: Settings, find: FindConnection) -> None:
    """Add all handlers of the operator to `registry`."""
    register_login(registry, find)
    register(registry, partial(open_service, settings, find), settings)


async def _check(find: FindConnection) -> None:
    """Check that a connection is configured, without sending a request."""
    async with KubeClient(await find()):
        pass


@contextlib.asynccontextmanager
async def open_service(settings: Settings, find: FindConnection) -> AsyncIterator[Service]:
    """Open the service with its connections, and close them after the `with` block.

    Raises:
        InfPopError: a file that the settings name is unusable, or no connection to the cluster is configured.
    """
    if settings.nodes_file is not None:
        NodesFile(settings.nodes_file).read()  # fail now: later an invalid file is only a warning that changes no Node
    connection = await find()
    metrics, clock = OperatorMetrics(time.monotonic), ClusterClock(_now, time.monotonic)
    async with (
        KubeClient(
            connection, namespace=settings.namespace, find=find, count=metrics.count_api_request, clock=clock
        ) as client,
        build_client() as http,
        _open_prometheus(settings, metrics, clock) as prometheus,
    ):
        service = Service(
            client, http, settings, prometheus=prometheus, metrics=metrics, clock=clock, monotonic=time.monotonic
        )
        clock.on_jump = service.note_jump
        yield service


@contextlib.asynccontextmanager
async def _open_prometheus(
    settings: Settings, metrics: OperatorMetrics, clock: ClusterClock
) -> AsyncIterator[PrometheusMetrics | None]:
    if settings.prometheus is None:
        yield None
        return
    async with PrometheusMetrics(settings.prometheus, now=clock, count=metrics.count_prometheus_query) as prometheus:
        yield prometheus


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the edge
