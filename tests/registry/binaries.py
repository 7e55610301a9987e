"""Find the registry of the tests, or build it once on this machine.

`PYTHONPATH=tests python -m registry.binaries` builds it in advance: half a minute of processor time.
"""

import os
import sys
from pathlib import Path

from gobuild import GoModule

MODULE = GoModule(
    folder=Path(__file__).parent,
    name="testregistry",
    packages={"registry": "github.com/google/go-containerregistry/cmd/registry"},
)


def find_registry() -> Path:
    """Return the path of the program, which is built if it is missing.

    Raises:
        MissingToolError: Go is missing and cannot be installed.
        subprocess.CalledProcessError: the build failed; its output is on standard error.
    """
    return MODULE.programs(("registry",), dict(os.environ))["registry"]  # noqa: TID251 - the edge of the tests


if __name__ == "__main__":
    sys.stdout.write(f"{find_registry()}\n")
