"""Acts of other clients on the objects of a study's namespace, drawn from a seed, and a soak of many of them.

What is drawn (which act, on which of the objects that are there) follows from the seed alone; what is there when it
comes is a race of real processes. Left out is what makes the Job controller itself start a second pod, which no
operator can prevent: removing the label `batch.kubernetes.io/controller-uid` of a pod.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import count
from math import isclose
from pathlib import Path
from random import Random

import httpx

from cluster.gpu_watch import GpuWatch
from cluster.operator_process import OperatorProcess
from cluster.place import _PATHS, Body, Place, throughput
from cluster.studies import find_condition
from controlplane.behaviours import Succeeds
from controlplane.cluster import ControlPlane
from controlplane.nodes import create_nodes, delete_nodes, gpu_node
from controlplane.waiting import wait_for
from infpop_operator.core import budget, placement
from infpop_runner.contract import RunSpec

GPUS, BATCHES = (1, 2, 4), (4, 8, 32, 64)
LIMIT, LOWERED = 8, 4  # of GPUs at the same time
NODES = 3  # of eight GPUs: far more than the budget, so that nothing else limits the studies
STUDIES = 3  # under way at any time
PAUSE_SECONDS = 0.35  # between two acts
PATIENCE_SECONDS = 240.0  # after the last act, with two busy cores
QUOTA = "hostile"
MANAGED_BY, RUN, STUDY = "app.kubernetes.io/managed-by", "infpop.io/run", "infpop.io/study"
OURS = (MANAGED_BY, RUN, STUDY, "app.kubernetes.io/name", "infpop.io/pool", "infpop.io/gpu-count", "infpop.io/round")

METADATA: Mapping[str, Mapping[str, object]] = {
    "is managed by Helm": {"labels": {MANAGED_BY: "Helm"}},
    "loses its run": {"labels": {RUN: None}},
    "loses its study": {"labels": {STUDY: None}},
    "gets another run": {"labels": {RUN: "other", STUDY: "other"}},
    "loses all labels of the operator": {"labels": dict.fromkeys(OURS)},
    "loses its owner": {"ownerReferences": None},
    "loses labels and owner": {"labels": dict.fromkeys(OURS), "ownerReferences": None},
    "loses annotations": {"annotations": None},
}
JOB_ACTS = (
    *(f"job {act}" for act in METADATA),
    "job is deleted",
    "job is deleted without its pods",
    "job is deleted in the foreground",
)
POD_ACTS = (
    *(f"pod {act}" for act in METADATA),
    "pod is deleted",
    "pod is deleted by force",
    "pod is evicted",
)
OTHER_ACTS = (
    "quota of 2 GPUs",
    "no quota",
    "node is cordoned",
    "nodes are uncordoned",
    "node is drained by a taint",
    "node is replaced",
    "limit of GPUs is lowered",
    "limit of GPUs is raised",
    "study is suspended",
    "studies go on",
    "operator is killed",
    "watches are cut",
)
RELIEF = ("no quota", "nodes are uncordoned", "studies go on")
ACTS = (*JOB_ACTS, *JOB_ACTS, *POD_ACTS, *POD_ACTS, *OTHER_ACTS, *RELIEF, *RELIEF)  # runs are what this is about


def draw(seed: int, number: int) -> list[tuple[str, float]]:
    """Return the acts of a seed, each with a number in [0, 1) that chooses its object among those that are there."""
    random = Random(seed)
    return [(random.choice(ACTS), random.random()) for _ in range(number)]


def hurry() -> None:
    """Make the operator's pauses after broken runs short: they are minutes after a dozen of them."""
    budget._FIRST_PAUSE = timedelta(seconds=0.2)
    budget._LONGEST_PAUSE = timedelta(seconds=1)
    placement._FIRST_PAUSE = timedelta(seconds=0.2)


def play(_spec: RunSpec, _attempt: int) -> Succeeds:
    """Every run succeeds within two seconds."""
    return Succeeds(throughput=throughput, pull_seconds=0.1, load_seconds=0.8, trial_seconds=0.4)


