"""The control plane of the tests, its nodes and its kubelet are what the tests of the operator take them for."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from controlplane.behaviours import (
    Behaviour,
    Crashes,
    DisruptionReason,
    Evicted,
    HangsLoading,
    Play,
    PullFails,
    Succeeds,
    Vanishes,
    replay,
)
from controlplane.binaries import find_binaries
from controlplane.cluster import ControlPlane
from controlplane.kubelet import SimulatedKubelet
from controlplane.nodes import added_nodes, gpu_node
from controlplane.waiting import wait_for
from infpop_runner.contract import (
    EngineSpec,
    Infeasible,
    Measured,
    MeasurementSpec,
    ModelSpec,
    RunSpec,
    SimulationSpec,
    SyntheticSource,
    TrialSpec,
    WorkloadSpec,
    decode_result,
)

pytestmark = pytest.mark.cluster
SECONDS = 60.0
IGNORE_DISRUPTION = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


@pytest.fixture
def pool(control_plane: ControlPlane, namespace: str) -> Iterator[str]:
    """Two nodes of eight GPUs each, labelled with the name of the namespace."""
    nodes = [gpu_node(f"{namespace}-{index}", extra_labels={"pool": namespace}) for index in range(2)]
    with added_nodes(control_plane, *nodes):
        yield namespace


def make_spec(name: str, *, gpus: int = 2, batches: tuple[int, ...] = (1, 2)) -> RunSpec:
    """Return the spec of a run."""
    return RunSpec(
        namespace="default",
        study="study",
        pool="a100",
        round=1,
        run=name,
        model=ModelSpec(name="model"),
        engine=EngineSpec(name="simulated", simulation=SimulationSpec()),
        workload=WorkloadSpec(source=SyntheticSource(prompt_tokens=8), samples=8, max_new_tokens=5),
        device="cuda",
        gpu_count=gpus,
        trials=tuple(TrialSpec(index=index, batch_size=batch) for index, batch in enumerate(batches)),
        measurement=MeasurementSpec(),
    )


def make_job(spec: RunSpec, pool: str) -> dict[str, Any]:
    """Return a Job of one pod that carries out `spec` on the nodes of `pool`."""
    labels = {"app.kubernetes.io/managed-by": "infpop"}
    container = {
        "name": "runner",
        "image": "example.invalid/runner:1",
        "env": [{"name": "INFPOP_RUN_SPEC", "value": spec.model_dump_json()}],
        "ports": [{"name": "metrics", "containerPort": 9400}],
        "resources": {"limits": {"nvidia.com/gpu": str(spec.gpu_count)}},
    }
    pod = {"restartPolicy": "Never", "nodeSelector": {"pool": pool}, "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": spec.run, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "podFailurePolicy": {"rules": [IGNORE_DISRUPTION]},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


class Jobs:
    """The Jobs of a namespace and their pods."""

    def __init__(self, cluster: ControlPlane, namespace: str) -> None:
        self._admin = cluster.admin
        self._namespace = namespace
        self._jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"

    def create(self, spec: RunSpec) -> None:
        """Create the Job of a run."""
        self._admin.create(self._jobs, make_job(spec, self._namespace))

    def delete(self, name: str) -> None:
        """Delete the Job and, in the background, its pod."""
        self._admin.delete(f"{self._jobs}/{name}")

    def wait_for_condition(self, name: str, condition: str) -> None:
        """Wait until the Job has the condition."""

        def holds() -> bool:
            conditions = self._admin.get(f"{self._jobs}/{name}").get("status", {}).get("conditions", ())
            return any(entry["type"] == condition and entry["status"] == "True" for entry in conditions)

        wait_for(holds, seconds=SECONDS, what=f"Job {name} {condition}")

    def pods(self, name: str) -> list[dict[str, Any]]:
        """Return the pods of the Job."""
        path = f"/api/v1/namespaces/{self._namespace}/pods"
        found: list[dict[str, Any]] = self._admin.get(path, labelSelector=f"job-name={name}")["items"]
        return found

    def wait_for_pod(self, name: str, *, phase: str) -> dict[str, Any]:
        """Wait until the Job has a pod in the phase, and return it."""

        def found() -> dict[str, Any] | None:
            return next((pod for pod in self.pods(name) if pod["status"]["phase"] == phase), None)

        return wait_for(found, seconds=SECONDS, what=f"pod of {name} {phase}")


@pytest.fixture
def jobs(control_plane: ControlPlane, pool: str) -> Jobs:
    """The Jobs of this test."""
    return Jobs(control_plane, pool)


def _plays(control_plane: ControlPlane, namespace: str, play: Play) -> SimulatedKubelet:
    return SimulatedKubelet(control_plane.kubeconfig, play, namespace=namespace)


def _linear(gpus: int, batch: int) -> float | str:
    return 100.0 * gpus * batch if batch < 4 else "GpuOutOfMemory"


def _terminated(pod: dict[str, Any]) -> dict[str, Any]:
    return pod["status"]["containerStatuses"][0]["state"]["terminated"]


def test_a_job_runs_to_its_result(control_plane: ControlPlane, pool: str, jobs: Jobs) -> None:
    """The real scheduler binds a Job's pod, the kubelet plays it, and its termination message is a result."""
    spec = make_spec("run", batches=(1, 2, 4, 8))
    with _plays(control_plane, pool, replay(_linear)) as kubelet:
        jobs.create(spec)
        jobs.wait_for_condition("run", "Complete")
    terminated = _terminated(jobs.pods("run")[0])
    assert (terminated["exitCode"], terminated["reason"]) == (0, "Completed")
    result = decode_result(terminated["message"])
    assert [(type(trial), trial.batch_size) for trial in result.trials] == [
        (Measured, 1),
        (Measured, 2),
        (Infeasible, 4),
    ]
    assert result.broken is None
    assert [(run.attempt, run.spec) for run in kubelet.runs] == [(1, spec)]


