"""Build Kueue's controller once on this machine, and find the manifests of its installation.

`PYTHONPATH=tests python -m kueue.binaries` builds it in advance: three minutes on two cores.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gobuild import GoModule

_MODULE = "sigs.k8s.io/kueue"
MODULE = GoModule(folder=Path(__file__).parent, name="testkueue", packages={"kueue": f"{_MODULE}/cmd/kueue"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kueue:
    """The path of the program, and the folder from which kustomize makes its installation."""

    program: Path
    installation: Path


def find_kueue(environment: Mapping[str, str] | None = None) -> Kueue:
    """Return the program and the manifests, building and downloading what is not there yet.

    Args:
        environment: replaces this process's environment.

    Raises:
        MissingToolError: Go is missing and cannot be installed.
        subprocess.CalledProcessError: the build or the download failed; its output is on standard error.
    """
    environment = dict(os.environ) if environment is None else environment  # noqa: TID251 - the edge of the tests
    programs = MODULE.programs(("kueue",), environment)
    folder = MODULE.sources(_MODULE, environment)
    return Kueue(program=programs["kueue"], installation=folder / "config" / "default")


if __name__ == "__main__":
    sys.stdout.write(f"{find_kueue().program.parent}\n")
