"""Arguments and help texts of `infpop replay search` and `infpop replay retune`."""

from pathlib import Path
from typing import Annotated

import typer

from infpop_operator.cli.exit_codes import SIMPLE
from infpop_operator.cli.run_command import run_command

replay = typer.Typer(
    name="replay",
    help="Replay recorded landscapes through the decisions of InfPop; nothing is measured.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Landscapes = Annotated[
    Path, typer.Argument(metavar="LANDSCAPES", help="CSV file of recorded cells", show_default=False)
]
_LoadSeconds = Annotated[
    float | None,
    typer.Option(min=0, help="Time to load an engine. (default: 60 for vllm, 30 for hf)", show_default=False),
]
_Samples = Annotated[int, typer.Option(min=1, help="Prompts of a trial.")]
_NewTokens = Annotated[
    int | None,
    typer.Option(min=1, help="New tokens of a prompt. (default: the file's output_tokens, or 5)", show_default=False),
]
_Processes = Annotated[int, typer.Option(min=1, max=256, help="Processes that search at the same time.")]
_Json = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the results as JSON.", show_default=False)
]


@replay.command(epilog=SIMPLE)
def search(
    landscapes: _Landscapes,
    *,
    algorithm: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="An algorithm of InfPop, or infpop-paper: that of the paper.", show_default=False
        ),
    ],
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Searches of each landscape.")] = 10,
    max_trials: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Trials of a search. (default: all configurations)", show_default=False),
    ] = None,
    trials_per_run: Annotated[
        str, typer.Option(metavar="K|auto", help="Batch sizes that share one engine load, 1 to 8.")
    ] = "1",
    noise: Annotated[
        float, typer.Option(metavar="S", help="Relative standard deviation of a measured number, e.g. 0.02.")
    ] = 0.0,
    load_seconds: _LoadSeconds = None,
    samples: _Samples = 1033,
    new_tokens: _NewTokens = None,
    short_measurement: Annotated[
        bool,
        typer.Option(
            "--short-measurement", help="Measure 20 seconds or three batches instead of all prompts, if that is less."
        ),
    ] = False,
    processes: _Processes = 2,
    json: _Json = None,
) -> None:
    """Show how many trials, and how much GPU time, a search needs to find the best configuration."""
    run_command(
        "replay search",
        landscapes,
        algorithm=algorithm,
        seeds=seeds,
        max_trials=max_trials,
        trials_per_run=trials_per_run,
        noise=noise,
        load_seconds=load_seconds,
        samples=samples,
        new_tokens=new_tokens,
        short_measurement=short_measurement,
        processes=processes,
        output=json,
    )


@replay.command(epilog=SIMPLE)
def retune(
    landscapes: _Landscapes,
    *,
    old: Annotated[str, typer.Option("--from", metavar="GPU", help="GPU model before the change.", show_default=False)],
    new: Annotated[str, typer.Option("--to", metavar="GPU", help="GPU model after the change.", show_default=False)],
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Searches of each kind for each model.")] = 10,
    first_trials: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Trials on the old GPUs. (default: all of the old landscape)", show_default=False
        ),
    ] = None,
    gpu_memory: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GPU=SIZE",
            help="Memory of a GPU, e.g. V100=32GiB; repeat. With both, what did not fit may be skipped.",
            show_default=False,
        ),
    ] = None,
    algorithm: Annotated[
        str, typer.Option(metavar="NAME", help="Search that starts warm: landscape, tpe or anneal.")
    ] = "tpe",
    load_seconds: _LoadSeconds = None,
    samples: _Samples = 1033,
    new_tokens: _NewTokens = None,
    processes: _Processes = 2,
    json: _Json = None,
) -> None:
    """Show what tuning again gains when the GPUs change, and how many trials that takes."""
    run_command(
        "replay retune",
        landscapes,
        old=old,
        new=new,
        seeds=seeds,
        first_trials=first_trials,
        gpu_memory=gpu_memory or [],
        algorithm=algorithm,
        load_seconds=load_seconds,
        samples=samples,
        new_tokens=new_tokens,
        processes=processes,
        output=json,
    )
