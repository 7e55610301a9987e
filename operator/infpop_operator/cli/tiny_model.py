"""The command `infpop tiny-model`."""

import sys
from pathlib import Path

from infpop_operator.cli.error_output import print_error
from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.core.errors import ExecutorError
from infpop_operator.local.tiny_model import write_tiny_model


def run(directory: Path) -> ExitCode:
    """Write the tiny model to `directory`, and print the directory."""
    try:
        write_tiny_model(directory.absolute())
    except ExecutorError as error:
        return print_error("No model was written.", error)
    sys.stdout.write(f"{directory}\n")
    return ExitCode.FOUND
