"""The files of a release in `dist/`, and how the chart gets there; `make packages sbom` writes the others."""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from release.commands import run
from release.errors import ReleaseError

IMAGES = ("operator", "runner")
# Where the chart's values name the images, in the order of `IMAGES`.
_REPOSITORIES = (("image", "repository"), ("runner", "image", "repository"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifacts:
    """The files of one version in one folder; they need not exist yet."""

    folder: Path
    version: str

    @property
    def wheel(self) -> Path:
        """The wheel."""
        return self.folder / f"infpop-{self.version}-py3-none-any.whl"

    @property
    def source(self) -> Path:
        """The source distribution."""
        return self.folder / f"infpop-{self.version}.tar.gz"

    @property
    def chart(self) -> Path:
        """The packaged chart."""
        return self.folder / f"infpop-{self.version}.tgz"

    @property
    def bill(self) -> Path:
        """The operator's bill of materials, CycloneDX as JSON."""
        return self.folder / "operator.cdx.json"


def image_name(registry: str, name: str) -> str:
    """Return the repository of one of the `IMAGES` in a registry."""
    return f"{registry}/infpop-{name}"


def package_chart(chart: Path, artifacts: Artifacts, *, helm: str, registry: str | None) -> None:
    """Package the chart.

    Args:
        chart: the folder of the chart, which stays as it is.
        artifacts: where the package goes.
        helm: the program.
        registry: where the images are published: the packaged chart's values name them there. With None the package
            has the checkout's values.

    Raises:
        ReleaseError: helm is missing or refuses the chart.
    """
    artifacts.folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="chart-") as scratch:
        copy = shutil.copytree(chart, Path(scratch) / chart.name)
        if registry is not None:
            values = copy / "values.yaml"
            values.write_text(with_images_in(registry, values.read_text()))
        run(helm, "package", str(copy), "--destination", str(artifacts.folder))


def with_images_in(registry: str, values: str) -> str:
    """Return the chart's values, comments included, with the images' repositories in a registry.

    Raises:
        ReleaseError: the values have no such field.
    """
    for name, path in zip(IMAGES, _REPOSITORIES, strict=True):
        values = _with_scalar(values, path, image_name(registry, name))
    return values


def _with_scalar(text: str, path: tuple[str, ...], value: str) -> str:
    node: yaml.Node | None = yaml.compose(text)
    for key in path:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((child for name, child in pairs if name.value == key), None)
    if node is None:
        raise ReleaseError(f"The chart's values.yaml has no {'.'.join(path)}, so it cannot name the published images.")
    return text[: node.start_mark.index] + json.dumps(value) + text[node.end_mark.index :]
