"""The operator's process: clocks, environment and connections are made here and passed on."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import kopf

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.connection import FindConnection, find_connection
from infpop_operator.adapters.kube.nodes_file import NodesFile
from infpop_operator.adapters.kube.pod_metrics import build_client
from infpop_operator.adapters.prometheus import PrometheusMetrics
from infpop_operator.cluster.metrics.operator_metrics import OperatorMetrics
from infpop_operator.cluster.service import Service
from infpop_operator.handlers.login import register_login
from infpop_operator.handlers.registration import register
from infpop_operator.settings import Settings, settings_from


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says: whose API server, which namespace, where to answer probes and show metrics."""

    context: str | None = None
    kubeconfig: str | None = None
    namespace: str | None = None
    liveness: str | None = None
    metrics_port: int | None = None


def run_operator(options: Options) -> None:
    """Run the operator until it is told to end.

    Raises:
        InfPopError: the environment, or the way to the cluster, is not set up as it must be.
    """
    settings = settings_from(os.environ, namespace=options.namespace)  # noqa: TID251 - the edge
    if options.metrics_port is not None:
        settings = replace(settings, metrics_port=options.metrics_port)
    find = partial(find_connection, context=options.context, kubeconfig=options.kubeconfig)
    asyncio.run(_check(find))  # kopf would log a traceback a minute instead
    registry = kopf.OperatorRegistry()
    wire(registry, settings, find)
    kopf.run(
        registry=registry,
        standalone=True,
        clusterwide=settings.namespace is None,
        namespaces=() if settings.namespace is None else (settings.namespace,),
        liveness_endpoint=options.liveness,
    )


def wire(registry: kopf.OperatorRegistry, settings: Settings, find: FindConnection) -> None:
    """Add everything of the operator to `registry`."""
    register_login(registry, find)
    register(registry, partial(open_service, settings, find), settings)


async def _check(find: FindConnection) -> None:
    """Find out whether a connection is configured, without a request."""
    async with KubeClient(await find()):
        pass


@contextlib.asynccontextmanager
async def open_service(settings: Settings, find: FindConnection) -> AsyncIterator[Service]:
    """Open the service with its connections.

    Raises:
        InfPopError: a file that the settings name cannot be used, or there is no way to the cluster.
    """
    if settings.nodes_file is not None:
        NodesFile(settings.nodes_file).read()  # later a bad one is a warning, and the nodes stay as they were
    connection = await find()
    metrics = OperatorMetrics(time.monotonic)
    async with (
        KubeClient(connection, namespace=settings.namespace, find=find, count=metrics.count_api_request) as client,
        build_client() as http,
        _open_prometheus(settings, metrics) as prometheus,
    ):
        yield Service(
            client, http, settings, prometheus=prometheus, metrics=metrics, clock=_now, monotonic=time.monotonic
        )


@contextlib.asynccontextmanager
async def _open_prometheus(settings: Settings, metrics: OperatorMetrics) -> AsyncIterator[PrometheusMetrics | None]:
    if settings.prometheus is None:
        yield None
        return
    async with PrometheusMetrics(settings.prometheus, now=_now, count=metrics.count_prometheus_query) as prometheus:
        yield prometheus


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the edge
