"""What a release is tried for: its chart and bill of materials belong to its wheel."""

import json
from pathlib import Path
from typing import Any

import pytest

from charts.helm import CHART, find_helm
from infpop_operator import __version__
from release.artifacts import Artifacts
from release.chart import package_chart
from release.errors import ReleaseError
from release.verification import verify, verify_bill, verify_chart

LOCK = (
    "httpx==0.28.1 \\\n    --hash=sha256:00\nPyYAML==6.0.3 \\\n    --hash=sha256:00\nold==1 ; python_version < '3' \\\n"
)
CRD = Path(__file__).parents[2] / "crds/infpop.io_throughputstudies.yaml"


def with_bill(folder: Path, *, version: str | None = "1.2.0", yaml_version: str = "6.0.3") -> Artifacts:
    """Write a bill of materials for two packages."""
    artifacts = Artifacts(folder=folder, version="1.2.0")
    component: dict[str, Any] = {"name": "infpop"} if version is None else {"name": "infpop", "version": version}
    packages = [{"name": "httpx", "version": "0.28.1"}, {"name": "pyyaml", "version": yaml_version}]
    artifacts.bill.write_text(json.dumps({"metadata": {"component": component}, "components": packages}))
    return artifacts


def test_a_bill_of_all_locked_packages_is_accepted(tmp_path: Path) -> None:
    """Names are compared as an index does, and packages for another Python are not expected."""
    assert verify_bill(with_bill(tmp_path), LOCK).endswith("names infpop 1.2.0 and all 2 packages of the lock")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"version": None}, "operator.cdx.json is of infpop None. Run: make sbom"),
        ({"version": "1.1.0"}, "operator.cdx.json is of infpop 1.1.0. Run: make sbom"),
        ({"yaml_version": "6.0.2"}, "operator.cdx.json has pyyaml 6.0.2, not 6.0.3. Run: make sbom"),
    ],
)
def test_a_bill_of_something_else_is_refused(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    """A bill of another version, or with other packages than the image's, is not published."""
    with pytest.raises(ReleaseError, match=sentence):
        verify_bill(with_bill(tmp_path, **changes), LOCK)


@pytest.mark.cluster  # needs no control plane, only helm, which is built with it
def test_a_chart_with_another_crd_than_the_wheel_is_refused(tmp_path: Path) -> None:
    """The operator of the image and the CustomResourceDefinition of the chart are of one version."""
    helm, artifacts = str(find_helm()), Artifacts(folder=tmp_path, version=__version__)
    package_chart(CHART, artifacts, helm=helm, publication=None)
    assert "with the wheel's CustomResource" in verify_chart(artifacts, helm=helm, registry=None, crds=CRD.read_text())
    older = CRD.read_text().replace("tstudy", "ts")
    with pytest.raises(ReleaseError, match=r"another CustomResourceDefinition than the wheel\. Run: make crds"):
        verify_chart(artifacts, helm=helm, registry=None, crds=older)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """Nothing is tried, and nothing published, until all files are there."""
    artifacts = Artifacts(folder=tmp_path, version="1.2.0")
    with pytest.raises(ReleaseError, match=r"infpop-1\.2\.0-\S+\.whl is missing\. Run: make release-dry-run"):
        verify(artifacts, uv="uv", helm="helm", registry=None, lock=tmp_path / "lock", scratch=tmp_path)