def test_a_running_pod_serves_the_runners_metrics(control_plane: ControlPlane, pool: str, jobs: Jobs) -> None:
    """Each running pod has an address of its own, where its container port `metrics` answers with its own numbers."""
    play = replay(_linear, trial_seconds=3600.0)
    with _plays(control_plane, pool, play):
        for name in ("one", "two"):
            jobs.create(make_spec(name))
        pods = [jobs.wait_for_pod(name, phase="Running") for name in ("one", "two")]
        for name, pod in zip(("one", "two"), pods, strict=True):
            with urlopen(f"http://{pod['status']['podIP']}:9400/metrics", timeout=SECONDS) as answer:
                text = answer.read().decode()
            assert f'run="{name}",state="measuring",study="study"}} 1.0' in text
            assert 'infpop_trial_state{batch_size="2"' in text
    assert len({pod["status"]["podIP"] for pod in pods}) == 2


def test_gpus_are_counted(control_plane: ControlPlane, pool: str, jobs: Jobs) -> None:
    """On two nodes of eight GPUs a third pod of six waits with the scheduler's reason, and runs when one is gone."""
    with _plays(control_plane, pool, lambda _spec, _attempt: HangsLoading()):
        for name in ("one", "two"):
            jobs.create(make_spec(name, gpus=6))
            jobs.wait_for_pod(name, phase="Running")
        jobs.create(make_spec("three", gpus=6))

        def unschedulable() -> str | None:
            conditions = [entry for pod in jobs.pods("three") for entry in pod["status"].get("conditions", ())]
            return next((entry["message"] for entry in conditions if entry.get("reason") == "Unschedulable"), None)

        message = wait_for(unschedulable, seconds=SECONDS, what="pod three Unschedulable")
        assert "Insufficient nvidia.com/gpu" in message
        jobs.delete("one")
        jobs.wait_for_pod("three", phase="Running")


def test_deleting_a_job_removes_its_pod(control_plane: ControlPlane, pool: str, jobs: Jobs) -> None:
    """A deleted Job takes its running pod with it."""
    with _plays(control_plane, pool, lambda _spec, _attempt: HangsLoading()):
        jobs.create(make_spec("run"))
        jobs.wait_for_pod("run", phase="Running")
        jobs.delete("run")
        wait_for(lambda: not jobs.pods("run"), seconds=SECONDS, what="no pod of run")


def test_failures_have_the_status_of_a_real_cluster(control_plane: ControlPlane, pool: str, jobs: Jobs) -> None:
    """A crash, a missing image and a vanished pod show in pod and Job as on a real node."""
    behaviours = {
        "crash": Crashes(exit_code=3, message="no result"),
        "image": PullFails(),
        "vanishes": Vanishes(),
    }
    with _plays(control_plane, pool, lambda spec, _attempt: behaviours[spec.run]):
        for name in behaviours:
            jobs.create(make_spec(name))
        for name in ("crash", "vanishes"):
            jobs.wait_for_condition(name, "Failed")
        terminated = _terminated(jobs.pods("crash")[0])
        assert (terminated["exitCode"], terminated["message"]) == (3, "no result")

        def waits() -> bool:
            states = [
                each["state"] for pod in jobs.pods("image") for each in pod["status"].get("containerStatuses", ())
            ]
            return [state.get("waiting", {}).get("reason") for state in states] == ["ImagePullBackOff"]

        wait_for(waits, seconds=SECONDS, what="ImagePullBackOff")


