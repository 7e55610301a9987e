"""What `examples/cluster` and the documentation give to copy works on a real API server."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from cluster.operator_process import ROOT, OperatorProcess
from cluster.place import Place, throughput
from controlplane.behaviours import replay
from controlplane.cluster import ControlPlane

pytestmark = pytest.mark.cluster
EXAMPLES = ROOT / "examples" / "cluster"
APPLICABLE = sorted(set(EXAMPLES.glob("*.yaml")) - {EXAMPLES / "podmonitor.yaml"})  # that one: tests/prometheus
PAGE = (ROOT / "docs" / "cluster.md").read_text()


@pytest.mark.parametrize("path", APPLICABLE, ids=lambda path: path.name)
def test_an_example_can_be_applied(installed: ControlPlane, path: Path) -> None:
    """The API server takes every file as it is, all rules included."""
    installed.kubectl("apply", "--server-side", "--dry-run=server", "-f", str(path))


def test_the_simulated_example_succeeds(quick_operator: OperatorProcess, place: Place) -> None:
    """Applied as it is, on nodes without a GPU in mind: a result, and the ConfigMap."""
    assert quick_operator.is_running()
    with place.kubelet(replay(throughput)):
        place.cluster.kubectl("apply", "--namespace", place.namespace, "-f", str(EXAMPLES / "simulated.yaml"))
        status = place.wait_for("Succeeded", name="simulated")
        place.wait_until(lambda: place.find("configmap", "simulated-best"), what="the ConfigMap")
    assert status["simulated"] is True
    assert status["progress"] == "10/10"


def test_the_journal_can_be_read_as_documented(quick_operator: OperatorProcess, place: Place) -> None:
    """Every step, oldest first, by the command of the documentation."""
    if shutil.which("jq") is None:
        pytest.skip("needs jq")
    assert quick_operator.is_running()
    with place.kubelet(replay(throughput)):
        place.study("codellama-7b", searchSpace={"gpuCount": [1], "batchSize": [1, 8]})
        place.wait_for("Succeeded", name="codellama-7b")
    steps = run_in_shell(command_with("infpop.io/content=journal,"), place).splitlines()
    kinds = [yaml.safe_load(step)["kind"] for step in steps]
    assert kinds == ["journal", "round", "started", "ended", "started", "ended"]


def test_a_deployment_starts_with_the_published_arguments(tmp_path: Path) -> None:
    """Each line of args.txt becomes one argument, whatever it holds, and the server replaces the shell."""
    arguments = ["--tensor-parallel-size=2", "--name=a b", "--x=$(touch /tmp/x) `id` \"q\" 'q' *", "--last=\\n"]
    (tmp_path / "args.txt").write_text("".join(f"{argument}\n" for argument in arguments))
    server = tmp_path / "vllm"
    server.write_text('#!/bin/sh\necho "$PPID"\nprintf "%s\\n" "$@"\n')
    server.chmod(0o755)
    deployment = next(iter(yaml.safe_load_all((EXAMPLES / "serving.yaml").read_text())))
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    script = container["args"][0].replace("/etc/infpop", str(tmp_path))
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run([*container["command"], script], env=environment, capture_output=True, text=True, check=True)
    parent, *given = done.stdout.splitlines()
    assert given == ["serve", "codellama/CodeLlama-7b-hf", *arguments]
    assert int(parent) == os.getpid()


def command_with(part: str) -> str:
    """Return the command of the documentation that has `part` in it, its continuation lines included."""
    blocks = [block for block in PAGE.split("```") if part in block]
    assert len(blocks) == 1
    return blocks[0]


def run_in_shell(command: str, place: Place) -> str:
    """Run a command in this place's namespace and return what it prints."""
    kubectl = place.cluster._binaries.kubectl
    options = f"--kubeconfig {place.cluster.kubeconfig} --namespace {place.namespace}"
    script = command.replace("kubectl ", f"{kubectl} {options} ")
    return subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True).stdout
