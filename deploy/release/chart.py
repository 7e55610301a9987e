"""Package the chart, with the addresses that only a published one has.

The sources name no address. A chart that goes to a registry has the published images in its values, and a README that
installs it from there; one whose sources have an address has links to them. The annotations are those of Artifact Hub:
https://artifacthub.io/docs/topics/annotations/helm/
"""

import json
import posixpath
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from readme import readme_of
from release.artifacts import IMAGES, Artifacts, image_name
from release.commands import run
from release.errors import ReleaseError

# Where the chart's values name the images, in the order of `IMAGES`, and the page of the alerts.
_REPOSITORIES = (("image", "repository"), ("runner", "image", "repository"))
_RUNBOOK = ("metrics", "prometheusRule", "runbookUrl")
_KINDS = ("added", "changed", "deprecated", "removed", "fixed", "security")  # Artifact Hub's, and Keep a Changelog's
_FOLDER = "charts/infpop"  # in the repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """Where a version is published.

    Attributes:
        version: the version.
        registry: HOST/PATH of the images and the chart.
        repository: https://HOST/PATH of the sources; None if they are in no public place.
        changelog: the text of the change log.
    """

    version: str
    registry: str
    repository: str | None = None
    changelog: str = ""

    @property
    def page(self) -> str:
        """The address of the sources of this version, for files; empty without a repository."""
        return f"{self.repository.rstrip('/')}/blob/v{self.version}" if self.repository else ""


def package_chart(chart: Path, artifacts: Artifacts, *, helm: str, publication: Publication | None) -> None:
    """Package the chart.

    Args:
        chart: the folder of the chart, which stays as it is.
        artifacts: where the package goes.
        helm: the program.
        publication: where chart and images are published: the packaged chart names them there. With None the package
            is the checkout's chart.

    Raises:
        ReleaseError: helm is missing or refuses the chart.
    """
    artifacts.folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="chart-") as scratch:
        copy = shutil.copytree(chart, Path(scratch) / chart.name)
        if publication is not None:
            _publish_at(publication, copy)
        run(helm, "package", str(copy), "--destination", str(artifacts.folder))


def _publish_at(publication: Publication, chart: Path) -> None:
    values, metadata = chart / "values.yaml", chart / "Chart.yaml"
    text = with_images_in(publication.registry, values.read_text())
    if publication.page:
        text = _with_scalar(text, _RUNBOOK, f"{publication.page}/docs/alerts.md")
    values.write_text(text)
    metadata.write_text(with_addresses(metadata.read_text(), publication))
    source = f"oci://{publication.registry}/charts/infpop --version {publication.version}"
    readme = readme_of(chart, published_at=source)
    (chart / "README.md").write_text(with_absolute_links(readme, publication))


def with_images_in(registry: str, values: str) -> str:
    """Return the chart's values, comments included, with the images' repositories in a registry.

    Raises:
        ReleaseError: the values have no such field.
    """
    for name, path in zip(IMAGES, _REPOSITORIES, strict=True):
        values = _with_scalar(values, path, image_name(registry, name))
    return values


def with_addresses(metadata: str, publication: Publication) -> str:
    """Return Chart.yaml with the images, the changes and, if the sources have an address, home, sources and links."""
    document: dict[str, Any] = yaml.safe_load(metadata)
    version, repository = publication.version, publication.repository
    annotations = {
        "images": [
            {"name": f"infpop-{name}", "image": f"{image_name(publication.registry, name)}:{version}"}
            for name in IMAGES
        ],
        "changes": changes_of(publication.changelog, version),
    }
    if repository:
        address = repository.rstrip("/")
        document |= {"home": address, "sources": [address]}
        annotations["links"] = [
            {"name": "Documentation", "url": f"{address}/tree/v{version}/docs"},
            {"name": "support", "url": f"{address}/issues"},  # this name puts the link beside the package
        ]
    for name, content in annotations.items():
        if content:
            text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
            document["annotations"][f"artifacthub.io/{name}"] = text
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)


def changes_of(changelog: str, version: str) -> list[dict[str, str]]:
    """Return the entries of a version, each with its kind and its text on one line; none if it has no section."""
    changes = []
    kind = None
    for part in re.split(r"(?m)^(?=## )", changelog):
        if not re.match(rf"## \[?{re.escape(version)}\]?(?=\s)", part):
            continue
        for line in re.split(r"(?m)^(?=### |- )", part):
            if line.startswith("### "):
                kind = line.removeprefix("### ").split()[0].lower()
            elif line.startswith("- ") and kind in _KINDS:
                changes.append({"kind": kind, "description": " ".join(line.removeprefix("- ").split())})
    return changes


def with_absolute_links(readme: str, publication: Publication) -> str:
    """Return the chart's README with links that lead to the repository; unchanged if it has no address."""
    if not publication.page:
        return readme

    def absolute(link: re.Match[str]) -> str:
        return f"]({publication.page}/{posixpath.normpath(f'{_FOLDER}/{link[1]}')})"

    return re.sub(r"\]\((?!https?://|#)([^)\s]+)\)", absolute, readme)


def _with_scalar(text: str, path: tuple[str, ...], value: str) -> str:
    node: yaml.Node | None = yaml.compose(text)
    for key in path:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((child for name, child in pairs if name.value == key), None)
    if node is None:
        raise ReleaseError(f"The chart's values.yaml has no {'.'.join(path)}, so it cannot name what is published.")
    return text[: node.start_mark.index] + json.dumps(value) + text[node.end_mark.index :]