class HostileSoak:
    """A namespace with nodes of its own, an operator for it, and acts of others on everything in it."""

    def __init__(self, cluster: ControlPlane, namespace: str, folder: Path, *, seed: int, acts: int) -> None:
        self.seed = seed
        self.log: list[str] = []
        self._cluster = cluster
        self._place = Place(cluster, namespace)
        self._acts = draw(seed, acts)
        self._operator = OperatorProcess(
            cluster,
            folder,
            namespace=namespace,
            prepare=hurry,
            environment={
                "INFPOP_TICK_SECONDS": "1",
                "INFPOP_RESYNC_SECONDS": "5",
                "INFPOP_STATUS_PAUSE_SECONDS": "0.2",
                "INFPOP_STOP_SECONDS": "10",
            },
        )
        self._gpus = GpuWatch(self._place)
        self._gpus.note = lambda: self.log[-1] if self.log else ""
        self._studies: list[str] = []
        self._nodes: list[str] = []
        self._numbers = count()

    def run(self) -> list[str]:
        """Have every act happen, let the studies end, and return what is wrong."""
        for _ in range(NODES):
            self._add_node()
        try:
            with self._place.kubelet(play), self._gpus:
                wait_for(self._answers, seconds=60, what="an answer about studies")
                self._operator.start()
                for number, (act, chance) in enumerate(self._acts):
                    self._apply_studies()
                    self.log.append(f"{number}. {act}: {self._do(act, chance)}")
                    self._wait(PAUSE_SECONDS)
                self._make_peace()
                wrong = self._wait_for_ends()
                return [*self._gpus.violations, *wrong, *self._operator.complaints()]
        finally:
            self._operator.stop()
            self._place.close()
            delete_nodes(self._cluster, self._nodes)

    def report(self, wrong: Sequence[str]) -> str:
        """Return what is wrong, with the seed and all acts."""
        return "\n".join([f"seed {self.seed}, {len(self._studies)} studies", *wrong, "the acts were:", *self.log])

    @property
    def studies(self) -> int:
        """The number of studies that were applied."""
        return len(self._studies)

    def most_gpus(self) -> int:
        """Return the most GPUs that any study held."""
        return max(self._gpus.most(name) for name in self._studies)

    def _answers(self) -> bool:
        """Return whether studies can be listed: just after its definition the API server answers 429."""
        return self._place._client.get(_PATHS["study"].format(self._place.namespace)).is_success

    def _wait(self, seconds: float) -> None:
        self._gpus._stop.wait(seconds)

    def _apply_studies(self) -> None:
        for _ in range(STUDIES - len(self._live())):
            name = f"hostile-{len(self._studies)}"
            self._studies.append(name)
            self._gpus.limit(name, LIMIT)
            self._place.study(
                name,
                searchSpace={"gpuCount": list(GPUS), "batchSize": list(BATCHES)},
                budget={
                    "maxTrials": len(GPUS) * len(BATCHES),
                    "parallelTrials": 3,
                    "maxConcurrentGPUs": LIMIT,
                    "maxFailedTrials": 1000,
                },
                algorithm={"name": "random", "seed": len(self._studies)},
                ttlSecondsAfterFinished=3,
            )

    def _do(self, act: str, chance: float) -> str:
        """Do it, and return on what; an object that is gone meanwhile is no matter."""
        try:
            return self._act(act, chance)
        except (AssertionError, httpx.HTTPError) as error:
            return f"refused: {str(error)[:150]}"

    def _act(self, act: str, chance: float) -> str:
        kind, _, what = act.partition(" ")
        if act in JOB_ACTS or act in POD_ACTS:
            found = [each for each in self._place.objects(kind) if not _is_over(each)]
            body = _choose(found, chance)
            return "there is none" if body is None else self._act_on(kind, what, body["metadata"]["name"])
        return self._act_elsewhere(act, chance)

    def _act_on(self, kind: str, what: str, name: str) -> str:
        if what in METADATA:
            self._place.patch(kind, name, {"metadata": METADATA[what]})
            return name
        match what:
            case "is deleted":
                self._place.delete(kind, name)
            case "is deleted by force":
                self._place.delete(kind, name, force=True)
            case "is deleted without its pods":
                self._delete(kind, name, "Orphan")
            case "is deleted in the foreground":
                self._delete(kind, name, "Foreground")
            case "is evicted":
                path = f"{self._place._path('pod', name)}/eviction"
                body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
                self._place._answer(self._place._client.post(path, json=body))
        return name

    def _delete(self, kind: str, name: str, policy: str) -> None:
        options = {"propagationPolicy": policy}
        self._place._answer(self._place._client.request("DELETE", self._place._path(kind, name), json=options))

    def _act_elsewhere(self, act: str, chance: float) -> str:
        acts: Mapping[str, Callable[[float], object]] = {
            "quota of 2 GPUs": lambda _: self._set_quota("2"),
            "no quota": lambda _: self._remove_quota(),
            "node is cordoned": self._cordon,
            "nodes are uncordoned": lambda _: self._uncordon(),
            "node is drained by a taint": self._taint,
            "node is replaced": self._replace_node,
            "limit of GPUs is lowered": lambda chance: self._limit(chance, LOWERED),
            "limit of GPUs is raised": lambda chance: self._limit(chance, LIMIT),
            "study is suspended": lambda chance: self._change_live(chance, suspend=True),
            "studies go on": lambda _: [self._place.change(name, suspend=False) for name in self._live()],
            "operator is killed": lambda _: self._restart(),
            "watches are cut": lambda _: self._cluster.cut_watches(),
        }
        done = acts[act](chance)
        return done if isinstance(done, str) else "done"

    def _live(self) -> list[str]:
        """Return the studies that have not ended, the oldest first."""
        ended = {
            body["metadata"]["name"] for body in self._place.objects("study") if _has_ended(body.get("status", {}))
        }
        return [name for name in self._studies if name not in ended]

    def _change_live(self, chance: float, **spec: object) -> str:
        names = self._live()
        if not names:
            return "there is none"
        name = names[int(chance * len(names))]
        self._place.change(name, **spec)
        return name

    def _limit(self, chance: float, gpus: int) -> str:
        name = self._change_live(chance, budget={"maxConcurrentGPUs": gpus})
        if name in self._studies:
            self._gpus.limit(name, gpus)
        return name

    def _set_quota(self, gpus: str) -> str:
        self._remove_quota()
        hard = {"requests.nvidia.com/gpu": gpus}
        self._place.create("resourcequota", {"metadata": {"name": QUOTA}, "spec": {"hard": hard}})
        return QUOTA

    def _remove_quota(self) -> None:
        with suppress(AssertionError):
            self._place.delete("resourcequota", QUOTA)

    def _cordon(self, chance: float) -> str:
        name = self._nodes[int(chance * len(self._nodes))]
        self._place.patch("node", name, {"spec": {"unschedulable": True}})
        return name

    def _uncordon(self) -> None:
        for name in self._nodes:
            self._place.patch("node", name, {"spec": {"unschedulable": None, "taints": None}})

    def _taint(self, chance: float) -> str:
        name = self._nodes[int(chance * len(self._nodes))]
        self._place.patch("node", name, {"spec": {"taints": [{"key": "gone", "effect": "NoExecute"}]}})
        return name

    def _replace_node(self, chance: float) -> str:
        name = self._nodes.pop(int(chance * len(self._nodes)))
        delete_nodes(self._cluster, [name])
        self._add_node()
        return name

    def _add_node(self) -> None:
        name = f"{self._place.namespace}-{next(self._numbers)}"
        self._nodes.append(name)
        create_nodes(self._cluster, [gpu_node(name, extra_labels={"pool": self._place.namespace})])

    def _restart(self) -> None:
        self._operator.kill()
        self._operator.start()

    def _make_peace(self) -> None:
        """Take back what holds studies up."""
        self._remove_quota()
        self._uncordon()
        for name in self._live():
            self._place.change(name, suspend=False, budget={"maxConcurrentGPUs": LIMIT})
            self._gpus.limit(name, LIMIT)

    def _wait_for_ends(self) -> list[str]:
        try:
            wait_for(lambda: not self._live(), seconds=PATIENCE_SECONDS, what="the end of every study")
            wait_for(lambda: not self._left(), seconds=PATIENCE_SECONDS, what="the end of every Job and pod")
        except TimeoutError as error:
            conditions = {name: self._place.status(name).get("conditions") for name in self._live()}
            return [str(error), f"left: {self._left()}", str(conditions), self._operator.text()[-2000:]]
        return [wrong for name in self._studies for wrong in _wrong(name, self._place.status(name))]

    def _left(self) -> list[str]:
        found = [body for kind in ("job", "pod") for body in self._place.objects(kind)]
        return [body["metadata"]["name"] for body in found if not _is_over(body)]


