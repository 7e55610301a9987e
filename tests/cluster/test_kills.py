"""Kill -9 of the operator at any moment: the next one ends the study as if nothing had happened.

The moments are right before and right after what the operator asks of the API server, and of its own store. Nowhere is
a time waited for.
"""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from cluster.kills import (
    POOL,
    TRIALS,
    Outcome,
    assert_nothing_happened_twice,
    await_end,
    create_parallel,
    create_single,
    create_study,
    frozen,
    outcome,
    play,
    remembered,
    running,
    trail,
    trapped,
)
from cluster.operator_process import IMAGE, OperatorProcess
from cluster.place import Place
from cluster.trapped_operator import FINAL_STATUS
from controlplane.audit import AuditEntry
from controlplane.behaviours import Behaviour, HangsLoading
from controlplane.cluster import ControlPlane
from controlplane.nodes import added_nodes, gpu_node
from infpop_operator.adapters.kube.connection import find_connection
from infpop_operator.adapters.kube.errors import KubeConflictError
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.handlers.operator import open_service
from infpop_operator.settings import Settings
from infpop_runner.contract import RunSpec

pytestmark = pytest.mark.cluster
# The first, the middle and the last of each kind.
ONE_BY_ONE = (
    "create_config_map:before:1",
    "create_config_map:after:1",
    "create_job:after:1",
    "replace_study_status:before:1",
    "replace_study_status:after:1",
    "patch_config_map:after:1",
    "set_job_ttl:before:1",
    "patch_config_map:before:2",
    "create_job:after:3",
    "create_job:after:4",
    "patch_config_map:before:4",
    "record:after:5",
    f"{FINAL_STATUS}:before:1",
    f"{FINAL_STATUS}:after:1",
    "create_config_map:before:2",
    "create_config_map:after:2",  # what is published, without its variables
    "create_config_map:after:3",
)
IN_PARALLEL = ("create_job:before:2", "create_job:after:3", "patch_config_map:after:1", "set_job_ttl:after:2")
# Of Jobs that the cluster removes as soon as their results are safe.
FLEETING = ("patch_config_map:after:2", "set_job_ttl:after:1", "replace_study_status:before:3")
SUSPENDING = ("delete_job:before:1", "delete_job:after:1", "patch_config_map:before:1", "patch_config_map:after:1")
FREEZING = ("record:before:2", "create_job:before:2", "replace_study_status:before:2")
MOMENTS = (*(("single", moment) for moment in ONE_BY_ONE), *(("parallel", moment) for moment in IN_PARALLEL))
# Of one operator after the other, counted from 1 for each.
IN_A_ROW = (
    "create_config_map:after:1",
    "create_job:after:1",
    "record:before:1",
    "patch_config_map:after:1",
    "replace_study_status:before:1",
    "create_job:after:1",
    "set_job_ttl:before:1",
    "patch_config_map:after:1",
    "create_config_map:before:1",  # what is published, before the status that says so
    f"{FINAL_STATUS}:before:1",
)


STUDIES = {"single": create_single, "parallel": create_parallel}


