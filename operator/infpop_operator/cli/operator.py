"""The command `infpop operator`."""

import logging

import kopf

from infpop_operator.cli.error_output import print_error
from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.core.errors import InfPopError
from infpop_operator.handlers.operator import Options, run_operator


def run(
    *,
    context: str | None,
    kubeconfig: str | None,
    namespace: str | None,
    liveness: str | None,
    metrics_port: int | None,
) -> ExitCode:
    """Run the operator until it receives a signal to end."""
    kopf.configure(verbose=False, log_format=kopf.LogFormat.FULL)
    # These libraries log a line for each event, each scrape of a runner and each probe, which is useless here.
    for library in ("kopf", "httpx", "aiohttp.access"):
        logging.getLogger(library).setLevel(logging.WARNING)
    options = Options(
        context=context,
        kubeconfig=kubeconfig,
        namespace=namespace,
        liveness=liveness,
        metrics_port=metrics_port,
    )
    try:
        run_operator(options)
    except InfPopError as error:
        return print_error("The operator cannot start.", error)
    return ExitCode.FOUND
