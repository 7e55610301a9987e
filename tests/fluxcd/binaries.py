"""Build Flux's source-controller and kustomize-controller once on this machine, and find the kinds that they serve.

`PYTHONPATH=tests python -m fluxcd.binaries` builds them in advance: four minutes on two cores.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gobuild import GoModule

_NAMES = ("source-controller", "kustomize-controller")
MODULE = GoModule(
    folder=Path(__file__).parent, name="testflux", packages={name: f"github.com/fluxcd/{name}" for name in _NAMES}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flux:
    """The paths of the programs, and the folders with the CustomResourceDefinitions of their kinds."""

    source_controller: Path
    kustomize_controller: Path
    crds: tuple[Path, ...]


def find_flux(environment: Mapping[str, str] | None = None) -> Flux:
    """Return the programs and definitions, building and downloading what is not there yet.

    Args:
        environment: replaces this process's environment.

    Raises:
        MissingToolError: Go is missing and cannot be installed.
        subprocess.CalledProcessError: a build or a download failed; its output is on standard error.
    """
    environment = dict(os.environ) if environment is None else environment  # noqa: TID251 - the edge of the tests
    programs = MODULE.programs(_NAMES, environment)
    sources = [MODULE.sources(f"github.com/fluxcd/{name}", environment) for name in _NAMES]
    return Flux(
        source_controller=programs["source-controller"],
        kustomize_controller=programs["kustomize-controller"],
        crds=tuple(folder / "config" / "crd" / "bases" for folder in sources),
    )


if __name__ == "__main__":
    sys.stdout.write(f"{find_flux().source_controller.parent}\n")