@pytest.fixture(scope="module")
def cluster(installed: ControlPlane) -> Iterator[ControlPlane]:
    """A cluster with InfPop and with nodes of this module's own."""
    products = ("NVIDIA-A100-SXM4-40GB", "Tesla-V100-SXM2-32GB")
    nodes = (
        gpu_node(f"{POOL}-{index}", product=product, extra_labels={"pool": POOL})
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


@pytest.mark.parametrize("moment", FLEETING)
def test_an_operator_killed_where_jobs_are_removed_at_once(
    stage: Place, tmp_path: Path, undisturbed: Mapping[str, Outcome], moment: str
) -> None:
    """A Job gets its time to live only when its result is recorded, so no result is lost although no Job is left."""
    create_study(stage, "single", ttlSecondsAfterFinished=0)
    with stage.kubelet(play) as kubelet:
        with trapped(stage, tmp_path, moment):
            pass
        with running(stage, tmp_path) as process:
            await_end(stage, process)
    assert outcome(stage, "single") == undisturbed["single"]
    assert [run.attempt for run in kubelet.runs] == [1] * TRIALS


def test_operators_killed_one_after_the_other(stage: Place, tmp_path: Path, undisturbed: Mapping[str, Outcome]) -> None:
    """Each continues where the one before was killed, and the result is the same."""
    create_single(stage)
    with stage.kubelet(play) as kubelet:
        for moment in IN_A_ROW:
            with trapped(stage, tmp_path, moment):
                pass
        with running(stage, tmp_path) as process:
            await_end(stage, process)
    assert outcome(stage, "single") == undisturbed["single"]
    assert_nothing_happened_twice(stage, kubelet)


@pytest.mark.parametrize("moment", SUSPENDING)
def test_an_operator_killed_while_it_suspends_a_study(
    stage: Place, tmp_path: Path, undisturbed: Mapping[str, Outcome], moment: str
) -> None:
    """The devices are freed all the same, and the stopped run is started again when the study continues."""
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
        first = OperatorProcess(stage.cluster, tmp_path, namespace=stage.namespace)
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
    folders = make_folders(tmp_path)
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


@pytest.mark.parametrize("moment", FREEZING)
def test_an_operator_that_was_frozen_while_another_continued(
    stage: Place, tmp_path: Path, undisturbed: Mapping[str, Outcome], moment: str
) -> None:
    """Its pending write is refused or changes nothing: it reads the state again, and continues."""
    create_single(stage)
    gate = threading.Event()
    folders = make_folders(tmp_path)
    with (
        stage.kubelet(partial(wait_from_third, gate)) as kubelet,
        frozen(stage, folders[0], moment) as old,
        running(stage, folders[1]) as new,
    ):
        stage.wait_until(lambda: len(kubelet.runs) == 3, what="a run that the frozen one knows nothing of")
        old.go_on()
        stage.wait_until(lambda: "list_config_maps:after:2" in trail(folders[0]), what="another look at the journal")
        gate.set()
        await_end(stage, new, old)
    assert outcome(stage, "single") == undisturbed["single"]
    assert_nothing_happened_twice(stage, kubelet)


def wait_from_third(gate: threading.Event, spec: RunSpec, attempt: int) -> Behaviour:
    """The first two trials succeed at once, the others when the gate is open."""
    behaviour = play(spec, attempt)
    return behaviour if spec.trials[0].index < 2 else replace(behaviour, gate=gate)


def make_folders(directory: Path) -> list[Path]:
    """Return a folder for each of two operators."""
    folders = [directory / name for name in ("old", "new")]
    for folder in folders:
        folder.mkdir()
    return folders


def test_a_job_known_only_to_another_operator(stage: Place) -> None:
    """A memory that is older than a Job is no reason to delete it."""
    create_study(stage, "single", budget={"maxTrials": TRIALS, "parallelTrials": 1})
    kubeconfig = str(stage.cluster.kubeconfig_for("infpop", "infpop-operator"))
    settings = Settings(runner_image=IMAGE, namespace=stage.namespace)
    key = StudyKey(stage.namespace, "single")

    async def scenario() -> None:
        find = partial(find_connection, kubeconfig=kubeconfig)
        async with open_service(settings, find) as one, open_service(settings, find) as other:
            for service in (one, other):
                await service.list_all()
                await service._reconciler.reconcile(key)
            stage.change("single", budget={"parallelTrials": 2})
            await one.list_all()
            await one._reconciler.reconcile(key)
            for job in stage.objects("job"):
                other.seen("job", job, deleted=False)
            with suppress(KubeConflictError):  # its study is old as well
                await other._reconciler.reconcile(key)

    asyncio.run(scenario())
    assert len(remembered(stage)[0]) == 2
    assert [job["metadata"].get("deletionTimestamp") for job in stage.objects("job")] == [None, None]
