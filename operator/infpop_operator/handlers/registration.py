"""Wire the operator's service to kopf: watches, start, end and probe.

On objects there are only `on.event` handlers. Timers, daemons and deletion handlers put a finalizer on the object, and
handlers of changes keep annotations on it (kopf 1.45): neither is ever written here, so an uninstall never hangs. What
an `on.event` handler returns would be patched into the object, so they return nothing; what they raise is logged and
forgotten, so they do nothing that can fail.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import kopf

from infpop_operator.api.resource import GROUP, PLURAL, VERSION
from infpop_operator.cluster.service import SELECTOR, Kind, Service
from infpop_operator.core.errors import InfPopError
from infpop_operator.handlers.metrics_server import serve_metrics
from infpop_operator.settings import Settings

_log = logging.getLogger(__name__)

# What kopf watches -> what the service calls it. `batch/jobs` as one word would match nothing, in silence.
WATCHED: tuple[tuple[tuple[str, ...], Kind], ...] = (
    ((GROUP, VERSION, PLURAL), "study"),
    (("batch", "v1", "jobs"), "job"),
    (("", "v1", "pods"), "pod"),
    (("", "v1", "nodes"), "node"),
)
# Of requests that fail: after an outage the watches are back within five seconds, after ten minutes of refusals (a lost
# right, for example) the process ends and is started anew. kopf's own grow to 21 s and give up within a minute.
_BACKOFFS_S = (1, 1, 2, 3, *(5,) * 120)
OpenService = Callable[[], AbstractAsyncContextManager[Service]]


def register(registry: kopf.OperatorRegistry, open_service: OpenService, settings: Settings) -> None:
    """Add our handlers to `registry`; the service lives from kopf's start to its end.

    Args:
        registry: of the kopf operator that is about to run.
        open_service: opens the service with its connections.
        settings: of the operator: what is watched.
    """
    _Handlers(open_service, settings).register(registry)


class _Handlers:
    def __init__(self, open_service: OpenService, settings: Settings) -> None:
        self._open_service = open_service
        self._settings = settings
        self._stack = AsyncExitStack()
        self._service: Service | None = None
        self._has_failed = False

    def register(self, registry: kopf.OperatorRegistry) -> None:
        kopf.on.startup(registry=registry)(self._start)
        kopf.on.cleanup(registry=registry)(self._end)
        kopf.on.probe(id="tick", registry=registry)(self._probe)
        for resource, kind in WATCHED:
            if kind == "node" and self._settings.nodes_file is not None:
                continue  # they are read from a file, and there may be no right to watch them
            kopf.on.event(*resource, id=kind, registry=registry)(self._passing_on(kind))

    async def _start(self, settings: kopf.OperatorSettings, **_: object) -> None:
        configure(settings, self._settings)
        try:
            self._service = await self._stack.enter_async_context(self._open_service())
            if self._settings.metrics_port is not None:
                serving = serve_metrics(self._service.page, port=self._settings.metrics_port)
                await self._stack.enter_async_context(serving)
        except InfPopError as error:
            raise kopf.PermanentError(str(error)) from error  # or kopf would try it again without end
        await self._stack.enter_async_context(_running(self._service, self._fail))

    async def _end(self, **_: object) -> None:
        await self._stack.aclose()
        if self._has_failed:
            raise kopf.PermanentError("the operator's own tasks have failed")  # the exit code tells it

    def _fail(self, error: BaseException | None) -> None:
        """End the process. kopf ends in peace when it is told to, so that it failed is remembered."""
        _log.critical("the operator's own tasks have ended, so the operator ends", exc_info=error)
        self._has_failed = True
        os.kill(os.getpid(), signal.SIGTERM)

    async def _probe(self, **_: object) -> str:
        """Kopf answers 200 whatever a probe returns, and 500 only when it raises what is not tried again."""
        if self._service is None or not self._service.is_alive():
            raise kopf.PermanentError("the tick is not alive, or no look at a study ends")
        return f"{self._service.seconds_since_tick():.1f} s ago"

    def _passing_on(self, kind: Kind) -> Any:  # noqa: ANN401 - kopf's callback protocols are private
        async def pass_on(event: kopf.RawEvent, **_: object) -> None:
            if self._service is not None:
                self._service.seen(kind, event["object"], deleted=event["type"] == "DELETED")

        return pass_on


def configure(settings: kopf.OperatorSettings, ours: Settings) -> None:
    """Set what kopf leaves open: silent watches end, nothing is written, one replica."""
    settings.persistence.finalizer = f"{GROUP}/unused"  # named, should a mistake ever have it written
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = settings.networking.connect_timeout = 10
    settings.watching.inactivity_timeout = 70
    settings.watching.chunk_size = 100  # as in our own client
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = _BACKOFFS_S
    settings.watching.label_selectors["jobs.batch"] = SELECTOR
    settings.watching.label_selectors["pods"] = SELECTOR
    if ours.node_selector is not None:
        settings.watching.label_selectors["nodes"] = ours.node_selector
    # Who looks after one namespace need not be allowed to list CRDs, nor namespaces.
    settings.scanning.disabled = ours.namespace is not None
    settings.queueing.worker_limit = None  # a limit below the number of objects is a deadlock (kopf#1243)
    settings.queueing.idle_timeout = 0.5  # an idle worker holds its object's whole JSON, and a start lists thousands
    settings.posting.enabled = False  # our own Events, on transitions only
    settings.peering.standalone = True  # one replica: chart and strategy see to it
    settings.process.ultimate_exiting_timeout = 25  # inside the 30 s that a pod has to end


class _NoDiffs(kopf.DiffBaseStorage):
    """Keeps nothing to compare with. By default kopf copies every object of every event, for handlers of changes."""

    def build(self, **_: object) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: object) -> None:
        return None

    def store(self, **_: object) -> None:
        return None


@contextlib.asynccontextmanager
async def _running(service: Service, fail: Callable[[BaseException | None], None]) -> AsyncIterator[None]:
    """Run the service's tasks; should they end by themselves, call `fail`."""

    def ended(task: asyncio.Task[None]) -> None:
        fail(task.exception())

    task = asyncio.create_task(service.run(), name="infpop service")
    task.add_done_callback(ended)
    try:
        yield
    finally:
        task.remove_done_callback(ended)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
