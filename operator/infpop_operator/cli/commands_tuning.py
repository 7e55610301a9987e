"""Arguments and help texts of the commands that tune a study on this machine or prepare one."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from infpop_operator.cli.options import Wide
from infpop_operator.cli.run_command import run_command

_Study = Annotated[Path, typer.Argument(metavar="STUDY", help="YAML file with one ThroughputStudy", show_default=False)]


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
    report: Annotated[bool, typer.Option(help="Write a report beside the results at the end.")] = True,
    json: Annotated[
        bool, typer.Option("--json", help="Print the final status as JSON, and progress to standard error.")
    ] = False,
    wide: Wide = False,
) -> None:
    """Measure until the best configuration of STUDY is found; run the same command again to resume."""
    run_command("tune", study, output, heatmap=heatmap, report=report, as_json=json, wide=wide)


class _Target(StrEnum):
    """Where a study is to be tuned."""

    MACHINE = "machine"
    CLUSTER = "cluster"


def validate(
    studies: Annotated[
        list[str], typer.Argument(metavar="STUDY", help="YAML files, or - for standard input", show_default=False)
    ],
    target: Annotated[
        _Target, typer.Option("--for", help="Where it will be tuned; for a cluster this machine does not matter.")
    ] = _Target.MACHINE,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print the problems as JSON, with their lines.")] = False,
) -> None:
    """Check each STUDY and whether it can be tuned, without starting anything."""
    run_command("validate", studies, target=target.value, as_json=json)


def schema() -> None:
    """Print the JSON Schema of a study, for editors that complete and check YAML."""
    run_command("schema")


def tiny_model(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="directory to write to", show_default=False)],
) -> None:
    """Write a small Llama model with random weights and its tokenizer to DIR, to try InfPop without a download."""
    run_command("tiny-model", directory)
