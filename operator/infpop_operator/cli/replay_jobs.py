"""What the `infpop replay` commands share: jobs in several processes with a progress bar, and the file they write."""

import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from infpop_operator.adapters.files import write_atomically
from infpop_operator.cli.error_output import print_error
from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.cli.terminal import console
from infpop_operator.core.errors import Problem, ReplayError

_CHUNK = 4  # searches that a process takes at a time: about two seconds

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_all(run: Callable[[Job], Result], jobs: Sequence[Job], processes: int) -> Iterator[Result]:
    """Yield the results in the order of the jobs, whichever process has finished first."""
    columns = (
        TextColumn("Replaying"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("searches"),
        TimeRemainingColumn(),
    )
    shown_on = console(stderr=True)
    progress = Progress(*columns, console=shown_on, transient=True, disable=not shown_on.is_terminal)
    if processes == 1:
        with progress:
            yield from progress.track(map(run, jobs), total=len(jobs))
        return
    # Not forked: the parent may have threads of a numerical library.
    pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
    with progress, pool:
        results = pool.map(run, jobs, chunksize=_CHUNK)
        try:
            yield from progress.track(results, total=len(jobs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def check_output(output: Path | None) -> None:
    """Check before the work is done that its results can be written.

    Raises:
        ReplayError: `output` is a directory, or is in one that does not exist.
    """
    if output is not None and not output.absolute().parent.is_dir():
        raise option_error("--json", str(output), f"the directory {output.parent} does not exist", "Create it")
    if output is not None and output.is_dir():
        raise option_error("--json", str(output), "is a directory", "Name a file")


def write_output(output: Path | None, document: object) -> ExitCode:
    """Write the results as JSON if the user asked for it; print why not, and return the exit code of the command."""
    if output is None:
        return ExitCode.FOUND
    try:
        write_atomically(output, json.dumps(document, indent=2) + "\n")
    except OSError as error:
        what = error.strerror or str(error)
        remedy = "Name another file; the table above is complete"
        return print_error(f"{output}: cannot be written.", option_error("--json", str(output), what, remedy))
    return ExitCode.FOUND


def option_error(field: str, value: str, message: str, remedy: str) -> ReplayError:
    """Return the error of an option."""
    return ReplayError(str(Problem(field=field, value=value, message=message, remedy=remedy)))
