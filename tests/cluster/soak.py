"""Many simulated hours of a cluster's ordinary trouble, in minutes, and what has to be true after them.

The operator is a process whose studies live by a fast clock; the control plane is real and lives by the wall's, so
what takes it a second takes minutes here: harder than reality. What happens when follows from a seed; what it meets
does not, that is a race of real processes.
"""

import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Literal

import psutil

from cluster.accelerated_operator import accelerate
from cluster.fast_clock import FastClock
from cluster.operator_process import IMAGE, OperatorProcess
from cluster.place import Place
from cluster.studies import find_condition
from controlplane.behaviours import Succeeds
from controlplane.cluster import ControlPlane
from controlplane.kubelet import SimulatedKubelet
from controlplane.nodes import Manifest, create_nodes, delete_nodes, gpu_node
from controlplane.waiting import wait_for
from infpop_operator.adapters.journal import Header, decode_line
from infpop_operator.api.resource import API_PATH, PLURAL
from infpop_operator.core.history_diff import Entry
from infpop_operator.core.model import EndedRun, Finished, Lost
from infpop_runner.contract import Measured, RunSpec

GPUS = (1, 2, 4, 8)
MEMORY = 32  # the largest batch that fits, by GPU
RUN_MINUTES = (5.0, 20.0)
NODE_AWAY_HOURS = 0.5
PATIENCE_SECONDS = 240.0  # of the wall's, for the studies that are under way when the trouble is over
_MIB = 2**20
Trouble = Literal[
    "watches are cut", "a pod is evicted", "a node is drained", "a node is lost", "the operator is killed",
    "the API server is away",
]  # fmt: skip
Cell = tuple[str, int, int]  # study, GPUs, batch size


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to happen, and how often. Hours and minutes are the fast clock's, seconds the wall's."""

    seed: int
    hours: float
    speed: float
    studies: int  # under way at any time
    nodes: int
    outage_seconds: float
    kills: int
    nodes_lost: int
    nodes_drained: int
    evictions: int
    cuts: int
    batches: tuple[int, ...]  # of each study's space, beside 1, 2, 4 and 8 GPUs

    def troubles(self) -> list[tuple[float, Trouble]]:
        """Return what happens at which hour. Kills come early, so that the memory of the last life can be judged."""
        random = Random(self.seed)
        counts: dict[Trouble, tuple[int, float]] = {
            "the operator is killed": (self.kills, 0.4),
            "the API server is away": (1, 0.8),
            "a node is lost": (self.nodes_lost, 0.9),
            "a node is drained": (self.nodes_drained, 0.9),
            "a pod is evicted": (self.evictions, 0.95),
            "watches are cut": (self.cuts, 0.95),
        }
        return sorted(
            (random.uniform(0.05, until) * self.hours, what)
            for what, (count, until) in counts.items()
            for _ in range(count)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The result of a soak according to its journals, its pods and its operator."""

    simulated_hours: float
    troubles: dict[str, int]
    studies: int
    runs: int
    lost_runs: dict[str, int]  # by reason
    wrong_bests: tuple[str, ...]
    measured: int
    measured_twice: tuple[Cell, ...]  # two results of one cell in a journal
    forgotten: tuple[Cell, ...]  # a pod left a result, and no journal has one
    measured_again: int  # by a second pod, since the first could not leave its result
    rss_mib: dict[str, float]
    complaints: tuple[str, ...]
    warnings: int


def throughput(study: str, gpus: int, batch: int) -> float | Literal["GpuOutOfMemory"]:
    """Return the landscape of a study: rising, with bumps of its own, until the memory is full."""
    bump = Random(f"{study} {gpus} {batch}").uniform(0.6, 1.4)
    return "GpuOutOfMemory" if batch > MEMORY * gpus else round(100.0 * gpus**0.7 * batch**0.4 * bump, 3)


