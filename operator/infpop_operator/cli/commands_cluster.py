"""Arguments and help texts of the commands for a cluster: its CustomResourceDefinition, operator and studies."""

from typing import Annotated

import typer

from infpop_operator.cli.options import Context, Kubeconfig, Wide
from infpop_operator.cli.run_command import run_command


def crds() -> None:
    """Print the CustomResourceDefinition, to install it: infpop crds | kubectl apply --server-side -f -."""
    run_command("crds")


def status(
    name: Annotated[str, typer.Argument(metavar="NAME", help="name of a ThroughputStudy", show_default=False)],
    *,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Namespace of the study. (default: the context's)", show_default=False),
    ] = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show the study until it ends; refresh every 2 seconds.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the status as JSON, and progress to standard error.")
    ] = False,
    wide: Wide = False,
) -> None:
    """Show a study of a cluster: its state and the reason, its results, and what to do next."""
    run_command(
        "status",
        name,
        namespace=namespace,
        context=context,
        kubeconfig=kubeconfig,
        watch=watch,
        as_json=json,
        wide=wide,
    )


def operator(
    *,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Watch only this namespace.", show_default=False)
    ] = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
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
    run_command(
        "operator",
        namespace=namespace,
        context=context,
        kubeconfig=kubeconfig,
        liveness=liveness,
        metrics_port=metrics_port,
    )
