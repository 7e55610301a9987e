"""The operator's loop on a cluster in memory, put together as `Service` does it.

Nothing here waits: a pass is asked for, and what the watches tell is heard at once.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

import httpx

from infpop_operator.adapters.kube.cluster_clock import ClusterClock
from infpop_operator.adapters.kube.record_parsing import parse_job, parse_node, parse_pod
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.events import Recorder
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.metrics.operator_metrics import OperatorMetrics
from infpop_operator.cluster.metrics_gatherer import MetricsGatherer
from infpop_operator.cluster.reconciler import Reconciler
from infpop_operator.cluster.run_probes import RunProbes
from infpop_operator.cluster.service import SELECTOR
from infpop_operator.cluster.study_memory import StudyMemories
from infpop_operator.core.errors import InfPopError
from infpop_operator.core.ports import MetricsSource, PrometheusSource
from infpop_operator.settings import Settings
from reconcile.memory_cluster import NAMESPACE, STUDY, Body, MemoryCluster
from reconcile.wire import Interference, Wire, connect, let_pass

KEY = StudyKey(NAMESPACE, STUDY)
SETTINGS = Settings(runner_image="example.org/runner:1")
MOST_PASSES = 300


class Operator:
    """One operator, whose memory begins empty.

    Attributes:
        deaf: the kinds of objects of which its watches tell nothing; `hear` brings them.
            A Job or Pod without the operator's label is reported as deleted, as the API server does.
        wire: what its requests go over.
        woken: the studies that a late answer of a metrics source woke; `is_woken` is set then.
    """

    def __init__(
        self,
        cluster: MemoryCluster,
        *,
        settings: Settings = SETTINGS,
        interference: Interference = let_pass,
        pods: MetricsSource | None = None,
        prometheus: PrometheusSource | None = None,
        page: Callable[[], str] = str,
        moment_s: float = 1.0,
        wall: Callable[[], datetime] | None = None,
    ) -> None:
        self.deaf: set[str] = set()
        self.wire = Wire(cluster, interference)
        self.woken: list[StudyKey] = []
        self.is_woken = asyncio.Event()
        self.cache = Cache()
        self.memories = StudyMemories()
        self.metrics = OperatorMetrics(lambda: cluster.clock().timestamp())
        self._missed: list[tuple[str, Body, bool]] = []
        self._watched: dict[str, Body] = {}  # by uid: the last version of each Job and Pod that has the label
        # Without a clock of its own, the operator's machine has the API server's.
        clock = ClusterClock(wall or cluster.clock, lambda: cluster.clock.passed_s)
        self._clock: Callable[[], datetime] = cluster.clock if wall is None else clock
        self._client = connect(self.wire, None if wall is None else clock)
        transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=httpx.ByteStream(page().encode())))
        http = httpx.AsyncClient(transport=transport, trust_env=False)
        self.probes = RunProbes(self._client, http, self.cache, self.memories)
        gatherer = MetricsGatherer(
            pods=pods or self.probes,
            prometheus=prometheus,
            order=settings.sources,
            done=self._wake,
            moment_s=moment_s,
        )
        self.reconciler = Reconciler(
            client=self._client,
            cache=self.cache,
            memories=self.memories,
            probes=self.probes,
            gatherer=gatherer,
            metrics=self.metrics,
            recorder=Recorder(self._client, self._clock),
            settings=settings,
            clock=self._clock,
        )
        clock.on_jump = self.reconciler.note_jump
        cluster.watch(self._see)

    async def list_all(self) -> None:
        """List everything, as an operator does when it starts, and now and then."""
        self.cache.replace_nodes(*await self._client.list_nodes(None))
        self.cache.replace_jobs(*await self._client.list_jobs(SELECTOR))
        self.cache.replace_pods(*await self._client.list_pods(SELECTOR))
        self.cache.replace_studies(*await self._client.list_studies())

    async def reconcile(self, key: StudyKey = KEY) -> float | None:
        """Do one pass over a study."""
        return await self.reconciler.reconcile(key)

    async def try_pass(self, key: StudyKey = KEY) -> float | None:
        """Do one pass; one that the API server did not let come to its end is done again by the queue."""
        try:
            return await self.reconcile(key)
        except InfPopError:
            return 1.0

    async def settle(self, key: StudyKey = KEY) -> float | None:
        """Do passes until one does not ask for another at once; return when that wants the next."""
        for _ in range(MOST_PASSES):
            wait = await self.reconcile(key)
            if wait != 0.0:
                return wait
        raise AssertionError(f"{key}: a pass asks for another one without end")

    async def probe(self, key: StudyKey = KEY) -> bool:
        """Ask about live runs, as the tick does; say whether something new is known."""
        return bool(await self.probes.probe((key,), self._clock()))

    def said(self, since: int = 0) -> list[str]:
        """Return the requests that the operator made, less the first ones, for example "POST jobs"."""
        return [request.said for request in self.wire.requests[since:]]

    def hear(self, *kinds: str) -> None:
        """Hear everything of these kinds that was missed, and whatever comes."""
        self.deaf -= set(kinds)
        missed, self._missed = self._missed, []
        for plural, body, deleted in missed:
            self._see(plural, body, deleted)  # what is still not heard is missed again

    def _wake(self, key: StudyKey) -> None:
        self.woken.append(key)
        self.is_woken.set()

    def _see(self, plural: str, body: Body, deleted: bool) -> None:  # noqa: FBT001 - a watcher's signature
        if plural in self.deaf:
            self._missed.append((plural, body, deleted))
            return
        if plural in {"jobs", "pods"}:
            before = self._watched.pop(body["metadata"]["uid"], None)
            if SELECTOR in body["metadata"].get("labels", {}):
                self._watched[body["metadata"]["uid"]] = body
            elif before is None:
                return
            else:  # the content before the change, with the version of the change
                version = body["metadata"]["resourceVersion"]
                body, deleted = {**before, "metadata": {**before["metadata"], "resourceVersion": version}}, True
        match plural:
            case "throughputstudies":
                self.cache.see_study(body, deleted=deleted)
            case "jobs":
                self.cache.see_job(parse_job(body), deleted=deleted)
            case "pods":
                self.cache.see_pod(parse_pod(body), deleted=deleted)
            case "nodes":
                self.cache.see_node(parse_node(body), deleted=deleted)
