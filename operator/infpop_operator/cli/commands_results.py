"""Arguments and help texts of the commands that read results: show, compare, export and report."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from infpop_operator.cli import exit_codes
from infpop_operator.cli.options import Context, Kubeconfig, StudyNamespace, Wide
from infpop_operator.cli.run_command import run_command


def show(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="directory of infpop tune, status.json, a study as JSON, or study/NAME on a cluster",
            show_default=False,
        ),
    ],
    *,
    number: Annotated[
        int | None,
        typer.Option(
            "--round", min=1, metavar="N", help="Show round N of a pool, archived or not.", show_default=False
        ),
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(metavar="POOL", help="Pool of the round; alone, its newest round.", show_default=False),
    ] = None,
    namespace: StudyNamespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    json: Annotated[bool, typer.Option("--json", help="Print the status, or that of the round, as JSON.")] = False,
    wide: Wide = False,
) -> None:
    """Show the result of a study, wherever it is, on any machine; nothing is started or changed."""
    run_command(
        "show",
        source,
        number=number,
        pool=pool,
        namespace=namespace,
        context=context,
        kubeconfig=kubeconfig,
        as_json=json,
        wide=wide,
    )


COMPARE_EPILOG = (
    "SOURCE is a directory of infpop tune, a status.json, study/NAME on a cluster, or a CSV file of recorded cells "
    "or of infpop export. "
    "After # say which part of it is meant: pool, round, engine, gpu-model, model or workload, for example "
    "results/a#pool=v100,round=2. Without a round the newest of each pool counts."
    f"\n\n{exit_codes.COMPARE}"
)
_SIDE = "SOURCE, or SOURCE#KEY=VALUE,..."


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help=_SIDE, show_default=False)],
    second: Annotated[str, typer.Argument(metavar="B", help=_SIDE, show_default=False)],
    *,
    namespace: StudyNamespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON, with all pairs.")] = False,
) -> None:
    """Show two results side by side: studies, rounds, pools, GPU models or engines, where they may be compared."""
    run_command("compare", first, second, namespace=namespace, context=context, kubeconfig=kubeconfig, as_json=json)


class ExportFormat(StrEnum):
    """The names of the formats of `infpop export`: of the best result, and from `csv` on of all trials."""

    VLLM_ARGS = "vllm-args"
    KUSTOMIZE = "kustomize"
    HELM_VALUES = "helm-values"
    KSERVE = "kserve"
    PRODUCTION_STACK = "production-stack"
    RAYSERVICE = "rayservice"
    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    BENCHMARK_REPORT = "benchmark-report"
    MLFLOW = "mlflow"


EXPORT_EPILOG = f"""Formats of the best configuration, for serving:

  vllm-args: arguments of vllm serve MODEL on one line, quoted for a shell

  kustomize: patch of a Deployment, with the args and GPUs of one container

  helm-values: what the operator publishes as values.yaml

  kserve: LLMInferenceServiceConfig for baseRefs of KServe

  production-stack: values for the Helm chart of the vLLM production stack

  rayservice: RayService of KubeRay, with Ray Serve LLM

Formats of all trials, for analysis:

  csv, jsonl, parquet: a table with a row for each trial (parquet needs the extra report)

  benchmark-report: a Benchmark Report of llm-d for each measured trial, and an index, in --output (extra report)

  mlflow: a run for each trial (needs the extra mlflow)

{exit_codes.EXPORT}"""


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="directory of infpop tune, status.json, study/NAME on a cluster; of all trials also a CSV of cells",
            show_default=False,
        ),
    ],
    *,
    form: Annotated[
        ExportFormat,
        typer.Option("--format", metavar="FORMAT", help="Form of the output; see below.", show_default=False),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Write to a file; for benchmark-report and mlflow a directory. (default: standard output)",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the object in the output. (default: the study's)", show_default=False),
    ] = None,
    container: Annotated[str, typer.Option(help="For kustomize: name of the engine's container.")] = "vllm",
    image: Annotated[
        str | None,
        typer.Option(help="For production-stack and rayservice: image to serve with.", show_default=False),
    ] = None,
    newest: Annotated[
        bool,
        typer.Option("--newest", help="Export the newest best, although it may change or is not what is published."),
    ] = False,
    pool: Annotated[
        str | None, typer.Option(help="For all trials: only this pool. (default: all pools)", show_default=False)
    ] = None,
    round_number: Annotated[
        str | None,
        typer.Option(
            "--round",
            metavar="N|last",
            help="For all trials: only this round, or each pool's last. (default: all rounds)",
            show_default=False,
        ),
    ] = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(metavar="URI", help="For mlflow: the server. (default: MLFLOW_TRACKING_URI)", show_default=False),
    ] = None,
    namespace: StudyNamespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Write the best configuration of a study, or all its trials, in the form that another tool reads."""
    run_command(
        "export",
        source,
        form=form.value,
        output=output,
        container=container,
        of_best={"name": name, "image": image, "newest": newest},
        of_trials={"pool": pool, "round": round_number, "tracking-uri": tracking_uri},
        cluster={"namespace": namespace, "context": context, "kubeconfig": kubeconfig},
    )


REPORT_EPILOG = (
    "Sources: directories of infpop tune, status.json, study/NAME on a cluster, CSV files of recorded cells "
    "or of infpop export."
    f"\n\n{exit_codes.RESULTS}"
)


def report(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE", help="where the results are; see below", show_default=False),
    ],
    *,
    output: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Directory of the report; an earlier report in it is replaced."),
    ] = Path("infpop-report"),
    scores: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV file with the columns model and score: a quality of each model.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, metavar="N", help="Batch size at which GPU counts are compared.")
    ] = 1,
    price: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[GPU=]PRICE", help="Price of a GPU hour, of all or of one GPU model; repeat.", show_default=False
        ),
    ] = None,
    figures: Annotated[bool, typer.Option(help="Draw the figures as PNG and SVG.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace files in DIR that no report wrote.")] = False,
    namespace: StudyNamespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Write a report of results: an interactive page that needs no network, figures, statistics and tables."""
    run_command(
        "report",
        sources,
        output=output,
        scores=scores,
        batch_size=batch_size,
        prices=price or [],
        figures=figures,
        force=force,
        namespace=namespace,
        context=context,
        kubeconfig=kubeconfig,
    )
