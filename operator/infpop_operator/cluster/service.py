"""The operator as one object: its start, its background tasks, and its liveness.

Watches report what changed (`seen`); the queue reconciles studies; the tick probes runs and marks unfinished studies,
because time alone may change something for them; and the resync lists all objects again from time to time. When one of
these tasks ends, the operator has failed and the process has to end: the worst failure is a dead task behind a liveness
probe that succeeds.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from random import Random
from typing import Literal, get_args

import httpx

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import KubeError, KubeNotFoundError
from infpop_operator.adapters.kube.labels import RUN
from infpop_operator.adapters.kube.nodes_file import NodesFile
from infpop_operator.adapters.kube.record_parsing import parse_job, parse_node, parse_pod
from infpop_operator.adapters.kube.records import Body, NodeRecord
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.definition import warn_of_an_older_definition
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

SELECTOR = RUN  # a label that no chart, policy or GitOps tool sets, as they set app.kubernetes.io/managed-by
Kind = Literal["study", "job", "pod", "node"]
_TICKS_UNTIL_DEAD = 8  # with the default tick of 15 s, the operator counts as dead after two minutes
_NEVER_DEAD_BEFORE_S = 120.0  # a shorter tick waits just as long for a slow API server or for CPU time on a busy node
_STUCK_S = 600.0  # no reconcile takes that long, because each of its requests has a timeout


class Service:
    """Reconciles every study of a cluster, or of one namespace.

    Args:
        client: the client of the API server.
        http: the HTTP client that scrapes Pods.
        prometheus: the source that queries Prometheus; None if the operator has no Prometheus.
        settings: the operator's settings.
        metrics: the operator's metrics about itself.
        clock: returns the time, with a time zone.
        monotonic: returns seconds that never go back.
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
        """Store an object that a watch reported, and mark the studies that it concerns."""
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

    async def unserved_kinds(self) -> tuple[Kind, ...]:
        """Return the kinds that the API server does not serve now: studies without their CRD, all during an outage."""
        try:
            await self._client.list_one_study()
        except KubeNotFoundError:
            return ("study",)
        except KubeError:
            return get_args(Kind)
        return ()

    def note_jump(self, seconds: float) -> None:
        """Report to every unfinished study that the API server's clock jumped, as its times are uncertain now."""
        self._reconciler.note_jump(seconds)

    def seconds_since_tick(self) -> float:
        """Return how many seconds ago the tick last made progress."""
        return self._monotonic() - self._last_tick_s

    def is_alive(self) -> bool:
        """Return whether reconciles finish and the tick makes progress; all tasks share one event loop and client."""
        longest_s = max(_NEVER_DEAD_BEFORE_S, _TICKS_UNTIL_DEAD * self._settings.tick_seconds)
        return self.seconds_since_tick() < longest_s and self.queue.seconds_stuck() < _STUCK_S

    async def run(self) -> None:
        """Run until cancelled, or until one of the tasks fails, which is a defect."""
        await asyncio.to_thread(warm_up)
        await self._list_until_it_works()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.queue.run(), name="queue")
                tasks.create_task(self._tick(), name="tick")
                tasks.create_task(self._resync(), name="resync")
                tasks.create_task(self._watch_prometheus(), name="prometheus")
                tasks.create_task(warn_of_an_older_definition(self._client), name="definition")
        finally:
            for memory in self._memories:
                memory.drop_ended_runs(())  # the next operator process repeats the pending metrics requests

    async def list_all(self) -> tuple[StudyKey, ...]:
        """List all objects into the cache; return every study, because each has to be reconciled, existing or not.

        Raises:
            KubeError: a request to the API server failed.
            SettingError: the operator cannot use the file that lists the Nodes.
        """
        # Each listing goes into the cache immediately: the longer it waits, the more of it is outdated by watch events.
        self.cache.replace_nodes(*await self._list_nodes())
        self.cache.replace_jobs(*await self._client.list_jobs(SELECTOR))
        self.cache.replace_pods(*await self._client.list_pods(SELECTOR))
        studies = self.cache.replace_studies(*await self._client.list_studies())
        return (*studies, *self.cache.stray_keys())

    async def _list_nodes(self) -> tuple[list[NodeRecord], str]:
        if self._nodes_file is not None:
            return self._nodes_file.read()
        return await self._client.list_nodes(self._settings.node_selector)

    async def _list_until_it_works(self) -> None:
        while True:
            try:
                self._mark(await self.list_all())
            except (KubeError, SettingError) as error:
                _log.warning("cannot list the cluster, retrying in %.0f s: %s", self._settings.tick_seconds, error)
                self._last_tick_s = self._monotonic()
                await asyncio.sleep(self._settings.tick_seconds)
            else:
                return

    async def _tick(self) -> None:
        """Probe and mark the unfinished studies in parts: hundreds at a time would delay a result for seconds."""
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
        """Check whether Prometheus answers even while no run ends, so that an outage is reported before it matters."""
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
