"""Fixtures for tests with real kubelets: one cluster of two nodes for all of them, and restricted namespaces."""

from collections.abc import Iterator

import pytest

from cluster.operator_process import OperatorProcess, install_operator, running_operator
from cluster.place import Place
from controlplane.cluster import ControlPlane
from nodes.real_nodes import A100, V100, RealNodes, start_real_cluster

_QUICK = {"INFPOP_TICK_SECONDS": "1", "INFPOP_RESYNC_SECONDS": "3", "INFPOP_STATUS_PAUSE_SECONDS": "0.2"}


@pytest.fixture(scope="session")
def real_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ControlPlane, RealNodes]]:
    """Return a control plane with a node of A100s and one of V100s, and InfPop's CRD and RBAC."""
    directory = tmp_path_factory.mktemp("real")
    with start_real_cluster(directory, nodes={"n1": A100, "n2": V100}, audit=True) as (control_plane, nodes):
        install_operator(control_plane)
        yield control_plane, nodes


@pytest.fixture(scope="session")
def control_plane(real_cluster: tuple[ControlPlane, RealNodes]) -> ControlPlane:
    """Return the control plane with the real nodes, in place of the one without."""
    return real_cluster[0]


@pytest.fixture
def nodes(real_cluster: tuple[ControlPlane, RealNodes]) -> RealNodes:
    """Return the real nodes."""
    return real_cluster[1]


@pytest.fixture
def place(control_plane: ControlPlane, namespace: str) -> Iterator[Place]:
    """Return a namespace in which Pod Security "restricted" is enforced."""
    control_plane.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    place = Place(control_plane, namespace)
    yield place
    place.close()


@pytest.fixture(scope="module")
def quick_operator(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """Return one operator for all namespaces and all tests of a module; at the end its log must be clean."""
    with running_operator(
        control_plane, tmp_path_factory.mktemp("operator"), namespace=None, environment=_QUICK
    ) as process:
        yield process
