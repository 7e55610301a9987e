"""The command `infpop operator`."""

import logging
from typing import Any

import kopf

from infpop_operator.cli.error_output import print_error
from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.core.errors import InfPopError
from infpop_operator.handlers.operator import run_operator
from infpop_operator.handlers.watches import WatchEndedError


def run(**options: Any) -> ExitCode:  # noqa: ANN401 - those of `run_operator`
    """Run the operator until it receives a signal to end."""
    kopf.configure(verbose=False, log_format=kopf.LogFormat.FULL)
    # These libraries log a line for each event, each scrape of a runner and each probe, which is useless here.
    for library in ("kopf", "httpx", "aiohttp.access"):
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        run_operator(**options)
    except WatchEndedError as error:
        print_error("The operator has ended.", error)
        return ExitCode.INTERNAL_ERROR
    except InfPopError as error:
        return print_error("The operator cannot start.", error)
    return ExitCode.FOUND
