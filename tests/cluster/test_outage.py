"""The API server is away, its watches are cut, its answers are lost: the operator continues; and when it is dead.

What it missed is found again by itself. A dead operator says so, or ends.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from cluster.conftest import QUICK
from cluster.faulty_operators import ClockFault, break_clock
from cluster.operator_process import RBAC, OperatorProcess, running_operator
from cluster.place import Place, throughput
from cluster.studies import find_condition
from controlplane.behaviours import HangsLoading, Succeeds, replay
from controlplane.kubelet import SimulatedKubelet
from controlplane.processes import free_ports
from infpop_runner.contract import RunSpec

pytestmark = pytest.mark.cluster

SPACE = {"gpuCount": [1, 2], "batchSize": [8, 16, 32]}
NEVER = {"INFPOP_RESYNC_SECONDS": "86400"}  # so that watches alone tell what happens


@contextmanager
def watching(place: Place, directory: Path, **environment: str) -> Iterator[OperatorProcess]:
    """Run an operator for this place, through the proxy; in the end it still runs, and its log is clean."""
    settings = {**QUICK, **environment}
    with running_operator(
        place.cluster, directory, namespace=place.namespace, environment=settings, proxied=True
    ) as process:
        yield process
        assert process.is_running()


CELLS = [(gpus, batch) for gpus in SPACE["gpuCount"] for batch in SPACE["batchSize"]]


def cell(spec: RunSpec) -> tuple[int, int]:
    """Return the configuration of a run of one trial: GPUs and batch size."""
    return spec.gpu_count, spec.trials[0].batch_size


def measured(kubelet: SimulatedKubelet) -> list[tuple[int, int]]:
    """Return the configurations of the runs so far, sorted."""
    return sorted(cell(run.spec) for run in kubelet.runs)


def test_the_api_server_goes_and_comes_back(place: Place, tmp_path: Path) -> None:
    """An outage in the middle of a study loses nothing and repeats nothing; what ended meanwhile is read afterwards."""
    gate, held = threading.Event(), CELLS[-1]

    def play(spec: RunSpec, _attempt: int) -> Succeeds:
        return Succeeds(throughput=throughput, gate=gate if cell(spec) == held else None)

    with watching(place, tmp_path) as process, place.kubelet(play) as kubelet:
        place.study(searchSpace=SPACE)
        # With its Pod at work: one that is being created while the server dies the Job controller may create twice.
        place.wait_until(lambda: held in measured(kubelet), what="the run that ends in the outage")
        place.cluster.apiserver_stop()
        try:
            place.wait_until(lambda: "no answer" in process.text(), what="a complaint in the log")
            gate.set()
        finally:
            # As a load balancer, the proxy sends no client to a server that is not ready: before it has read who may do
            # what it refuses everything.
            place.cluster.proxy.blackhole(active=True)
            place.cluster.apiserver_start()
            place.cluster.proxy.blackhole(active=False)
        place.wait_for("Succeeded")
        assert measured(kubelet) == CELLS


def test_watches_that_are_cut_are_taken_up_again(place: Place, tmp_path: Path) -> None:
    """Connections that break again and again delay a study and change nothing; no listing has to help."""
    with watching(place, tmp_path, **NEVER), place.kubelet(replay(throughput, trial_seconds=0.3)) as kubelet:
        place.study(searchSpace=SPACE)
        for trials in (1, 3, 5):
            place.wait(lambda status, trials=trials: len(status["trials"]) >= trials, what=f"{trials} trials")
            assert place.cluster.cut_watches() > 0
        place.wait_for("Succeeded")
        assert measured(kubelet) == CELLS


@pytest.mark.parametrize("ending", ["everything arrives late", "what was sent is lost"])
def test_a_network_that_swallows_everything(place: Place, tmp_path: Path, ending: str) -> None:
    """A connection that is open and dead for a while costs that while; results that came in it are not lost."""
    with watching(place, tmp_path), place.kubelet(replay(throughput, trial_seconds=0.3)) as kubelet:
        place.study(searchSpace=SPACE)
        place.wait(lambda status: len(status["trials"]) >= 2, what="a second trial")
        place.cluster.proxy.blackhole(active=True)
        try:
            place.wait_until(lambda: not place.running_pods(), what="the end of the live run")
            ended = len(kubelet.runs)
        finally:
            if ending == "what was sent is lost":
                place.cluster.cut_watches()
            place.cluster.proxy.blackhole(active=False)
        assert ended < 6
        place.wait_for("Succeeded")
        assert measured(kubelet) == CELLS


def test_objects_deleted_while_unwatched_are_detected(place: Place, tmp_path: Path) -> None:
    """A restarted watch does not report what was deleted in between: the next listing does."""
    with watching(place, tmp_path), place.kubelet(lambda _spec, _attempt: HangsLoading()) as kubelet:
        place.study(searchSpace={"gpuCount": [1], "batchSize": [8]})
        run = place.wait_for_run("ModelLoading")
        kubelet.play = replay(throughput)
        place.cluster.proxy.blackhole(active=True)
        try:
            place.delete("job", run["name"])
            place.wait_until(lambda: place.objects("job") == place.objects("pod") == [], what="the end of Job and pod")
        finally:
            place.cluster.cut_watches()
            place.cluster.proxy.blackhole(active=False)
        (row,) = place.wait_for("Succeeded")["trials"]
    assert (row["state"], row["attempts"]) == ("Measured", 2)


def test_a_missing_right_is_reported_and_costs_no_failure(place: Place, tmp_path: Path) -> None:
    """Invariant 5: a right that the operator lacks is no failure of a run; the study continues with the right."""
    process = OperatorProcess(place.cluster, tmp_path, namespace=place.namespace, environment=QUICK)
    process.start()
    rules = json.loads(place.cluster.kubectl("get", "clusterrole", "infpop-operator", "--output=json"))["rules"]
    jobs = next(number for number, rule in enumerate(rules) if rule["resources"] == ["jobs"])
    change = [{"op": "replace", "path": f"/rules/{jobs}/verbs", "value": ["get", "list", "watch"]}]
    place.cluster.kubectl("patch", "clusterrole", "infpop-operator", "--type=json", f"--patch={json.dumps(change)}")
    try:
        place.study(searchSpace={"gpuCount": [1], "batchSize": [8]}, budget={"maxTrials": 1, "maxFailedTrials": 0})
        status = place.wait_for("Ready", "False", reason="MissingRights")
    finally:
        place.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(RBAC))
    assert 'cannot create resource "jobs"' in find_condition(status, "Ready")["message"]
    with place.kubelet(replay(throughput)):
        (row,) = place.wait_for("Succeeded")["trials"]
    assert (row["attempts"], process.stop()) == (1, 0)


def with_broken_clock(place: Place, directory: Path, fault: ClockFault, **environment: str) -> OperatorProcess:
    """Return an operator whose clock breaks as soon as the file `break` is in the directory."""
    breaks = partial(break_clock, directory / "break", fault)
    settings = {**QUICK, **environment}
    return OperatorProcess(place.cluster, directory, namespace=place.namespace, prepare=breaks, environment=settings)


def test_the_probe_detects_a_dead_tick(place: Place, tmp_path: Path) -> None:
    """The liveness endpoint answers 200 while the tick ticks, and 500 when it has not for eight times its length."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/healthz"

    def answer() -> int | None:
        try:
            return httpx.get(url, trust_env=False).status_code
        except httpx.HTTPError:
            return None

    process = with_broken_clock(place, tmp_path, "jumps", INFPOP_TICK_SECONDS="3600")
    process.start("--liveness", url)
    try:
        place.study(nodePools=[place.pool("v100")])
        place.wait_for("Ready", "False", reason="NoMatchingNodes")  # so that the tick has begun
        assert answer() == 200
        (tmp_path / "break").touch()
        place.wait_until(lambda: answer() == 500, what="a bad answer")
    finally:
        assert process.stop() == 0


def test_an_operator_whose_task_is_dead_ends(place: Place, tmp_path: Path) -> None:
    """When one of its own tasks ends, the whole process ends by itself and says why, so that it is started again."""
    process = with_broken_clock(place, tmp_path, "raises")
    process.start()
    place.study(nodePools=[place.pool("v100")])
    place.wait_for("Ready", "False", reason="NoMatchingNodes")
    (tmp_path / "break").touch()
    place.wait_until(lambda: not process.is_running(), what="the end of the process")
    assert "the operator's own tasks have ended, so the operator ends" in process.text()
    assert "the clock is broken" in process.text()
