"""Runs a command: imports its module only then, and says which extra to install if a package is missing."""

import importlib
import sys

import typer

from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.core.installing import install_command

COMMANDS = {
    "tune": "infpop_operator.cli.tune",
    "validate": "infpop_operator.cli.validate",
    "schema": "infpop_operator.cli.schema",
    "tiny-model": "infpop_operator.cli.tiny_model",
    "status": "infpop_operator.cli.status",
    "show": "infpop_operator.cli.show",
    "export": "infpop_operator.cli.export",
    "report": "infpop_operator.cli.report",
    "compare": "infpop_operator.cli.compare",
    "operator": "infpop_operator.cli.operator",
    "crds": "infpop_operator.cli.crds",
    "replay retune": "infpop_operator.cli.replay",
    "replay search": "infpop_operator.cli.replay_search",
}

# The extra that installs a package, for a message where it is missing.
_EXTRAS = {
    **dict.fromkeys(("aiohttp", "hyperopt", "kopf", "kubernetes", "numpy", "prometheus_client"), "operator"),
    **dict.fromkeys(
        ("llmd_benchmark_report", "matplotlib", "pandas", "plotly", "pyarrow", "scipy", "statsmodels"), "report"
    ),
    "mlflow": "mlflow",
}


def run_command(command: str, *args: object, **options: object) -> None:
    """Run a command's module and exit with its code; Ctrl-C before it starts anything counts as an interrupt."""
    try:
        code = importlib.import_module(COMMANDS[command]).run(*args, **options)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        sys.stderr.write(
            f"infpop {command} needs {error.name}, which is not installed here.\n  Run: {install_command(extra)}\n"
        )
        code = ExitCode.BAD_INPUT
    raise typer.Exit(int(code))
