"""Fixtures that more than one folder of tests needs."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from xdist.remote import Producer

from controlplane.cluster import ControlPlane, start_control_plane
from sharing import BySlowestFile, slowest_first

_APART = ("e2e", "gitops")  # markers of tests that run only with the option of that name, and then without all others
# Its default fails an example that takes longer than 200 ms; how fast a machine is today is no promise of ours.
# In continuous integration (.ci/run) each run tries the same examples; elsewhere each run tries new ones.
hypothesis.settings.register_profile(
    "unhurried",
    deadline=None,
    derandomize="REPEATABLE_TESTS" in os.environ,  # noqa: TID251 - the edge of the tests
)
hypothesis.settings.load_profile("unhurried")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options: tests that change the machine, and recordings that are not part of the project."""
    for marker in _APART:
        parser.addoption(
            f"--{marker}", action="store_true", help=f"run the tests marked {marker} instead of all others"
        )
    parser.addoption("--soak-seed", type=int, default=1, help="seed of the hostile acts of tests/cluster")
    parser.addoption("--soak-acts", type=int, default=200, help="number of the hostile acts of tests/cluster")
    parser.addoption("--field", type=Path, help="folder of recorded errors, nodes, Pods, models and studies")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that are run apart, or all others; `-m` and paths choose among the rest."""
    wanted = {marker for marker in _APART if config.getoption(f"--{marker}")}
    left_out = [item for item in items if not _is_wanted(item, wanted)]
    if left_out:
        items[:] = [item for item in items if _is_wanted(item, wanted)]
        config.hook.pytest_deselected(items=left_out)
    if hasattr(config, "workerinput"):
        items[:] = slowest_first(items)


def _is_wanted(item: pytest.Item, wanted: set[str]) -> bool:
    apart = {marker for marker in _APART if item.get_closest_marker(marker)}
    return bool(apart & wanted) if wanted else not apart


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> BySlowestFile:
    """Share the tests out by file."""
    return BySlowestFile(config, log)


@pytest.fixture(scope="session")
def field(request: pytest.FixtureRequest) -> Path:
    """The folder of recordings from the field that `--field` names; a test that needs it is skipped without."""
    folder: Path | None = request.config.getoption("--field")
    if folder is None:
        pytest.skip("needs --field FOLDER")
    return folder.resolve()


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One real control plane for all tests that ask for it, with an audit log."""
    with start_control_plane(tmp_path_factory.mktemp("controlplane"), audit=True) as cluster:
        yield cluster


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace of this test alone; its removal continues after the test."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    control_plane.admin.create("/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    control_plane.admin.delete(f"/api/v1/namespaces/{name}")
    # Where no kubelet is left to end them, pods would hold their GPUs for ever.
    control_plane.admin.delete(f"/api/v1/namespaces/{name}/pods", gracePeriodSeconds=0)
