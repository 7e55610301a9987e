"""The command line `infpop`: the program and the list of its commands.

The `commands_*` modules have only names and help texts, so that help and shell completion are fast: `run_command`
imports the module that does the work when the command runs.
"""

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from infpop_operator import __version__
from infpop_operator.cli import commands_cluster, commands_replay, commands_results, commands_tuning, exit_codes

_LOST_OUTPUT = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # a closed pipe is handled by the library
app = typer.Typer(
    name="infpop",
    help="Find the GPU count and batch size at which a large language model is served fastest, by measuring.",
    epilog=exit_codes.ALL,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line and exit."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character gets a question mark
    try:
        app()
    except OSError as error:
        if error.errno not in _LOST_OUTPUT or error.filename is not None:
            raise
        _end_without_output(error)


def _open_closed_streams() -> None:
    """Open what the caller has closed (`>&-`), so that a command runs as if its output were thrown away."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends


def _end_without_output(error: OSError) -> NoReturn:
    """Say that standard output cannot be written, and exit; what is still in its buffer is given up."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stderr.write(f"infpop: standard output cannot be written ({error.strerror}).\n")
    raise SystemExit(int(exit_codes.ExitCode.INTERNAL_ERROR))


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


# In the order in which `infpop --help` lists them.
app.command(epilog=exit_codes.TUNE)(commands_tuning.tune)
app.command(epilog=exit_codes.VALIDATE)(commands_tuning.validate)
app.command(epilog=exit_codes.SIMPLE)(commands_tuning.schema)
app.command("tiny-model", epilog=exit_codes.SIMPLE)(commands_tuning.tiny_model)
app.command(epilog=exit_codes.SIMPLE)(commands_cluster.crds)
app.command(epilog=exit_codes.STUDY)(commands_cluster.status)
app.command(epilog=exit_codes.STUDY)(commands_results.show)
app.command(epilog=commands_results.COMPARE_EPILOG)(commands_results.compare)
app.command(epilog=commands_results.EXPORT_EPILOG)(commands_results.export)
app.command(epilog=commands_results.REPORT_EPILOG)(commands_results.report)
app.command(epilog=exit_codes.RESULTS)(commands_cluster.operator)
app.add_typer(commands_replay.replay)


if __name__ == "__main__":
    main()
