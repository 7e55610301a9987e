"""The command line `infpop`: its commands and their arguments.

This module has only names and help texts, so that help and shell completion are fast: it imports the module of a
command when the command runs.
"""

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from infpop_operator import __version__
from infpop_operator.cli.exit_codes import DOCUMENTATION, ExitCode

_COMMANDS = {
    "tune": "infpop_operator.cli.tune",
    "validate": "infpop_operator.cli.validate",
    "tiny-model": "infpop_operator.cli.tiny_model",
    "status": "infpop_operator.cli.status",
    "operator": "infpop_operator.cli.operator",
    "crds": "infpop_operator.cli.crds",
}

_OPERATOR_PACKAGES = {"aiohttp", "kopf", "kubernetes", "prometheus_client"}
_INSTALL = "Run: pip install 'infpop[operator]'"

app = typer.Typer(
    name="infpop",
    help="Find the GPU count and batch size at which a large language model is served fastest, by measuring.",
    epilog=DOCUMENTATION,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Study = Annotated[Path, typer.Argument(metavar="STUDY", help="YAML file with one ThroughputStudy", show_default=False)]


def main() -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character gets a question mark
    app()


def _print_version(value: bool) -> None:  # noqa: FBT001 - typer's callback
    if value:
        typer.echo(f"infpop {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command(epilog=DOCUMENTATION)
def tune(
    study: _Study,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Directory for the study's state; name it again to resume. (default: infpop-results/NAME)",
            show_default=False,
        ),
    ] = None,
    heatmap: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the results as .png, .svg or .pdf at the end.", show_default=False),
    ] = None,
    *,
    json: Annotated[
        bool, typer.Option("--json", help="Print the final status as JSON, and progress to standard error.")
    ] = False,
) -> None:
    """Measure until the best configuration of STUDY is found; run the same command again to resume."""
    _run("tune", study, output, heatmap=heatmap, as_json=json)


@app.command(epilog=DOCUMENTATION)
def validate(study: _Study) -> None:
    """Check STUDY and whether it can be tuned on this machine, without starting anything."""
    _run("validate", study)


@app.command("tiny-model", epilog=DOCUMENTATION)
def tiny_model(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="directory to write to", show_default=False)],
) -> None:
    """Write a small Llama model with random weights and its tokenizer to DIR, to try InfPop without a download."""
    _run("tiny-model", directory)


@app.command(epilog=DOCUMENTATION)
def crds() -> None:
    """Print the CustomResourceDefinition, to install it: infpop crds | kubectl apply --server-side -f -."""
    _run("crds")


_Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig.", show_default=False)]
_Kubeconfig = Annotated[
    str | None, typer.Option(help="Path of a kubeconfig. (default: as for kubectl)", show_default=False)
]


@app.command(epilog=DOCUMENTATION)
def status(
    name: Annotated[str, typer.Argument(metavar="NAME", help="name of a ThroughputStudy", show_default=False)],
    *,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Namespace of the study. (default: the context's)", show_default=False),
    ] = None,
    context: _Context = None,
    kubeconfig: _Kubeconfig = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show the study until it ends; refresh every 2 seconds.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the status as JSON, and progress to standard error.")
    ] = False,
) -> None:
    """Show a study of a cluster: its state and the reason, its results, and what to do next."""
    _run("status", name, namespace=namespace, context=context, kubeconfig=kubeconfig, watch=watch, as_json=json)


@app.command(epilog=DOCUMENTATION)
def operator(
    *,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Watch only this namespace.", show_default=False)
    ] = None,
    context: _Context = None,
    kubeconfig: _Kubeconfig = None,
    liveness: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Answer liveness probes at URL, e.g. http://0.0.0.0:8080/healthz.", show_default=False
        ),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, metavar="PORT", help="Serve metrics at :PORT/metrics.", show_default=False),
    ] = None,
) -> None:
    """Reconcile the ThroughputStudies of a cluster until stopped. Run only one operator at a time."""
    _run(
        "operator",
        namespace=namespace,
        context=context,
        kubeconfig=kubeconfig,
        liveness=liveness,
        metrics_port=metrics_port,
    )


def _run(command: str, *args: object, **options: object) -> None:
    """Run a command's module and exit with its code; Ctrl-C before it starts anything counts as an interrupt."""
    try:
        code = importlib.import_module(_COMMANDS[command]).run(*args, **options)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _OPERATOR_PACKAGES:
            raise
        sys.stderr.write(f"infpop {command} needs {error.name}, which is not installed here.\n  {_INSTALL}\n")
        code = ExitCode.BAD_INPUT
    raise typer.Exit(int(code))


if __name__ == "__main__":
    main()
