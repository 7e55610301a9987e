"""One simulated Pod, from bound to gone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, assert_never

import aiohttp
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from controlplane import pod_status
from controlplane.behaviours import (
    Behaviour,
    Breaks,
    ConfigError,
    Crashes,
    Evicted,
    HangsLoading,
    HostOom,
    PullFails,
    Succeeds,
    Vanishes,
    run_result,
    trial_result,
)
from controlplane.metrics_server import PodAddresses, Scrapes, serve_metrics
from controlplane.pod_status import Ending, Times
from controlplane.rest import ApiError, Rest
from factories.played_order import is_left_out, skipped
from infpop_runner.contract import Broken, Measured, RunSpec, TrialResult, encode_message
from infpop_runner.metrics import RunMetrics

Document = dict[str, Any]
SPEC_VARIABLE = "INFPOP_RUN_SPEC"
METRICS_PORT_NAME = "metrics"
_GATE_SECONDS = 0.02  # how often a closed gate is checked
KILLED = Ending(exit_code=137, reason="Error")
OUT_OF_MEMORY = Ending(exit_code=137, reason="OOMKilled")
NEVER_RAN = Ending(exit_code=137, reason="ContainerStatusUnknown", message="The container could not be located")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningPod:
    """A pod whose container runs, as other exporters on its node would see it."""

    namespace: str
    name: str
    node: str
    container: str
    gpu_count: int
    started_at: datetime


class PodApi:
    """A kubelet's API requests for one Pod, retried until they are answered."""

    def __init__(self, rest: Rest, manifest: Document, *, retry_seconds: float) -> None:
        metadata = manifest["metadata"]
        self._rest = rest
        self._uid = metadata["uid"]
        self._path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        self._retry_seconds = retry_seconds

    async def write(self, status: Document) -> None:
        """Write the status; a deleted Pod has none."""
        body = {"metadata": {"uid": self._uid}, "status": status}
        await self._insist(lambda: self._rest.patch(f"{self._path}/status", body))

    async def delete(self, *, grace_seconds: int | None = None) -> None:
        """Delete the Pod, by default with its own grace period."""
        options: Document = {"preconditions": {"uid": self._uid}}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        await self._insist(lambda: self._rest.delete(self._path, options))

    async def _insist(self, request: Callable[[], Awaitable[Document]]) -> None:
        while True:
            try:
                await request()
            except ApiError as error:
                if error.status in (404, 409):  # deleted, or another Pod with that name
                    return
                if not error.passing:
                    raise
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            else:
                return
            await asyncio.sleep(self._retry_seconds)


