"""A simulated kubelet: it reads run specs, writes Pod status and serves `/metrics` without starting containers.

It takes over the Pods that have the label `app.kubernetes.io/managed-by=infpop` or a run spec, and that the scheduler
has bound, on any node; as a kubelet it does not care what becomes of labels. It gets each Pod's behaviour from a play,
and reports to the API server in the kubelet's own words. It starts no container
and checks no image, Secret or volume: those fail when the play says so. It survives an outage of the API server.
Deleted Pods end immediately, whatever their grace period.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from controlplane.behaviours import Play
from controlplane.metrics_server import PodAddresses
from controlplane.played_pod import SPEC_VARIABLE, PlayedPod, PodApi, RunningPod
from controlplane.rest import ApiError, Rest
from infpop_runner.contract import RunSpec

Document = dict[str, Any]
BOUND = {"fieldSelector": "spec.nodeName!="}
_RETRY_SECONDS = 0.2
_ROUNDS = 5  # accepted, told of, answered, closed, gone
_START_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedRun:
    """A Pod that was taken over; `attempt` counts the Pods of the same configuration, from 1."""

    namespace: str
    pod: str
    node: str
    attempt: int
    spec: RunSpec


class SimulatedKubelet:
    """Simulates Pods inside a `with` block: `with SimulatedKubelet(cluster.kubeconfig, replay(throughput)):`.

    Args:
        kubeconfig: a kubeconfig that may watch, patch and delete Pods.
        play: the behaviour of each run; may be replaced at any time, for later Pods.
        namespace: takes over only the Pods of this namespace; None: all.
        now: the clock for the status that it writes.
    """

    def __init__(
        self,
        kubeconfig: Path,
        play: Play,
        *,
        namespace: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),  # noqa: TID251 - the edge of the tests
    ) -> None:
        self.play = play
        self._rest = Rest(kubeconfig, user_agent="simulated-kubelet")
        self._path = "/api/v1/pods" if namespace is None else f"/api/v1/namespaces/{namespace}/pods"
        self._now = now
        self._addresses = PodAddresses()
        self._runs: list[PlayedRun] = []
        self._attempts: Counter[str] = Counter()
        self._pods: dict[str, PlayedPod] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._errors: list[BaseException] = []
        self._listed = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._watching: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run_loop, name="simulated-kubelet", daemon=True)

    def __enter__(self) -> Self:
        """Start, and return when existing Pods have been taken over."""
        self._thread.start()
        if not self._listed.wait(_START_SECONDS):
            self._stop()
            raise TimeoutError(f"the simulated kubelet saw no list of pods within {_START_SECONDS:g} s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; Pods stay as they are. An error of the play or of this kubelet is raised here."""
        self._stop()
        if error is None and self._errors:
            raise self._errors[0]

    @property
    def runs(self) -> tuple[PlayedRun, ...]:
        """Every Pod that was taken over so far, in order."""
        return tuple(self._runs)

    @property
    def running(self) -> tuple[RunningPod, ...]:
        """The Pods whose containers run now."""
        seen = (pod.running for pod in tuple(self._pods.values()))
        return tuple(pod for pod in seen if pod is not None)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._watching = self._loop.create_task(self._work())
            self._loop.run_until_complete(asyncio.wait([self._watching]))
            self._loop.run_until_complete(_close_connections())
        finally:
            self._loop.close()

    def _stop(self) -> None:
        def cancel() -> None:
            if self._watching is not None:
                self._watching.cancel()

        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(cancel)
            self._thread.join()

    async def _work(self) -> None:
        try:
            async with self._rest:
                try:
                    await self._follow()
                finally:
                    tasks = tuple(self._tasks.values())
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
        except Exception as error:  # noqa: BLE001 - raised at the end of the block
            self._errors.append(error)

    async def _follow(self) -> None:
        """List, then watch, and start over whenever that ends."""
        while True:
            try:
                version = await self._list()
                self._listed.set()
                parameters = {**BOUND, "resourceVersion": version, "allowWatchBookmarks": "true"}
                async for event in self._rest.watch(self._path, parameters):
                    if event["type"] == "ERROR":
                        break
                    self._note(event)
            except (aiohttp.ClientError, TimeoutError, OSError):
                await asyncio.sleep(_RETRY_SECONDS)
            except ApiError as error:
                if not (error.passing or error.status == 410):
                    raise
                await asyncio.sleep(_RETRY_SECONDS)

    async def _list(self) -> str:
        document = await self._rest.get(self._path, BOUND)
        there = set()
        for pod in document["items"]:
            there.add(pod["metadata"]["uid"])
            self._see(pod)
        for uid in self._pods.keys() - there:
            self._forget(uid)
        version: str = document["metadata"]["resourceVersion"]
        return version

    def _note(self, event: Document) -> None:
        match event["type"]:
            case "ADDED" | "MODIFIED":
                self._see(event["object"])
            case "DELETED":
                self._forget(event["object"]["metadata"]["uid"])

    def _see(self, manifest: Document) -> None:
        uid = manifest["metadata"]["uid"]
        if uid not in self._pods:
            if manifest.get("status", {}).get("phase") in ("Succeeded", "Failed") or not _is_ours(manifest):
                return
            self._take_over(uid, manifest)
        if "deletionTimestamp" in manifest["metadata"]:
            self._pods[uid].deleted.set()

    def _take_over(self, uid: str, manifest: Document) -> None:
        api = PodApi(self._rest, manifest, retry_seconds=_RETRY_SECONDS)
        pod = PlayedPod(manifest, api=api, addresses=self._addresses, now=self._now)
        self._pods[uid] = pod
        task = self._loop.create_task(self._play_pod(pod))
        self._tasks[uid] = task
        task.add_done_callback(lambda _task: self._tasks.pop(uid, None))

    def _forget(self, uid: str) -> None:
        self._pods.pop(uid, None)
        if task := self._tasks.get(uid):
            task.cancel()

    async def _play_pod(self, pod: PlayedPod) -> None:
        try:
            behaviour = None
            if pod.spec is not None:
                run = self._note_run(pod, pod.spec)
                behaviour = self.play(run.spec, run.attempt)
            await pod.live(behaviour)
        except Exception as error:  # noqa: BLE001 - raised at the end of the block
            self._errors.append(error)

    def _note_run(self, pod: PlayedPod, spec: RunSpec) -> PlayedRun:
        configuration = _configuration(spec)
        self._attempts[configuration] += 1
        attempt = self._attempts[configuration]
        run = PlayedRun(namespace=pod.namespace, pod=pod.name, node=pod.node, attempt=attempt, spec=spec)
        self._runs.append(run)
        return run


async def _close_connections() -> None:
    """Let connections that were accepted or closed just now come to their end, in the loop's next rounds."""
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)


def _is_ours(manifest: Document) -> bool:
    labels = manifest["metadata"].get("labels", {})
    variables = (entry for each in manifest["spec"]["containers"] for entry in each.get("env", ()))
    return labels.get("app.kubernetes.io/managed-by") == "infpop" or any(
        entry["name"] == SPEC_VARIABLE for entry in variables
    )


def _configuration(spec: RunSpec) -> str:
    """Return what a run measures, whatever its name: a retry gives the same text."""
    trials = tuple(trial.model_copy(update={"index": 0}) for trial in spec.trials)
    return spec.model_copy(update={"run": "", "trials": trials}).model_dump_json()
