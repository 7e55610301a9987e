"""Register the operator's service with kopf: watches, startup, cleanup and liveness probe.

All handlers of objects are `on.event` handlers. In kopf 1.45, timers, daemons and deletion handlers add a finalizer to
the object, and change handlers add annotations; the operator writes neither, so that an uninstall never hangs. kopf
would patch the return value of an `on.event` handler into the object, so these handlers return nothing; kopf only logs
what they raise, so they do nothing that can fail.
"""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import kopf

from infpop_operator.api.resource import GROUP, PLURAL, VERSION
from infpop_operator.cluster.service import SELECTOR, Kind, Service
from infpop_operator.core.errors import InfPopError
from infpop_operator.handlers.metrics_server import serve_metrics
from infpop_operator.handlers.watches import WatchEndedError, Watches, end_with_a_watch, watch_prefix
from infpop_operator.settings import Settings

_log = logging.getLogger(__name__)

# A resource that kopf watches -> its kind in the service. `batch/jobs` as one string would silently match nothing.
WATCHED: tuple[tuple[tuple[str, ...], Kind], ...] = (
    ((GROUP, VERSION, PLURAL), "study"),
    (("batch", "v1", "jobs"), "job"),
    (("", "v1", "pods"), "pod"),
    (("", "v1", "nodes"), "node"),
)
# Pauses after failed requests: after an outage the watches are back within five seconds; after ten minutes of refusals
# (for example, a revoked permission) the process ends and is restarted. kopf's defaults grow to 21 s and give up within
# a minute.
_BACKOFFS_S = (1, 1, 2, 3, *(5,) * 120)
OpenService = Callable[[], AbstractAsyncContextManager[Service]]


def register(registry: kopf.OperatorRegistry, open_service: OpenService, settings: Settings) -> None:
    """Add the operator's handlers to `registry`; the service runs from kopf's startup to its cleanup.

    Args:
        registry: the registry of the kopf operator that is about to run.
        open_service: opens the service with its connections.
        settings: the operator's settings; they decide which resources kopf watches.
    """
    _Handlers(open_service, settings).register(registry)


class _Handlers:
    def __init__(self, open_service: OpenService, settings: Settings) -> None:
        self._open_service = open_service
        self._settings = settings
        self._stack = AsyncExitStack()
        self._service: Service | None = None
        self._has_failed = False
        self._lost_watch: str | None = None
        self._watches = Watches(((kind, watch_prefix(resource)) for resource, kind in self._watched()), time.monotonic)

    def _watched(self) -> list[tuple[tuple[str, ...], Kind]]:
        """Return the resources that kopf watches; Nodes from a file are not among them.

        An operator that reads Nodes from a file may lack the permission to watch them.
        """
        from_file = self._settings.nodes_file is not None
        return [(resource, kind) for resource, kind in WATCHED if kind != "node" or not from_file]

    def register(self, registry: kopf.OperatorRegistry) -> None:
        kopf.on.startup(registry=registry)(self._start)
        kopf.on.cleanup(registry=registry)(self._end)
        kopf.on.probe(id="tick", registry=registry)(self._probe)
        for resource, kind in self._watched():
            kopf.on.event(*resource, id=kind, registry=registry)(self._passing_on(kind))

    async def _start(self, settings: kopf.OperatorSettings, **_: object) -> None:
        configure(settings, self._settings)
        try:
            self._service = await self._stack.enter_async_context(self._open_service())
            if self._settings.metrics_port is not None:
                serving = serve_metrics(self._service.page, port=self._settings.metrics_port)
                await self._stack.enter_async_context(serving)
        except InfPopError as error:
            raise kopf.PermanentError(str(error)) from error  # kopf would retry any other error indefinitely
        await self._stack.enter_async_context(_running(self._service.run(), self._fail))
        watching = end_with_a_watch(self._watches, self._service, self._end_for_restart)
        await self._stack.enter_async_context(_running(watching, self._fail))

    async def _end(self, **_: object) -> None:
        await self._stack.aclose()
        if self._lost_watch is not None:
            raise WatchEndedError(f"{self._lost_watch}. The operator has to be restarted.")
        if self._has_failed:
            raise kopf.PermanentError("the operator's own tasks have failed")  # makes the exit code non-zero

    def _fail(self, error: BaseException | None) -> None:
        """End the process, and remember the failure: kopf itself exits with success after a signal."""
        if self._lost_watch is None:
            _log.critical("the operator's own tasks have ended, so the operator ends", exc_info=error)
        self._has_failed = True
        os.kill(os.getpid(), signal.SIGTERM)

    def _end_for_restart(self, why: str) -> None:
        _log.error("%s; the operator ends, to be restarted", why)
        self._lost_watch = why

    async def _probe(self, **_: object) -> str:
        """Raise if the service or a watch has ended: kopf answers 500 only after a permanent error, else 200."""
        if self._lost_watch is not None:
            raise kopf.PermanentError(self._lost_watch)
        if self._service is None or not self._service.is_alive():
            raise kopf.PermanentError("the tick has stopped, or no reconcile of a study finishes")
        return f"{self._service.seconds_since_tick():.1f} s ago"

    def _passing_on(self, kind: Kind) -> Any:  # noqa: ANN401 - kopf's callback protocols are private
        async def pass_on(event: kopf.RawEvent, **_: object) -> None:
            if self._service is not None:
                self._service.seen(kind, event["object"], deleted=event["type"] == "DELETED")

        return pass_on


def configure(settings: kopf.OperatorSettings, ours: Settings) -> None:
    """Configure kopf: time out silent watches, write nothing to objects, and run one replica."""
    settings.persistence.finalizer = f"{GROUP}/unused"  # a recognisable name, in case a defect ever writes it
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = settings.networking.connect_timeout = 10
    settings.watching.inactivity_timeout = 70
    settings.watching.chunk_size = 100  # as in the operator's own client
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = _BACKOFFS_S
    settings.watching.label_selectors["jobs.batch"] = SELECTOR
    settings.watching.label_selectors["pods"] = SELECTOR
    if ours.node_selector is not None:
        settings.watching.label_selectors["nodes"] = ours.node_selector
    # An operator of one namespace may lack the permission to list CRDs and namespaces.
    settings.scanning.disabled = ours.namespace is not None
    settings.queueing.worker_limit = None  # a limit below the number of objects is a deadlock (kopf#1243)
    settings.queueing.idle_timeout = 0.5  # an idle worker keeps its object's JSON, and a startup lists thousands
    settings.posting.enabled = False  # the operator writes its own Events, on transitions only
    settings.peering.standalone = True  # the chart and its update strategy ensure one replica
    settings.process.ultimate_exiting_timeout = 25  # within the 30 s that a Pod has to terminate


class _NoDiffs(kopf.DiffBaseStorage):
    """Stores no last-seen state. By default, kopf copies the object of every event, for the use of change handlers."""

    def build(self, **_: object) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: object) -> None:
        return None

    def store(self, **_: object) -> None:
        return None


@contextlib.asynccontextmanager
async def _running(
    work: Coroutine[Any, Any, None], fail: Callable[[BaseException | None], None]
) -> AsyncIterator[None]:
    """Run `work` until the `with` block ends; call `fail` if it ends earlier."""

    def ended(task: asyncio.Task[None]) -> None:
        fail(task.exception())

    task = asyncio.create_task(work, name="infpop")
    task.add_done_callback(ended)
    try:
        yield
    finally:
        task.remove_done_callback(ended)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