class PlayedPod:
    """A Pod, what it has found so far and what was reported of it. The observer of the deletion sets `deleted`."""

    def __init__(
        self, manifest: Document, *, api: PodApi, addresses: PodAddresses, now: Callable[[], datetime]
    ) -> None:
        self.namespace: str = manifest["metadata"]["namespace"]
        self.name: str = manifest["metadata"]["name"]
        self.node: str = manifest["spec"]["nodeName"]
        self.spec = _read_spec(manifest)
        self.deleted = asyncio.Event()
        self._manifest = manifest
        self._api = api
        self._addresses = addresses
        self._now = now
        self._times = Times(seen_at=now())
        self._trials: tuple[TrialResult, ...] = ()
        self._load_seconds: float | None = None
        self._over_at: datetime | None = None  # from then on nothing is measured any more
        self._broken: Broken | None = None
        self._held_seconds: float | None = None
        self._scrapes = Scrapes()
        self._ending: Ending | None = None
        self._written = False
        self._metrics = None if self.spec is None else RunMetrics(self.spec)

    @property
    def running(self) -> RunningPod | None:
        """What other components see of the Pod while its container runs; may be read by any thread."""
        started_at = self._times.started_at
        if started_at is None or self._ending is not None or self.spec is None:
            return None
        return RunningPod(
            namespace=self.namespace,
            name=self.name,
            node=self.node,
            container=self._manifest["spec"]["containers"][0]["name"],
            gpu_count=self.spec.gpu_count,
            started_at=started_at,
        )

    async def live(self, behaviour: Behaviour | None) -> None:
        """Follow the behaviour, and end when the Pod is deleted. Without a spec the runner does not start."""
        behaviour = behaviour or Crashes(exit_code=2, message=f"infpop-runner: give --spec FILE or set {SPEC_VARIABLE}")
        acting = asyncio.ensure_future(self._act(behaviour))
        deleting = asyncio.ensure_future(self.deleted.wait())
        try:
            await asyncio.wait((acting, deleting), return_when=asyncio.FIRST_COMPLETED)
            if acting.done():
                acting.result()
                await deleting
        finally:
            for task in (acting, deleting):
                task.cancel()
            await asyncio.gather(acting, deleting, return_exceptions=True)
        await self._end_deleted(behaviour)

    async def _end_deleted(self, behaviour: Behaviour) -> None:
        """End the containers and free the name, as a kubelet does with a deleted Pod."""
        if not self._written:
            await self._end(self._ending or self._on_sigterm(behaviour))
        await self._api.delete(grace_seconds=0)

    def _on_sigterm(self, behaviour: Behaviour) -> Ending:
        """If it has time, the runner answers SIGTERM with a result that says so, and exit status 0.

        A run that is only held for a scrape leaves the result that it has.
        """
        if self._times.started_at is None:
            return NEVER_RAN
        hasty = isinstance(behaviour, Vanishes) or (isinstance(behaviour, Evicted) and not behaviour.graceful)
        if self.spec is None or hasty:
            return KILLED
        if self._over_at is None:
            self._broken = Broken(reason="Stopped", detail="asked to stop by signal 15")
        return self._completed()

    async def _act(self, behaviour: Behaviour) -> None:
        match behaviour:
            case PullFails():
                await self._wait_for_image(reason=behaviour.reason, message=behaviour.message)
            case ConfigError():
                await self._wait_for_image(reason="CreateContainerConfigError", message=behaviour.message)
            case HangsLoading():
                async with self._container(pull_seconds=0.0):
                    await asyncio.Event().wait()
            case HostOom():
                await self._die(OUT_OF_MEMORY, after_seconds=behaviour.after_seconds)
            case Crashes():
                ending = Ending(exit_code=behaviour.exit_code, reason="Error", message=behaviour.message)
                await self._die(ending, after_seconds=behaviour.after_seconds)
            case Evicted():
                await self._be_evicted(behaviour)
            case Vanishes():
                async with self._container(pull_seconds=0.0):
                    await asyncio.sleep(behaviour.after_seconds)
                    await self._api.delete(grace_seconds=0)
            case Succeeds() | Breaks():
                await self._measure(behaviour)
            case _:
                assert_never(behaviour)

    async def _wait_for_image(self, *, reason: str, message: str | None = None) -> None:
        await self._api.write(pod_status.waiting_status(self._manifest, self._times, reason=reason, message=message))

    async def _die(self, ending: Ending, *, after_seconds: float) -> None:
        async with self._container(pull_seconds=0.0):
            await asyncio.sleep(after_seconds)
        await self._end(ending)

    async def _be_evicted(self, behaviour: Evicted) -> None:
        async with self._container(pull_seconds=0.0):
            await asyncio.sleep(behaviour.after_seconds)
            if behaviour.reason != "TerminationByKubelet":
                await self._api.write(pod_status.disruption(behaviour.reason, "simulated disruption", self._now()))
                await self._api.delete()
                await asyncio.Event().wait()  # the deletion arrives as a watch event
        said = {"pod_reason": behaviour.pod_reason, "pod_message": behaviour.pod_message}
        await self._end(replace(self._on_sigterm(behaviour), disrupted=behaviour.reason, **said))

    async def _measure(self, behaviour: Succeeds | Breaks) -> None:
        assert self.spec is not None
        assert self._metrics is not None
        metrics = self._metrics
        breaks = isinstance(behaviour, Breaks)
        reached = self.spec.trials[: behaviour.after_trials] if isinstance(behaviour, Breaks) else self.spec.trials
        async with self._container(pull_seconds=behaviour.pull_seconds):
            await asyncio.sleep(behaviour.load_seconds)
            while isinstance(behaviour, Succeeds) and behaviour.gate and not behaviour.gate.is_set():  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(_GATE_SECONDS)
            if reached or not breaks:
                self._load_seconds = behaviour.load_seconds
                metrics.loaded(behaviour.load_seconds, {"engine": self.spec.engine.name, "model": self.spec.model.name})
                metrics.enter("measuring")
            for trial in reached:
                if is_left_out(trial, self._trials):
                    continue
                result: TrialResult | None = skipped(trial, self._trials)
                if result is None:
                    metrics.enter_trial(trial, "measuring")
                    start = self._since_start()
                    await asyncio.sleep(behaviour.trial_seconds)
                    result = trial_result(self.spec, trial, behaviour.throughput, (start, self._since_start()))
                self._trials = (*self._trials, result)
                metrics.trial_ended(result)
            metrics.enter("done")
            self._over_at = self._now()
            if isinstance(behaviour, Breaks):
                self._broken = Broken(reason=behaviour.reason, detail=behaviour.detail)
            killed = isinstance(behaviour, Succeeds) and behaviour.killed_while_held
            if not killed:
                await self._hold(self.spec)
        ending = self._completed()
        if isinstance(behaviour, Succeeds) and behaviour.sidecar is not None:
            await self._go_on(behaviour.sidecar, ending)
        await self._end(replace(ending, exit_code=KILLED.exit_code, reason=KILLED.reason) if killed else ending)

    async def _go_on(self, sidecar: str, ending: Ending) -> None:
        """End the runner's container and keep the Pod, until it is deleted, in another container that runs on."""
        self._ending, self._times = ending, replace(self._times, ended_at=self._now())
        status = pod_status.ended_status(self._manifest, self._times, ending)
        beside = pod_status.running_status(self._manifest, self._times, pod_ip="127.0.0.1")["containerStatuses"][0]
        statuses = [*status["containerStatuses"], {**beside, "name": sidecar}]
        await self._api.write({"phase": "Running", "containerStatuses": statuses})
        await asyncio.Event().wait()

    async def _hold(self, spec: RunSpec) -> None:
        """Wait, as the runner does, until a scrape has read the final values; without any number it does not wait."""
        self._scrapes.final = True
        if not spec.scrape_grace_seconds or not any(isinstance(trial, Measured) for trial in self._trials):
            return
        clock = asyncio.get_running_loop().time
        start = clock()
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._scrapes.seen.wait(), spec.scrape_grace_seconds)
        finally:
            self._held_seconds = round(clock() - start, 3)

    def _since_start(self) -> float:
        assert self._times.started_at is not None
        return round((self._now() - self._times.started_at).total_seconds(), 3)

    @asynccontextmanager
    async def _container(self, *, pull_seconds: float) -> AsyncIterator[None]:
        """Pull, then run for the duration of the block, with the runner's metrics."""
        await self._wait_for_image(reason="ContainerCreating")
        await asyncio.sleep(pull_seconds)
        registry = CollectorRegistry() if self._metrics is None else self._metrics.registry
        started_at = self._now()
        if self._metrics is not None:
            self._metrics.started(started_at)
        async with serve_metrics(
            registry, self._addresses, self._scrapes, port=_metrics_port(self._manifest)
        ) as address:
            self._times = replace(self._times, started_at=started_at)
            await self._api.write(pod_status.running_status(self._manifest, self._times, pod_ip=address))
            yield

    def _completed(self) -> Ending:
        assert self.spec is not None
        result = run_result(
            self.spec,
            self._trials,
            node=self.node,
            load_seconds=self._load_seconds,
            broken=self._broken,
            started_at=self._times.started_at or self._times.seen_at,
            ended_at=self._over_at or self._now(),
            held_seconds=self._held_seconds,
        )
        return Ending(exit_code=0, reason="Completed", message=encode_message(result))

    async def _end(self, ending: Ending) -> None:
        if self._ending is None:
            self._ending = ending
            self._times = replace(self._times, ended_at=self._now())
        await self._api.write(pod_status.ended_status(self._manifest, self._times, ending))
        self._written = True


def _read_spec(manifest: Document) -> RunSpec | None:
    """Return the run spec of the first container that has a valid one."""
    for container in manifest["spec"]["containers"]:
        for variable in container.get("env", ()):
            if variable["name"] == SPEC_VARIABLE:
                try:
                    return RunSpec.model_validate_json(variable.get("value", ""))
                except ValidationError:
                    return None
    return None


def _metrics_port(manifest: Document) -> int:
    """Return the container port named `metrics`, or any free one if there is none."""
    for container in manifest["spec"]["containers"]:
        for port in container.get("ports", ()):
            if port.get("name") == METRICS_PORT_NAME:
                return int(port["containerPort"])
    return 0
