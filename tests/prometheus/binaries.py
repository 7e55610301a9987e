"""Find a real Prometheus and its promtool, or build them once on this machine.

They are built, not taken from the distribution: Debian's Prometheus is compiled without Kubernetes discovery.

`PYTHONPATH=tests python -m prometheus.binaries` builds them in advance: about two minutes on two cores.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from gobuild import GoModule

MODULE = GoModule(
    folder=Path(__file__).parent,
    name="testprometheus",
    packages={name: f"github.com/prometheus/prometheus/cmd/{name}" for name in ("prometheus", "promtool")},
    tags=("remove_all_sd", "enable_kubernetes_sd"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """The paths of the programs."""

    prometheus: Path
    promtool: Path


def find_binaries() -> Binaries:
    """Return the programs, building those that are not built yet.

    Raises:
        MissingToolError: Go is missing and cannot be installed.
        subprocess.CalledProcessError: a build failed; its output is on standard error.
    """
    return Binaries(**MODULE.programs(tuple(MODULE.packages), dict(os.environ)))  # noqa: TID251 - the edge of the tests


if __name__ == "__main__":
    sys.stdout.write(f"{find_binaries().prometheus.parent}\n")