def best_cell(study: str, batches: tuple[int, ...]) -> tuple[int, int]:
    """Return the GPU count and batch size that a search of the whole space has to find."""
    values = {(gpus, batch): throughput(study, gpus, batch) for gpus in GPUS for batch in batches}
    fits = {cell: value for cell, value in values.items() if isinstance(value, float)}
    return max(fits, key=lambda cell: fits[cell])


class Soak:
    """One namespace with nodes of its own, and an operator for it alone, behind the proxy."""

    def __init__(self, cluster: ControlPlane, namespace: str, folder: Path, plan: Plan) -> None:
        self.clock = FastClock(folder / "clock.jsonl")
        self.clock.set_speed(plan.speed)
        self.operator = OperatorProcess(
            cluster,
            folder,
            namespace=namespace,
            prepare=partial(accelerate, self.clock),
            environment={
                # Of the wall's: minutes of the fast clock, and for the end of a Job, whose controllers are real ones.
                "INFPOP_TICK_SECONDS": "0.5",
                "INFPOP_RESYNC_SECONDS": "5",
                "INFPOP_STOP_SECONDS": str(20 * plan.speed),
            },
            proxied=True,
        )
        self._plan = plan
        self._cluster = cluster
        self._namespace = namespace
        self._place = Place(cluster, namespace)
        self._random = Random(plan.seed)
        self._happened: Counter[str] = Counter()
        self._measured: Counter[Cell] = Counter()
        self._rss: list[tuple[float, float]] = []
        self._applied: list[str] = []
        self._nodes: list[str] = []
        self._nodes_made = 0
        self._node_due = [0.0] * plan.nodes  # at which hour a node joins
        self._next_look = 0.0

    def run(self) -> Findings:
        """Have everything happen, wait until the studies that are under way have ended, and return what is left.

        Raises:
            TimeoutError: a study did not end, or something is left running.
        """
        with SimulatedKubelet(self._cluster.kubeconfig, self._play, namespace=self._namespace):
            self._wait_for_studies()
            self._join()
            self.operator.start()
            try:
                for hour, what in self._plan.troubles():
                    self._pass_time_until(hour)
                    self._cause(what)
                self._pass_time_until(self._plan.hours)
                hours = self._hours()
                wait_for(lambda: not self._unfinished(), seconds=PATIENCE_SECONDS, what="the end of every study")
                wait_for(lambda: not self._left(), seconds=PATIENCE_SECONDS, what="the removal of every Job and pod")
                return self._find(hours)
            finally:
                self.operator.stop()
                self._place.close()
                delete_nodes(self._cluster, self._nodes)

    def _hours(self) -> float:
        return self.clock.elapsed().total_seconds() / 3600

    def _pass_time_until(self, hour: float) -> None:
        """See to the nodes and the studies once a second until then."""

        def reached() -> bool:
            now = self._hours()
            if now >= self._next_look:
                self._next_look = now + self._plan.speed / 3600
                self._look()
            return now >= hour

        wait_for(reached, seconds=3600 * self._plan.hours, what=f"hour {hour:g}")

    def _look(self) -> None:
        assert self.operator.is_running(), f"the operator has ended by itself:\n{self.operator.text()[-3000:]}"
        rss = psutil.Process(self.operator.pid).memory_info().rss
        self._rss.append((self._hours(), rss / _MIB))
        self._join()
        for _ in range(self._plan.studies - len(self._unfinished())):
            name = f"soak-{len(self._applied)}"
            self._applied.append(name)
            self._place.study(name, **self._spec(len(self._applied)))

    def _spec(self, number: int) -> dict[str, object]:
        """Return a study of the whole space; every second loads for three trials, every third has two runs at once."""
        return {
            "searchSpace": {"gpuCount": list(GPUS), "batchSize": list(self._plan.batches)},
            "budget": {
                "maxTrials": len(GPUS) * len(self._plan.batches),
                "parallelTrials": 1 + (number % 3 == 0),
                "maxConcurrentGPUs": max(GPUS),
            },
            "algorithm": {"trialsPerRun": 1 + 2 * (number % 2), "seed": number},
            "measurement": {"timeouts": {"schedule": "1h"}},  # 15 s of a real scheduler at 240 times
            "ttlSecondsAfterFinished": 10,
        }

    def _play(self, spec: RunSpec, _attempt: int) -> Succeeds:
        """Every run succeeds after some minutes of the fast clock, and each trial that it measures is counted."""
        seconds = 60 * Random(f"{self._plan.seed} {spec.run}").uniform(*RUN_MINUTES) / self._plan.speed

        def measure(gpus: int, batch: int) -> float | Literal["GpuOutOfMemory"]:
            value = throughput(spec.study, gpus, batch)
            if isinstance(value, float):
                self._measured[spec.study, gpus, batch] += 1
            return value

        return Succeeds(
            throughput=measure,
            pull_seconds=0.1 * seconds,
            load_seconds=0.5 * seconds,
            trial_seconds=0.4 * seconds / len(spec.trials),
        )

    def _unfinished(self) -> set[str]:
        """Return the studies that have not succeeded."""
        done = {
            study["metadata"]["name"]
            for study in self._place.objects("study")
            if find_condition(study.get("status", {}), "Succeeded").get("status") == "True"
        }
        return set(self._applied) - done

    def _left(self) -> list[str]:
        return [body["metadata"]["name"] for kind in ("job", "pod") for body in self._place.objects(kind)]

    def _join(self) -> None:
        """Add the nodes that are due."""
        due = [hour for hour in self._node_due if hour <= self._hours()]
        if due:
            names = [f"{self._namespace}-{self._nodes_made + number}" for number in range(len(due))]
            self._nodes_made += len(due)
            self._nodes += names
            self._node_due = [hour for hour in self._node_due if hour not in due]
            create_nodes(self._cluster, [self._node(name) for name in names])

    def _node(self, name: str) -> Manifest:
        return gpu_node(name, extra_labels={"pool": self._namespace})

    def _leave(self) -> str:
        """Choose a node that goes for good; another one comes later."""
        name = self._random.choice(self._nodes)
        self._nodes.remove(name)
        self._node_due.append(self._hours() + NODE_AWAY_HOURS)
        return name

    def _cause(self, what: Trouble) -> None:
        self._happened[what] += 1
        match what:
            case "watches are cut":
                self._cluster.cut_watches()
            case "a pod is evicted":
                pods = sorted(pod["metadata"]["name"] for pod in self._place.running_pods())
                self._evict(self._random.sample(pods, min(1, len(pods))))
            case "a node is drained":
                name = self._leave()
                self._cluster.kubectl("cordon", name)
                pods = [pod for pod in self._place.running_pods() if pod["spec"].get("nodeName") == name]
                self._evict([pod["metadata"]["name"] for pod in pods])
                delete_nodes(self._cluster, [name])
            case "a node is lost":
                name = self._leave()
                self._cluster.kubectl("taint", "node", name, "gone=now:NoExecute")
                delete_nodes(self._cluster, [name])
            case "the operator is killed":
                self.operator.kill()
                self.operator.start()
            case "the API server is away":
                self._outage()

    def _evict(self, pods: list[str]) -> None:
        for pod in pods:
            path = f"/api/v1/namespaces/{self._namespace}/pods/{pod}/eviction"
            body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
            answer = self._place._client.post(path, json=body)
            assert answer.is_success or answer.status_code == 404, answer.text

    def _outage(self) -> None:
        """While the API server is away the fast clock goes as the wall's, so that its minutes are minutes.

        No client gets to it before it is ready, as behind a load balancer: until it has read its roles it forbids all.
        """
        self.clock.set_speed(1.0)
        self._place.close()
        self._cluster.apiserver_stop()
        over = self._hours() + self._plan.outage_seconds / 3600
        wait_for(lambda: self._hours() >= over, seconds=2 * self._plan.outage_seconds, what="the end of the outage")
        self._cluster.proxy.blackhole(active=True)
        self._cluster.apiserver_start()
        self._cluster.proxy.blackhole(active=False)
        self._place = Place(self._cluster, self._namespace)
        self._wait_for_studies()
        self._wait_for_controllers()
        self.clock.set_speed(self._plan.speed)

    def _wait_for_studies(self) -> None:
        """An API server that is ready, or a definition that is established, answers 429 until its cache is filled."""
        path = f"/{API_PATH}/namespaces/{self._namespace}/{PLURAL}"
        wait_for(lambda: self._place._client.get(path).is_success, seconds=60, what="an answer about studies")

    def _wait_for_controllers(self) -> None:
        """Controllers and scheduler come back gradually: wait until an unrelated Job gets a pod on a node."""
        pod = {
            "containers": [{"name": "probe", "image": IMAGE}],
            "tolerations": [{"operator": "Exists"}],
            "restartPolicy": "Never",
        }
        metadata = {"name": "probe", "namespace": self._namespace}
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": {"spec": pod}}}
        self._place.create("job", job)

        def bound() -> str | None:
            pods = self._place.objects("pod")
            names = (each["metadata"]["name"] for each in pods if "nodeName" in each["spec"])
            return next((name for name in names if name.startswith("probe-")), None)

        name = wait_for(bound, seconds=180, what="a pod for a Job after the outage")
        at_once = ("--force", "--grace-period=0", "--wait=false", "--namespace", self._namespace)
        self._cluster.kubectl("delete", "job/probe", f"pod/{name}", *at_once)

    def _find(self, hours: float) -> Findings:
        entries = {name: tuple(self._journal(name)) for name in self._applied}
        ended = {name: [each for each in known if isinstance(each, EndedRun)] for name, known in entries.items()}
        results = Counter(cell for name, runs in ended.items() for run in runs for cell in _measured_cells(name, run))
        losses = [run.observation for runs in ended.values() for run in runs if isinstance(run.observation, Lost)]
        return Findings(
            simulated_hours=round(hours, 2),
            troubles=dict(self._happened),
            studies=len(self._applied),
            runs=sum(map(len, ended.values())),
            lost_runs=dict(Counter(loss.reason for loss in losses)),
            wrong_bests=tuple(name for name in self._applied if not self._is_right(name)),
            measured=len(results),
            measured_twice=tuple(cell for cell, count in results.items() if count > 1),
            forgotten=tuple(self._measured.keys() - results.keys()),
            measured_again=self._measured.total() - len(self._measured),
            rss_mib=self._memory(),
            complaints=tuple(self.operator.complaints()),
            warnings=self.operator.text().count("[WARNING"),
        )

    def _journal(self, study: str) -> Iterator[Entry]:
        """Return what the study's journal remembers."""
        for body in self._place.objects("configmap"):
            labels = body["metadata"].get("labels", {})
            if labels.get("infpop.io/study") == study and "-journal-" in body["metadata"]["name"]:
                for line in body.get("data", {}).values():
                    entry = decode_line(line)
                    if not isinstance(entry, Header):
                        yield entry

    def _is_right(self, study: str) -> bool:
        best = self._place.status(study)["best"]
        return (best["gpuCount"], best["batchSize"]) == best_cell(study, self._plan.batches)

    def _memory(self) -> dict[str, float]:
        """Return the operator's memory: in the middle, when it was last killed long ago, at the end, and at most."""

        def median(begin: float, end: float) -> float:
            values = [rss for hour, rss in self._rss if begin <= hour / self._plan.hours <= end]
            return round(statistics.median(values), 1)

        return {
            "middle": median(0.45, 0.6),
            "end": median(0.85, 1.0),
            "peak": round(max(rss for _, rss in self._rss), 1),
        }


def _measured_cells(study: str, run: EndedRun) -> Iterator[Cell]:
    if isinstance(run.observation, Finished):
        batches = {trial.index: trial.configuration for trial in run.run.trials}
        for trial in run.observation.result.trials:
            if isinstance(trial, Measured):
                cell = batches[trial.index]
                yield (study, cell.gpu_count, cell.batch_size)
