"""Fixtures of the whole thing: images from our Dockerfiles, two real nodes, Prometheus, and the chart's release.

The cluster is there once for all tests. A namespace is of one test alone, and enforces Pod Security "restricted".
"""

from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from cluster.place import Place
from controlplane.cluster import ControlPlane
from e2e.installation import NAMESPACE, RELEASE, Installation, installed_releases
from e2e.stages import Stages
from images.build import Images, build_images
from nodes.footprint import take_footprint
from nodes.real_nodes import A100, V100, RealNodes, start_real_cluster
from prometheus.discovery import annotated_pods
from prometheus.server import PrometheusServer

STAGES = Stages()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show how long everything took."""
    if STAGES.lines:
        terminalreporter.section("wall times of the whole thing")
        for line in STAGES.lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def stages() -> Stages:
    """The wall times."""
    return STAGES


@pytest.fixture(scope="session")
def images(stages: Stages) -> Images:
    """The images of the operator and of the runner with its engines, built if they are not."""
    with stages.stage("all images"):
        images = build_images(report=lambda line: stages.note(f"image {line}"))
    for image in (images.operator, images.runner):
        stages.note(f"archive {image.archive.name}: {image.archive.stat().st_size / 1e6:.0f} MB")
    return images


@pytest.fixture(scope="session")
def real_cluster(
    images: Images, stages: Stages, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ControlPlane, RealNodes]]:
    """A control plane with a node of A100s and one of V100s that have our images; in the end nothing is left of it."""
    directory = tmp_path_factory.mktemp("whole")
    archives = (images.operator.archive, images.runner.archive)
    before = take_footprint(directory)
    with ExitStack() as stack:
        with stages.stage("start of the control plane and two nodes, import of the images included"):
            cluster = stack.enter_context(
                start_real_cluster(directory, images=archives, nodes={"n1": A100, "n2": V100}, audit=True)
            )
        yield cluster
        with stages.stage("end of the nodes and the control plane"):
            stack.close()
    assert take_footprint(directory).changes(before) == {}


@pytest.fixture(scope="session")
def control_plane(real_cluster: tuple[ControlPlane, RealNodes]) -> ControlPlane:
    """The control plane with the real nodes, in place of the one without."""
    return real_cluster[0]


@pytest.fixture(scope="session")
def nodes(real_cluster: tuple[ControlPlane, RealNodes]) -> RealNodes:
    """The real nodes."""
    return real_cluster[1]


@pytest.fixture(scope="session")
def prometheus(control_plane: ControlPlane) -> Iterator[PrometheusServer]:
    """A Prometheus outside of the nodes that scrapes pods by their annotations, runs and operator alike."""
    host = urlsplit(control_plane.server).hostname or ""  # where pods reach this machine
    pods = annotated_pods(control_plane.kubeconfig)
    with PrometheusServer(control_plane.directory / "prometheus", [pods], host=host) as server:
        yield server


@pytest.fixture(scope="session")
def installation(
    control_plane: ControlPlane,
    images: Images,
    prometheus: PrometheusServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Installation]:
    """Where the chart is to be installed: a namespace that enforces Pod Security "restricted"."""
    control_plane.kubectl("create", "namespace", NAMESPACE)
    enforce_restricted(control_plane, NAMESPACE)
    installation = Installation(control_plane, images, prometheus.url, tmp_path_factory.mktemp("values"))
    yield installation
    installation.place.close()


@pytest.fixture
def release(installation: Installation, stages: Stages) -> Iterator[Installation]:
    """The release; its operator, if it is still there, must not have complained after the test."""
    if RELEASE not in installed_releases(installation.cluster):
        with stages.stage("helm install --wait"):
            installation.install()
    yield installation
    if RELEASE in installed_releases(installation.cluster):
        installation.expect_a_clean_log()


@pytest.fixture
def place(control_plane: ControlPlane, namespace: str) -> Iterator[Place]:
    """A namespace in which Pod Security "restricted" is enforced."""
    enforce_restricted(control_plane, namespace)
    place = Place(control_plane, namespace)
    yield place
    place.close()


def enforce_restricted(cluster: ControlPlane, namespace: str) -> None:
    """Have the API server refuse pods that Pod Security "restricted" does not allow."""
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
