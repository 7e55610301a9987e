"""Real nodes leave nothing behind on their machine, however they end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.waiting import wait_for
from nodes.footprint import take_footprint
from nodes.network import start_network
from nodes.real_nodes import A100, start_real_cluster
from nodes.stand_in_image import PAUSE

pytestmark = pytest.mark.e2e

_START_SECONDS = 120.0
_END_SECONDS = 30.0
# A cluster in its own process, whose death skips every `finally`.
_VICTIM = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from nodes.real_nodes import A100, start_real_cluster
with start_real_cluster(Path(sys.argv[1]), nodes={{"n1": A100}}):
    Path(sys.argv[2]).touch()
    sys.stdin.read()
"""


def pod(name: str) -> dict[str, object]:
    """Return a Pod that runs until it is ended."""
    metadata = {"name": name, "namespace": "default"}
    ports = [{"containerPort": 80, "hostPort": 8080}]
    container = {"name": "main", "image": PAUSE, "imagePullPolicy": "Never", "ports": ports}
    volume = {"name": "memory", "emptyDir": {"medium": "Memory"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "containers": [{**container, "volumeMounts": [{"name": "memory", "mountPath": "/memory"}]}],
            "volumes": [volume],
        },
    }


def test_nothing_is_left(tmp_path: Path) -> None:
    """No process, mount, device, route, rule, cgroup, kernel setting or folder outlives a node with pods on it."""
    before = take_footprint(tmp_path)
    with start_real_cluster(tmp_path / "cluster", nodes={"n1": A100}) as (control_plane, _):
        control_plane.kubectl("create", "-f", "-", input=json.dumps(pod("left")))
        control_plane.kubectl("wait", "--for=condition=Ready", "pod/left", "--timeout=45s")
        during = take_footprint(tmp_path)
    assert {"processes", "interfaces", "routes", "cgroups"} <= during.changes(before).keys()
    assert take_footprint(tmp_path).changes(before) == {}
    left = {path.name for path in (tmp_path / "cluster" / "node-n1").iterdir()}
    assert not left & {"containerd", "kubelet"}


def test_a_killed_run_is_cleared_by_the_next(tmp_path: Path) -> None:
    """When the tests are killed their nodes die with them, and what the kernel keeps is removed at the next start."""
    before = take_footprint(tmp_path)
    started = tmp_path / "started"
    victim = subprocess.Popen(
        [sys.executable, "-c", _VICTIM, str(tmp_path / "cluster"), str(started)], stdin=subprocess.PIPE
    )
    with victim:

        def is_up() -> bool:
            assert victim.poll() is None
            return started.exists()

        try:
            wait_for(is_up, seconds=_START_SECONDS, what="the cluster of another process")
        finally:
            victim.kill()
    with start_network():
        pass
    wait_for(lambda: take_footprint(tmp_path).changes(before) == {}, seconds=_END_SECONDS, what="the end of everything")
