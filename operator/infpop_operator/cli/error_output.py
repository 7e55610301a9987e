"""Print errors to standard error, one problem per line."""

import sys

from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.cli.program import runnable
from infpop_operator.core.errors import InfPopError


def print_error(headline: str, error: InfPopError) -> ExitCode:
    """Print the message of `error` under `headline`, and return the code for bad input."""
    lines = "".join(f"  {line}\n" for line in runnable(str(error)).splitlines())
    sys.stderr.write(f"{runnable(headline)}\n{lines}")
    return ExitCode.BAD_INPUT
