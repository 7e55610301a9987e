"""Fixtures of the tests with a real control plane and the operator."""

from collections.abc import Iterator

import pytest

from cluster.operator_process import OperatorProcess, install_operator, running_operator
from cluster.place import Place
from controlplane.cluster import ControlPlane

# So that phases and reasons are seen soon, and listings come while a test waits.
QUICK = {"INFPOP_TICK_SECONDS": "1", "INFPOP_RESYNC_SECONDS": "3", "INFPOP_STATUS_PAUSE_SECONDS": "0.2"}


@pytest.fixture(scope="session")
def installed(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with the CRD and the operator's rights."""
    install_operator(control_plane)
    return control_plane


@pytest.fixture(scope="module")
def quick_operator(installed: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """One operator for all namespaces and for all tests of a module; at the end its log must be clean."""
    directory = tmp_path_factory.mktemp("operator")
    with running_operator(installed, directory, namespace=None, environment=QUICK) as process:
        yield process


@pytest.fixture
def place(installed: ControlPlane, namespace: str) -> Iterator[Place]:
    """A namespace with one node of eight A100s; no operator watches it yet."""
    place = Place(installed, namespace)
    with place.nodes("NVIDIA-A100-SXM4-40GB"):
        yield place
    place.close()