def test_an_eviction_is_a_disruption(control_plane: ControlPlane, pool: str, jobs: Jobs) -> None:
    """The Job controller takes an evicted pod for disrupted, not for failed, and starts another after ten seconds."""
    reasons: dict[str, DisruptionReason] = {"api": "EvictionByEvictionAPI", "node": "TerminationByKubelet"}

    def play(spec: RunSpec, attempt: int) -> Behaviour:
        return Evicted(reason=reasons[spec.run]) if attempt == 1 else Succeeds(throughput=_linear)

    with _plays(control_plane, pool, play) as kubelet:
        for batch, name in enumerate(reasons, start=1):
            jobs.create(make_spec(name, batches=(batch,)))
        for name in reasons:
            jobs.wait_for_condition(name, "Complete")
    assert sorted((run.spec.run, run.attempt) for run in kubelet.runs) == [
        (name, attempt) for name in reasons for attempt in (1, 2)
    ]


def test_a_second_pod_of_the_same_configuration_is_another_attempt(
    control_plane: ControlPlane, pool: str, jobs: Jobs
) -> None:
    """A play can let the first attempt fail and the second succeed, whatever the runs are called."""
    play: Play = lambda _spec, attempt: Crashes() if attempt == 1 else Succeeds(throughput=_linear)  # noqa: E731
    with _plays(control_plane, pool, play) as kubelet:
        jobs.create(make_spec("first"))
        jobs.wait_for_condition("first", "Failed")
        jobs.create(make_spec("second"))
        jobs.wait_for_condition("second", "Complete")
    assert [run.attempt for run in kubelet.runs] == [1, 2]


def test_the_kubelet_survives_an_outage(control_plane: ControlPlane, pool: str, jobs: Jobs) -> None:
    """A pod that ends while there is no API server is reported when there is one again."""
    with _plays(control_plane, pool, replay(_linear, trial_seconds=0.5)):
        jobs.create(make_spec("run"))
        jobs.wait_for_pod("run", phase="Running")
        control_plane.apiserver_stop()
        control_plane.apiserver_start()
        jobs.wait_for_condition("run", "Complete")


def test_watches_can_be_cut_and_swallowed(control_plane: ControlPlane) -> None:
    """What goes through the proxy can be dropped or made to hang; what goes past it notices nothing."""
    account = control_plane.kubeconfig_for("default", "default", proxied=True)
    command = ("auth", "whoami", "--request-timeout=1s", "--kubeconfig", str(account))
    assert "system:serviceaccount:default:default" in control_plane.kubectl(*command)
    control_plane.proxy.blackhole(active=True)
    try:
        with pytest.raises(AssertionError, match="whoami"):
            control_plane.kubectl(*command)
        assert control_plane.kubectl("get", "--raw", "/readyz") == "ok"
    finally:
        control_plane.proxy.blackhole(active=False)
        control_plane.cut_watches()
    assert "system:serviceaccount" in control_plane.kubectl(*command)


def test_programs_that_are_given_are_used(tmp_path: Path) -> None:
    """Where KUBEBUILDER_ASSETS has the programs, nothing is built."""
    names = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
    for name in names:
        (tmp_path / name).touch()
    found = find_binaries(environment={"KUBEBUILDER_ASSETS": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert (found.etcd, found.kubectl) == (tmp_path / "etcd", tmp_path / "kubectl")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_requests_can_be_counted(control_plane: ControlPlane, namespace: str) -> None:
    """Every request is noted with who made it, by what program, and how it ended."""
    control_plane.kubectl("get", "pods", "--namespace", namespace)
    entry = next(
        entry for entry in control_plane.audit_entries() if (entry.verb, entry.namespace) == ("list", namespace)
    )
    assert (entry.resource, entry.user, entry.code) == ("pods", "admin", 200)
    assert entry.user_agent.startswith("kubectl/")


@pytest.mark.parametrize("ending", ["leaves the block", "is killed"])
def test_no_process_is_left(ending: str, tmp_path: Path) -> None:
    """No program of a control plane outlives the block or the process that started it, however that ends."""
    end = "" if ending == "leaves the block" else "os.kill(os.getpid(), 9)"
    script = f"""
import os, pathlib
from controlplane.binaries import find_binaries
from controlplane.cluster import start_control_plane
with start_control_plane(pathlib.Path({str(tmp_path)!r})) as cluster:
    print(*(process.pid for process in cluster.processes), flush=True)
    {end or "pass"}
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}  # noqa: TID251 - passed on
    answer = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    pids = [int(text) for text in answer.stdout.split()]
    assert len(pids) == 4, answer.stderr
    wait_for(lambda: not any(map(_lives, pids)), seconds=SECONDS, what=f"the end of {pids}")


def _lives(pid: int) -> bool:
    """Return whether the process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
