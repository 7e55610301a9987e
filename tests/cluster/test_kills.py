"""Kill -9 of the operator at any moment: the next one ends the study as if nothing had happened.

The moments are right before and right after what the operator asks of the API server, and of its own store. Nowhere is
a time waited for.
"""

import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from cluster import kit
from cluster.place import Body, Place
from cluster.trapped_operator import FINAL_STATUS, TRAIL_VARIABLE, TRAP_VARIABLE
from controlplane.audit import AuditEntry
from controlplane.behaviours import Behaviour, HangsLoading, Succeeds
from controlplane.cluster import ControlPlane
from controlplane.kubelet import SimulatedKubelet
from controlplane.nodes import added_nodes, gpu_node
from infpop_operator.adapters.journal import decode_line
from infpop_operator.core.model import EndedRun, StartedRun
from infpop_runner.contract import InfeasibleReason, RunSpec

pytestmark = pytest.mark.cluster
TRAPPED = Path(__file__).with_name("trapped_operator.py")
DEADLINE_S = 120.0  # far longer than anything here takes; reaching it is a failure, never a verdict on speed
TRIALS = 4
# The first, the middle and the last of each kind.
ONE_BY_ONE = (
    "list_jobs:before:1",
    "list_config_maps:after:1",
    "create_config_map:before:1",
    "create_config_map:after:1",
    "create_job:after:1",
    "replace_study_status:before:1",
    "replace_study_status:after:1",
    "create_event:after:1",
    "record:before:2",
    "patch_config_map:after:1",
    "set_job_ttl:before:1",
    "set_job_ttl:after:1",
    "patch_config_map:before:2",
    "create_job:before:3",
    "create_job:after:3",
    "replace_study_status:before:3",
    "set_job_ttl:after:2",
    "create_job:after:4",
    "patch_config_map:before:4",
    "record:after:5",
    f"{FINAL_STATUS}:before:1",
    f"{FINAL_STATUS}:after:1",
    "create_config_map:before:2",
    "create_config_map:after:2",
    "set_job_ttl:before:4",
)
IN_PARALLEL = ("create_job:before:2", "create_job:after:3", "patch_config_map:after:1", "set_job_ttl:after:2")
SUSPENDING = ("delete_job:before:1", "delete_job:after:1", "patch_config_map:before:1", "patch_config_map:after:1")
MOMENTS = (*(("single", moment) for moment in ONE_BY_ONE), *(("parallel", moment) for moment in IN_PARALLEL))


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


@pytest.fixture(scope="module")
def cluster(installed: ControlPlane) -> Iterator[ControlPlane]:
    """A cluster with InfPop and with nodes of this module's own."""
    products = ("NVIDIA-A100-SXM4-40GB", "Tesla-V100-SXM2-32GB")
    nodes = (
        gpu_node(f"kills-{index}", product=product, extra_labels={"pool": "kills"})
        for index, product in enumerate(products)
    )
    with added_nodes(installed, *nodes):
        yield installed


@pytest.fixture
def stage(cluster: ControlPlane, namespace: str) -> Iterator[Place]:
    """A namespace of this test's own."""
    place = Place(cluster, namespace)
    yield place
    place.close()


@pytest.fixture(scope="module")
def undisturbed(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Outcome]:
    """Tune each study once without any trouble, and return what came out."""
    place = Place(cluster, "undisturbed-kills")
    cluster.kubectl("create", "namespace", place.namespace)
    for create in STUDIES.values():
        create(place)
    with place.kubelet(play), running(place, tmp_path_factory.mktemp("undisturbed")) as process:
        await_end(place, process)
    outcomes = {name: outcome(place, name) for name in STUDIES}
    place.close()
    return outcomes


def create_study(place: Place, name: str, *, pools: Sequence[str] = ("A100",), **spec: object) -> None:
    """Create a study of these tests; keywords replace parts of its spec."""
    nodes = [{"name": gpu.lower(), "gpuProduct": gpu, "nodeSelector": {"pool": "kills"}} for gpu in pools]
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


STUDIES = {"single": create_single, "parallel": create_parallel}


@contextmanager
def running(place: Place, directory: Path) -> Iterator[kit.OperatorProcess]:
    """Run the operator; it ends as it should, and its log is clean."""
    with kit.operator(place.cluster, directory, namespace=place.namespace) as process:
        yield process
        assert process.stop() == 0


@contextmanager
def trapped(place: Place, directory: Path, moment: str) -> Iterator[None]:
    """Have an operator while the block lasts, which has to end it by being killed at this very moment."""
    trail = directory / "trail"
    process = kit.OperatorProcess(
        place.cluster,
        directory,
        namespace=place.namespace,
        program=(sys.executable, str(TRAPPED), "operator"),
        environment={TRAP_VARIABLE: moment, TRAIL_VARIABLE: str(trail)},
    )
    process.start()
    try:
        yield
        assert process.process.wait(DEADLINE_S) == -signal.SIGKILL
    finally:
        process.kill()
    assert trail.read_text().splitlines()[-1] == moment
    assert process.complaints() == []


