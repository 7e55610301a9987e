"""The operator as one object: what starts, what runs beside the watches, and whether it is alive.

Watches tell what changed (`seen`), the queue works, the tick looks at what time may have changed, and now and then
everything is listed anew. When one of these ends, the operator has failed and has to end: a dead task behind a green
probe is the worst that can happen.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from random import Random
from typing import Literal

import httpx

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import KubeError
from infpop_operator.adapters.kube.labels import MANAGED_BY, MANAGER
from infpop_operator.adapters.kube.nodes_file import NodesFile
from infpop_operator.adapters.kube.records import Body, NodeRecord, parse_job, parse_node, parse_pod
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.events import Recorder
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.metrics.exposition import MetricsPage
from infpop_operator.cluster.metrics.operator_metrics import OperatorMetrics
from infpop_operator.cluster.metrics_gatherer import MetricsGatherer
from infpop_operator.cluster.reconciler import Reconciler
from infpop_operator.cluster.run_probes import RunProbes
from infpop_operator.cluster.study_memory import StudyMemories
from infpop_operator.cluster.work_queue import WorkQueue
from infpop_operator.core.errors import SettingError
from infpop_operator.core.ports import PrometheusSource
from infpop_operator.core.search import warm_up
from infpop_operator.settings import Settings

_log = logging.getLogger(__name__)

SELECTOR = f"{MANAGED_BY}={MANAGER}"
Kind = Literal["study", "job", "pod", "node"]
_TICKS_UNTIL_DEAD = 8  # the usual tick of 15 s is dead after two minutes
_NEVER_DEAD_BEFORE_S = 120.0  # a shorter tick waits as long for an API server or for a turn on a busy node
_STUCK_S = 600.0  # no look takes that long: every request of it has a time-out


class Service:
    """Looks after every study of a cluster, or of one namespace.

    Args:
        client: to the API server.
        http: for the metrics of pods.
        prometheus: where numbers come from first; None: there is none.
        settings: of the operator.
        metrics: what the operator counts about itself.
        clock: the time, aware.
        monotonic: seconds that never go back.
    """

    def __init__(
        self,
        client: KubeClient,
        http: httpx.AsyncClient,
        settings: Settings,
        *,
        prometheus: PrometheusSource | None = None,
        metrics: OperatorMetrics,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._client = client
        self._settings = settings
        self._nodes_file = None if settings.nodes_file is None else NodesFile(settings.nodes_file)
        self._clock = clock
        self._monotonic = monotonic
        self.metrics = metrics
        self.cache = Cache()
        self._memories = StudyMemories()
        self._probes = RunProbes(client, http, self.cache, self._memories)
        self._gatherer = MetricsGatherer(
            pods=self._probes, prometheus=prometheus, order=settings.sources, done=lambda key: self._mark((key,))
        )
        self._reconciler = Reconciler(
            client=client,
            cache=self.cache,
            memories=self._memories,
            probes=self._probes,
            gatherer=self._gatherer,
            metrics=metrics,
            recorder=Recorder(client, clock),
            settings=settings,
            clock=clock,
        )
        self.queue = WorkQueue(
            self._reconciler.reconcile,
            workers=settings.workers,
            clock=monotonic,
            random=Random(),
            watch=metrics.count_reconcile,
        )
        self.page = MetricsPage(metrics, self.cache, queue_depth=lambda: self.queue.depth, clock=clock)
        self._last_tick_s = monotonic()

    def seen(self, kind: Kind, body: Body, *, deleted: bool) -> None:
        """Take in what a watch told, and have the studies looked at that it is about."""
        match kind:
            case "study":
                keys = self.cache.see_study(body, deleted=deleted)
            case "job":
                keys = self.cache.see_job(parse_job(body), deleted=deleted)
            case "pod":
                keys = self.cache.see_pod(parse_pod(body), deleted=deleted)
            case "node":
                keys = self.cache.see_node(parse_node(body), deleted=deleted)
        self._mark(keys)

    def seconds_since_tick(self) -> float:
        """Return how long ago the tick was last alive."""
        return self._monotonic() - self._last_tick_s

    def is_alive(self) -> bool:
        """Say whether looks end, and the tick still ticks: it shares its loop and its client with everything else."""
        longest_s = max(_NEVER_DEAD_BEFORE_S, _TICKS_UNTIL_DEAD * self._settings.tick_seconds)
        return self.seconds_since_tick() < longest_s and self.queue.seconds_stuck() < _STUCK_S

    async def run(self) -> None:
        """Work until cancelled, or until something fails that should never fail."""
        await asyncio.to_thread(warm_up)
        await self._list_until_it_works()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.queue.run(), name="queue")
                tasks.create_task(self._tick(), name="tick")
                tasks.create_task(self._resync(), name="resync")
                tasks.create_task(self._watch_prometheus(), name="prometheus")
        finally:
            for memory in self._memories:
                memory.drop_ended_runs(())  # what is not known by now is asked by the next operator

    async def list_all(self) -> tuple[StudyKey, ...]:
        """List everything, and return every study: each has to be looked at.

        Raises:
            KubeError: the API server could not be asked.
            SettingError: the file that says which nodes there are cannot be used.
        """
        # Each is taken in at once: the longer it lies, the more of it the watches know better.
        self.cache.replace_nodes(*await self._list_nodes())
        self.cache.replace_jobs(*await self._client.list_jobs(SELECTOR))
        self.cache.replace_pods(*await self._client.list_pods(SELECTOR))
        return self.cache.replace_studies(*await self._client.list_studies())

    async def _list_nodes(self) -> tuple[list[NodeRecord], str]:
        if self._nodes_file is not None:
            return self._nodes_file.read()
        return await self._client.list_nodes(self._settings.node_selector)

    async def _list_until_it_works(self) -> None:
        while True:
            try:
                self._mark(await self.list_all())
            except (KubeError, SettingError) as error:
                _log.warning("the cluster cannot be listed, again in %.0f s: %s", self._settings.tick_seconds, error)
                self._last_tick_s = self._monotonic()
                await asyncio.sleep(self._settings.tick_seconds)
            else:
                return

    async def _tick(self) -> None:
        """Look at the unfinished studies bit by bit: all at once, hundreds would keep a result waiting for seconds."""
        while True:
            keys = self._reconciler.unfinished()
            if not keys:
                self.metrics.note_progress()
            parts = max(1, min(len(keys), int(self._settings.tick_seconds)))
            for part in range(parts):
                self._last_tick_s = self._monotonic()
                await self._probes.probe(keys[part::parts], self._clock())
                self._mark(keys[part::parts])
                await asyncio.sleep(self._settings.tick_seconds / parts)

    async def _watch_prometheus(self) -> None:
        """Ask whether Prometheus answers, also while no run ends, so that an outage is told before it matters."""
        while True:
            await self._gatherer.probe()
            await asyncio.sleep(self._settings.tick_seconds)

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(self._settings.resync_seconds)
            try:
                keys = await self.list_all()
                self._reconciler.recheck_published()
                self._mark(keys, within_s=self._settings.tick_seconds)
            except (KubeError, SettingError) as error:
                _log.warning("resync: %s", error)

    def _mark(self, keys: Sequence[StudyKey], *, within_s: float = 0.0) -> None:
        for position, key in enumerate(keys):
            self.queue.mark(key, after_s=within_s * position / len(keys))
