"""`infpop status` against a real API server, with the rights of a user who may only read."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.operator_process import ROOT
from cluster.place import Place, throughput
from controlplane.behaviours import HangsLoading, Play, PullFails, Succeeds, replay
from controlplane.cluster import ControlPlane
from controlplane.waiting import wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("quick_operator")]
USERS = ROOT / "examples" / "cluster" / "users.yaml"
SPACE = {"gpuCount": [1, 2], "batchSize": [8, 256]}
SECONDS = 90.0


@pytest.fixture
def viewer(installed: ControlPlane, place: Place) -> Path:
    """The kubeconfig of an account that has the role `view` in this place, with what `users.yaml` joins to it."""
    installed.kubectl("apply", "-f", str(USERS))
    installed.kubectl("create", "serviceaccount", "viewer", "--namespace", place.namespace)
    account = f"{place.namespace}:viewer"
    role = ("--clusterrole=view", f"--serviceaccount={account}", "--namespace", place.namespace)
    installed.kubectl("create", "rolebinding", "viewer", *role)
    config = installed.kubeconfig_for(place.namespace, "viewer")
    wait_for(lambda: _may_look(installed, place, account), seconds=SECONDS, what="the roles to be joined")
    return config


def _may_look(cluster: ControlPlane, place: Place, account: str) -> bool:
    who = f"--as=system:serviceaccount:{account}"
    try:
        cluster.kubectl("auth", "can-i", "get", "throughputstudies.infpop.io", who, "--namespace", place.namespace)
    except AssertionError:
        return False
    return True


@contextmanager
def status(config: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Have `infpop status` run while the block lasts; the kubeconfig's context names the namespace."""
    argv = [sys.executable, "-m", "infpop_operator.cli.main", "status", *arguments]
    inherited = dict(os.environ)  # noqa: TID251 - a child starts with it
    environment = {**inherited, "KUBECONFIG": str(config), "COLUMNS": "80", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        argv,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_listen_to_interrupts,  # noqa: PLW1509 - one call, and no threads of ours hold a lock
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _listen_to_interrupts() -> None:
    """A program that a shell starts in the background inherits that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def shown(config: Path, *arguments: str) -> tuple[int | None, str, str]:
    """Return the exit code of `infpop status`, and what it printed on standard output and error."""
    with status(config, *arguments) as process:
        out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err


def read_until(process: subprocess.Popen[str], part: str) -> None:
    """Read lines until one has `part` in it."""
    assert process.stdout is not None
    read: list[str] = []
    for line in process.stdout:
        read.append(line)
        if part in line:
            return
    raise AssertionError(f"{part!r} was never printed, but {read}")


def hanging() -> Play:
    """Return a play in which no run ends."""
    return lambda _spec, _attempt: HangsLoading()


def test_a_watch_follows_a_study_to_its_result(place: Place, viewer: Path) -> None:
    """It ends with the study, prints the command to copy, and has asked for nothing but this study."""
    gate = threading.Event()
    play: Play = lambda _spec, _attempt: Succeeds(throughput=throughput, gate=gate)  # noqa: E731
    with place.kubelet(play):
        place.study(searchSpace=SPACE)
        place.wait_for_run("ModelLoading")
        with status(viewer, "study", "--watch") as process:
            read_until(process, "loading the model")
            gate.set()
            out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (0, "")
    for part in ("trial 1: ", "Succeeded", "Configuration  2 GPUs, batch size 8", "--tensor-parallel-size=2"):
        assert part in out, part
    asked = [entry for entry in place.cluster.audit_entries(about=place.namespace) if ":viewer" in entry.user]
    assert {entry.verb for entry in asked} == {"get"}


def test_a_finished_study_is_shown_whole(place: Place, viewer: Path) -> None:
    """Landscape, result, what to copy; at 80 columns; exit code 0."""
    with place.kubelet(replay(throughput)):
        place.study(searchSpace=SPACE)
        place.wait_for("Succeeded")
    code, out, err = shown(viewer, "study")
    assert (code, err) == (0, "")
    for part in ("★ 373", "✗ memory", "Configuration  2 GPUs, batch size 8", "Best configuration found"):
        assert part in out, part
    assert all(len(line) <= 80 for line in out.splitlines())


def test_a_run_that_waits_says_why_and_what_to_do(place: Place, viewer: Path) -> None:
    """An image that cannot be pulled is reported as such, and that is no failure of the command."""
    with place.kubelet(lambda _spec, _attempt: PullFails()):
        place.study(searchSpace=SPACE)
        place.wait_for_run("ImagePull")
        code, out, err = shown(viewer, "study")
    assert (code, err) == (0, "")
    for part in ("waiting: ImagePull", "manifest unknown", "What to do: correct engine.image"):
        assert part in out, part


def test_a_refused_study_names_every_field(place: Place, viewer: Path) -> None:
    """A problem that the API server could not check is reported with its remedy; exit code 3, the user has to act."""
    place.study(workload={"source": {"file": {"path": "prompts.jsonl"}}})
    place.wait_for("Accepted", "False")
    code, out, _ = shown(viewer, "study")
    assert code == 3
    assert "spec.workload.source.file.path: prompts.jsonl" in out


def test_a_watch_that_is_interrupted_leaves_the_study_alone(place: Place, viewer: Path) -> None:
    """Ctrl-C ends the looking, with the exit code of an interrupt, and nothing else."""
    with place.kubelet(hanging()):
        place.study(searchSpace=SPACE)
        run = place.wait_for_run("ModelLoading")["name"]
        with status(viewer, "study", "--watch") as process:
            read_until(process, "loading the model")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 130
        assert err == "\nStopped watching; the study continues.\n"
        assert place.find("job", run) is not None


def test_a_study_that_is_deleted_while_it_is_watched_ends_the_watch(place: Place, viewer: Path) -> None:
    """`infpop status` does not wait for a study that is gone."""
    with place.kubelet(hanging()):
        place.study(searchSpace=SPACE)
        place.wait_for_run("ModelLoading")
        with status(viewer, "study", "--watch") as process:
            read_until(process, "loading the model")
            place.delete("study", "study")
            _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert f"namespace {place.namespace} has no study study" in err


def test_a_watch_survives_its_token(place: Place, viewer: Path, tmp_path: Path) -> None:
    """What is refused after it was granted is asked once more with what the kubeconfig says now."""
    config = tmp_path / "kubeconfig"
    shutil.copy(viewer, config)
    with place.kubelet(hanging()):
        place.study(searchSpace=SPACE)
        place.wait_for_run("ModelLoading")
        with status(config, "study", "--watch", "--namespace", place.namespace) as process:
            read_until(process, "loading the model")
            shutil.copy(place.cluster.kubeconfig, config)
            place.cluster.kubectl("delete", "serviceaccount", "viewer", "--namespace", place.namespace)
            place.wait_until(lambda: _admin_looks(place), what="the watch to go on as another user")
            assert process.poll() is None


def _admin_looks(place: Place) -> bool:
    entries = place.cluster.audit_entries(about=f"{place.namespace}/throughputstudies/study")
    return any((entry.user, entry.verb) == ("admin", "get") and "infpop/" in entry.user_agent for entry in entries)


def test_a_viewer_without_rights_gets_an_explanation(place: Place, installed: ControlPlane) -> None:
    """Without any right: the server's words, the command that shows the right, exit code 2."""
    place.study(searchSpace=SPACE)
    code, out, err = shown(installed.kubeconfig_for(place.namespace, "default"), "study")
    assert (code, out) == (2, "")
    assert "cannot get resource" in err
    assert "kubectl auth can-i get throughputstudies.infpop.io" in err
