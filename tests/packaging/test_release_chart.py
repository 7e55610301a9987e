"""What a published chart names, and the checkout's does not: addresses, images and changes."""

import re
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from charts.helm import CHART, find_helm, helm, of_kind
from infpop_operator import __version__
from release.artifacts import Artifacts
from release.chart import Publication, changes_of, package_chart, with_absolute_links, with_addresses

ROOT = Path(__file__).parents[2]
REPOSITORY = "https://git.example.com/team/infpop"
CHANGES = """# Changelog

## Unreleased

- Not yet.

## [1.2.0] - 2026-11-29

### Added

- Added a value,
  with `code`.
- Another.

### Fixed

- A fault.

## 1.1.0 - 2026-11-01

### Added

- Older.
"""
PUBLICATION = Publication(
    version=__version__, registry="registry.example.com/team", repository=REPOSITORY, changelog=CHANGES
)


def test_changes_are_those_of_the_version() -> None:
    """Each entry of the version's section has its kind, and its text on one line."""
    assert changes_of(CHANGES, "1.2.0") == [
        {"kind": "added", "description": "Added a value, with `code`."},
        {"kind": "added", "description": "Another."},
        {"kind": "fixed", "description": "A fault."},
    ]
    assert changes_of(CHANGES, "1.2") == []


def test_addresses_come_from_the_publication() -> None:
    """Home, sources, links and images name what the publisher gave; what else the file says stays."""
    before = yaml.safe_load((CHART / "Chart.yaml").read_text())
    after = yaml.safe_load(with_addresses((CHART / "Chart.yaml").read_text(), PUBLICATION))
    assert (after.pop("home"), after.pop("sources")) == (REPOSITORY, [REPOSITORY])
    added = annotations_of(after, "images", "links")
    assert added["images"] == [
        {"name": f"infpop-{name}", "image": f"registry.example.com/team/infpop-{name}:{__version__}"}
        for name in ("operator", "runner")
    ]
    assert {link["name"]: link["url"] for link in added["links"]} == {
        "Documentation": f"{REPOSITORY}/tree/v{__version__}/docs",
        "support": f"{REPOSITORY}/issues",
    }
    assert after == before


def test_without_an_address_of_the_sources_only_the_images_are_named() -> None:
    """A chart for a team's own registry has no link that leads nowhere."""
    place = Publication(version=__version__, registry="registry.example.com/team")
    after = yaml.safe_load(with_addresses((CHART / "Chart.yaml").read_text(), place))
    assert {"home", "sources"}.isdisjoint(after)
    assert "artifacthub.io/links" not in after["annotations"]
    text = "[a](../../docs/install.md)"
    assert with_absolute_links(text, place) == text


def test_links_of_the_readme_lead_to_files_of_the_repository() -> None:
    """A catalogue shows the README without the files beside it."""
    text = with_absolute_links((CHART / "README.md").read_text(), PUBLICATION)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    for link in links:
        folder, _, file = urlsplit(link).path.partition(f"/blob/v{__version__}/")
        assert f"https://git.example.com{folder}" == REPOSITORY
        assert (ROOT / file).is_file()


@pytest.mark.cluster  # needs no control plane, only helm, which is built with it
def test_the_published_chart_describes_itself(tmp_path: Path) -> None:
    """Its README installs it from the registry without naming images, and its alerts link to the runbook."""
    artifacts = Artifacts(folder=tmp_path / "dist", version=__version__)
    package_chart(CHART, artifacts, helm=str(find_helm()), publication=PUBLICATION)
    with tarfile.open(artifacts.chart) as archive:
        member = archive.extractfile("infpop/README.md")
        assert member is not None
        readme = member.read().decode()
    command = f"helm install infpop oci://registry.example.com/team/charts/infpop --version {__version__}"
    assert command in readme
    assert "No images are published" not in readme
    assert '| `image.repository` | string | `"registry.example.com/team/infpop-operator"` |' in readme
    options = ("--kube-version=1.34", "--set=metrics.prometheusRule.enabled=true")
    known = ("--api-versions", "monitoring.coreos.com/v1/PrometheusRule")
    text = helm("template", "infpop", str(artifacts.chart), *options, *known)
    (rule,) = of_kind([each for each in yaml.safe_load_all(text) if each], "PrometheusRule")
    link = rule["spec"]["groups"][0]["rules"][0]["annotations"]["runbook_url"]
    assert link == f"{REPOSITORY}/blob/v{__version__}/docs/alerts.md#infpopoperatordown"
    helm("lint", str(artifacts.chart), "--strict")


def annotations_of(metadata: dict[str, Any], *names: str) -> dict[str, Any]:
    """Take these annotations for Artifact Hub out of Chart.yaml, and return what they say."""
    return {name: yaml.safe_load(metadata["annotations"].pop(f"artifacthub.io/{name}")) for name in names}