def _choose(found: Sequence[Body], chance: float) -> Body | None:
    ordered = sorted(found, key=lambda body: str(body["metadata"]["name"]))
    return ordered[int(chance * len(ordered))] if ordered else None


def _is_over(body: Body) -> bool:
    status = body.get("status", {})
    ended = (each["type"] for each in status.get("conditions") or () if each["status"] == "True")
    return status.get("phase") in ("Succeeded", "Failed") or any(kind in ("Complete", "Failed") for kind in ended)


def _has_ended(status: Body) -> bool:
    return any(find_condition(status, kind).get("status") == "True" for kind in ("Succeeded", "Stalled"))


def _wrong(name: str, status: Body) -> Iterator[str]:
    """Yield what is wrong with the end of a study: it has the right best, or says why it has not."""
    rows = {(row["gpuCount"], row["batchSize"]): row for row in status.get("trials", ())}
    values = {(gpus, batch): throughput(gpus, batch) for gpus in GPUS for batch in BATCHES}
    for cell, row in rows.items():
        if row["state"] == "Measured" and not isclose(float(row["throughput"]), float(values[cell]), rel_tol=1e-4):
            yield f"{name}: {cell} has {row['throughput']}, not {values[cell]}"
        if row["state"] != "Measured" and not row.get("reason"):
            yield f"{name}: {cell} is {row['state']} without a reason"
    measured = [cell for cell, row in rows.items() if row["state"] == "Measured"]
    best = status.get("best")
    if best is None:
        if not find_condition(status, "Stalled").get("message"):
            yield f"{name}: neither a best nor a reason"
    elif (best["gpuCount"], best["batchSize"]) != max(measured, key=lambda cell: float(values[cell])):
        yield f"{name}: the best is {best}, of {rows}"
    missing = values.keys() - rows.keys()
    if missing:
        yield f"{name}: {sorted(missing)} were never tried: {find_condition(status, 'Ready')}"
