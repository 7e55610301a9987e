"""The command `infpop crds`."""

import sys

from infpop_operator.api.crd import render_crd
from infpop_operator.cli.exit_codes import ExitCode


def run() -> ExitCode:
    """Print the CustomResourceDefinition."""
    sys.stdout.write(render_crd())
    return ExitCode.FOUND
