"""Studies whose outcome is known, operators that are killed or frozen on the way, and what must hold all the same."""

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from cluster.operator_process import OperatorProcess, running_operator
from cluster.place import Body, Place
from cluster.studies import find_condition
from cluster.trapped_operator import set_trap
from controlplane.behaviours import Succeeds
from controlplane.kubelet import SimulatedKubelet
from controlplane.waiting import wait_for
from infpop_operator.adapters.journal import decode_line
from infpop_operator.core.model import EndedRun, StartedRun
from infpop_runner.contract import InfeasibleReason, RunSpec

POOL = "kills"  # the label of the nodes of these studies
TRIALS = 4
DEADLINE_S = 120.0  # far longer than anything here takes; reaching it is a failure, never a verdict on speed


def throughput(pool: str, gpus: int, batch: int) -> float | InfeasibleReason:
    """Return tokens/s of a made-up landscape: no two cells are the same, and the largest do not fit."""
    if batch > 64 * gpus:
        return "GpuOutOfMemory"
    return round((100.0 if pool == "a100" else 60.0) * gpus**0.7 * batch**0.4 + (gpus * 31 + batch * 17) % 23, 3)


def play(spec: RunSpec, _attempt: int) -> Succeeds:
    """Every run succeeds at once."""
    return Succeeds(throughput=partial(throughput, spec.pool))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What must not depend on what happened on the way; the order in which trials ended may."""

    best: Body
    trials: list[tuple[str, ...]]
    progress: str
    published: Body


def create_study(place: Place, name: str, *, pools: Sequence[str] = ("A100",), **spec: object) -> None:
    """Create a study of these tests; keywords replace parts of its spec."""
    nodes = [{"name": gpu.lower(), "gpuProduct": gpu, "nodeSelector": {"pool": POOL}} for gpu in pools]
    fixed = {"budget": {"maxTrials": TRIALS}, "publish": {"configMap": name}, "nodePools": nodes}
    place.study(name, **{**fixed, **spec})


def create_single(place: Place, name: str = "single") -> None:
    """Create a study whose runs come one after the other, so that each follows from what was found before."""
    create_study(place, name)


def create_parallel(place: Place, name: str = "parallel") -> None:
    """Create a study with four runs at once on two pools; it measures all there is, so their order is no matter."""
    budget = {"maxTrials": TRIALS, "parallelTrials": 4, "maxConcurrentGPUs": 16}
    space = {"gpuCount": [1, 2], "batchSize": [8, 64]}
    create_study(place, name, pools=("A100", "V100"), searchSpace=space, budget=budget)


@contextmanager
def running(place: Place, directory: Path) -> Iterator[OperatorProcess]:
    """Run the operator; it ends as it should, and its log is clean."""
    with running_operator(place.cluster, directory, namespace=place.namespace) as process:
        yield process
        assert process.stop() == 0


@contextmanager
def trapped(place: Place, directory: Path, moment: str) -> Iterator[None]:
    """Have an operator while the block lasts, which has to end it by being killed at this very moment."""
    process = _start_trapped(place, directory, moment, signal.SIGKILL)
    try:
        yield
        assert process.wait(DEADLINE_S) == -signal.SIGKILL
    finally:
        process.kill()
    assert trail(directory)[-1] == moment
    assert process.complaints() == []


@contextmanager
def frozen(place: Place, directory: Path, moment: str) -> Iterator[OperatorProcess]:
    """Have an operator that has been stopped at this very moment, as with its machine; the block lets it go on."""
    process = _start_trapped(place, directory, moment, signal.SIGSTOP)
    try:
        stopped = psutil.Process(process.pid)
        wait_for(lambda: stopped.status() == psutil.STATUS_STOPPED, seconds=DEADLINE_S, what=f"the stop at {moment}")
        assert trail(directory)[-1] == moment
        yield process
        assert process.stop() == 0
    finally:
        process.kill()
    assert process.complaints() == []


def trail(directory: Path) -> list[str]:
    """Return the moments that an operator with a trap has passed."""
    return (directory / "trail").read_text().splitlines()


def _start_trapped(place: Place, directory: Path, moment: str, trap_signal: signal.Signals) -> OperatorProcess:
    trap = partial(set_trap, moment, trap_signal, directory / "trail")
    process = OperatorProcess(place.cluster, directory, namespace=place.namespace, prepare=trap)
    process.start()
    return process


def await_end(place: Place, *processes: OperatorProcess) -> None:
    """Wait until nothing is left to do: studies have succeeded and are published, and every Job may be removed."""

    def is_done() -> bool:
        assert all(process.is_running() for process in processes), processes[0].text()[-2000:]
        studies = place.objects("study")
        ended = all(find_condition(each.get("status", {}), "Succeeded").get("status") == "True" for each in studies)
        return (
            ended and is_published() and all("ttlSecondsAfterFinished" in job["spec"] for job in place.objects("job"))
        )

    def is_published() -> bool:
        names = {each["metadata"]["name"] for each in place.objects("configmap")}
        return all(each["metadata"]["name"] in names for each in place.objects("study"))

    place.wait_until(is_done, what="the end of the studies, and of what follows it")


def outcome(place: Place, name: str) -> Outcome:
    """Return what came out of a study."""
    status, published = place.status(name), place.get("configmap", name)["data"]
    columns = ("pool", "round", "gpuCount", "batchSize", "state", "throughput", "reason")
    return Outcome(
        best={key: value for key, value in status["best"].items() if key != "run"},
        trials=sorted(tuple(str(row.get(column)) for column in columns) for row in status["trials"]),
        progress=status["progress"],
        published={key: published[key] for key in ("args", "args.txt")},
    )


def assert_nothing_happened_twice(place: Place, kubelet: SimulatedKubelet) -> None:
    """Each run was remembered once, had one Job that lived to its end, and one pod; no configuration had two runs."""
    started, ended = remembered(place)
    once = dict.fromkeys(ended, 1)
    assert (started, ended) == (once, once)
    requests = [entry for entry in place.cluster.audit_entries(about=place.namespace) if entry.resource == "jobs"]
    made = [entry.name for entry in requests if (entry.verb, entry.code) == ("create", 201)]
    assert Counter(made) == once
    assert [entry for entry in requests if entry.verb == "delete"] == []
    assert {job["metadata"]["name"] for job in place.objects("job")} == set(once)
    assert Counter(run.spec.run for run in kubelet.runs) == once
    assert [run for run in kubelet.runs if run.attempt > 1] == []


def remembered(place: Place) -> tuple[Counter[str], Counter[str]]:
    """Return how often each run was remembered as started, and as ended."""
    maps = place.objects("configmap")
    journals = [each for each in maps if each["metadata"].get("labels", {}).get("infpop.io/content") == "journal"]
    steps = [decode_line(line) for journal in journals for line in journal["data"].values()]
    started = Counter(step.run.name for step in steps if isinstance(step, StartedRun) and step.stopping is None)
    return started, Counter(step.run.name for step in steps if isinstance(step, EndedRun))