def await_end(place: Place, *processes: kit.OperatorProcess) -> None:
    """Wait until nothing is left to do: studies have succeeded and are published, and every Job may be removed."""

    def is_done() -> bool:
        assert all(process.is_running() for process in processes), processes[0].text()[-2000:]
        studies = place.objects("study")
        ended = all(kit.condition(each.get("status", {}), "Succeeded").get("status") == "True" for each in studies)
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
    started = Counter(step.run.name for step in steps if isinstance(step, StartedRun))
    return started, Counter(step.run.name for step in steps if isinstance(step, EndedRun))


def hang_first(spec: RunSpec, attempt: int) -> Behaviour:
    """The first trial never comes to an end, until it is tried again."""
    return HangsLoading() if spec.trials[0].index == 0 and attempt == 1 else play(spec, attempt)


@pytest.mark.parametrize(("study", "moment"), MOMENTS)
def test_an_operator_killed_at_any_moment(
    stage: Place, tmp_path: Path, undisturbed: Mapping[str, Outcome], study: str, moment: str
) -> None:
    """The same best, each configuration measured once, no Job made twice, nothing lost, wherever the kill strikes."""
    STUDIES[study](stage)
    with stage.kubelet(play) as kubelet:
        with trapped(stage, tmp_path, moment):
            pass
        with running(stage, tmp_path) as process:
            await_end(stage, process)
    assert outcome(stage, study) == undisturbed[study]
    assert_nothing_happened_twice(stage, kubelet)


@pytest.mark.parametrize("moment", SUSPENDING)
def test_an_operator_killed_while_it_suspends_a_study(
    stage: Place, tmp_path: Path, undisturbed: Mapping[str, Outcome], moment: str
) -> None:
    """The devices come free all the same, and the run that was stopped is made again when the study goes on."""
    create_single(stage)
    with stage.kubelet(hang_first) as kubelet:
        with trapped(stage, tmp_path, moment):
            await_running_pod(stage)
            stage.change("single", suspend=True)
        with running(stage, tmp_path) as process:
            stage.wait_for("Suspended", name="single")
            stage.wait_until(lambda: sum(remembered(stage)[1].values()) == 1, what="the end of the run is remembered")
            assert stage.running_pods() == []
            stage.change("single", suspend=False)
            await_end(stage, process)
    assert outcome(stage, "single") == undisturbed["single"]
    started, ended = remembered(stage)
    assert (started, len(started)) == (ended, TRIALS + 1)
    assert set(ended.values()) == {1}
    assert [run.attempt for run in kubelet.runs] == [1, 2, *[1] * (TRIALS - 1)]


def test_a_run_that_ends_while_there_is_no_operator(
    stage: Place, tmp_path: Path, undisturbed: Mapping[str, Outcome]
) -> None:
    """Its Job waits with the result until the next operator has it; nothing is measured again."""
    create_single(stage)
    gate = threading.Event()
    with stage.kubelet(lambda spec, _attempt: replace(play(spec, 1), gate=gate)) as kubelet:
        first = kit.OperatorProcess(stage.cluster, tmp_path, namespace=stage.namespace)
        first.start()
        try:
            await_running_pod(stage)
        finally:
            first.kill()
        gate.set()
        stage.wait_until(lambda: stage.objects("job")[0]["status"].get("succeeded"), what="the end of the first run")
        assert [len(runs) for runs in remembered(stage)] == [1, 0]
        with running(stage, tmp_path) as process:
            await_end(stage, process)
    assert outcome(stage, "single") == undisturbed["single"]
    assert_nothing_happened_twice(stage, kubelet)


def await_running_pod(place: Place) -> None:
    """Wait until the first run is on its way."""
    place.wait_until(lambda: [pod for pod in place.objects("pod") if pod["status"]["phase"] == "Running"], what="a run")


def test_two_operators_at_once(stage: Place, tmp_path: Path, undisturbed: Mapping[str, Outcome]) -> None:
    """Of two that believe themselves alone one is refused each time: one Job for each run, and the same best."""
    names = ("one", "two", "three")
    folders = [tmp_path / number for number in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    with stage.kubelet(play) as kubelet, ExitStack() as stack:
        processes = [stack.enter_context(running(stage, folder)) for folder in folders]
        stage.wait_until(lambda: len(listings(stage)) >= 4, what="both are up: each lists the studies twice")
        for name in names:
            create_parallel(stage, name)
        await_end(stage, *processes)
    assert [outcome(stage, name) for name in names] == [undisturbed["parallel"]] * 3
    assert_nothing_happened_twice(stage, kubelet)


def listings(place: Place) -> list[AuditEntry]:
    """Return the listings of studies that operators have made, one for kopf and one for the service."""
    entries = place.cluster.audit_entries(about=place.namespace)
    return [entry for entry in entries if (entry.verb, entry.resource) == ("list", "throughputstudies")]
