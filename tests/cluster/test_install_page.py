"""The commands of docs/install.md, unchanged, on a real API server."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.operator_process import ROOT
from cluster.place import Place
from controlplane.binaries import find_binaries
from controlplane.cluster import ControlPlane

pytestmark = pytest.mark.cluster
PAGE = (ROOT / "docs" / "install.md").read_text()
CRD = "throughputstudies.infpop.io"


class Shell:
    """Runs the page's commands where a person would: in the checkout, with kubectl and helm, as an administrator."""

    def __init__(self, kubeconfig: Path, home: Path) -> None:
        programs = find_binaries(with_nodes=True)
        path = f"{programs.kubectl.parent}:/usr/bin:/bin"
        inherited = dict(os.environ)  # noqa: TID251 - a child starts with it
        self._environment = {**inherited, "PATH": path, "KUBECONFIG": str(kubeconfig), "HOME": str(home)}

    def run(self, part: str) -> subprocess.CompletedProcess[str]:
        """Run the one block of the page that begins with `part`."""
        (block,) = (block for block in PAGE.split("```") if block.strip().startswith(part))
        return subprocess.run(
            ["/bin/sh", "-ec", block], cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False
        )

    def succeed(self, part: str) -> str:
        """Run such a block, which works; return what it wrote."""
        done = self.run(part)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def shell(installed: ControlPlane, tmp_path: Path) -> Iterator[Shell]:
    """A shell on a cluster whose CRD came from `kubectl apply`; it is so again afterwards."""
    _disown(installed)
    yield Shell(installed.kubeconfig, tmp_path)
    _disown(installed)


def _disown(cluster: ControlPlane) -> None:
    cluster.kubectl("annotate", "crd", CRD, "meta.helm.sh/release-name-", "meta.helm.sh/release-namespace-")
    cluster.kubectl("label", "crd", CRD, "app.kubernetes.io/managed-by-")


def test_helm_installs_upgrades_and_leaves_studies(shell: Shell, installed: ControlPlane, place: Place) -> None:
    """A foreign CRD is refused and can be taken over; uninstalling leaves it and the studies for a later install."""
    place.study()
    refused = shell.run("helm install infpop")
    assert refused.returncode != 0
    assert "invalid ownership metadata" in refused.stderr
    shell.succeed("helm upgrade --install infpop")
    assert "1" in installed.kubectl("get", "deployment", "infpop", "-n", "infpop", "-o", "jsonpath={.spec.replicas}")
    shell.succeed("helm upgrade infpop")
    shell.succeed("helm uninstall infpop")
    assert place.get("study", "study")["spec"]
    notes = shell.succeed("helm install infpop")
    assert "helm test infpop" in notes
    image = installed.kubectl("get", "deployment", "infpop", "-n", "infpop", "-o", "jsonpath={..image}")
    assert image.startswith("registry.example.com/infpop-operator:")
    shell.succeed("helm uninstall infpop")
    assert CRD in installed.kubectl("get", "crd", CRD)
