"""The files of a release in `dist/`, and the names of its images."""

from dataclasses import dataclass
from pathlib import Path

IMAGES = ("operator", "runner")


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
