"""The command `infpop tune`."""

import json
import os
import shlex
import sys
from pathlib import Path

from rich.console import Console

from infpop_operator.adapters.machine import this_machine
from infpop_operator.cli.drawing import check_heatmap, draw_heatmaps
from infpop_operator.cli.error_output import print_error
from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.core.errors import InfPopError, StoreError, StudyError
from infpop_operator.local.interruption import Interruption
from infpop_operator.local.prepare import Prepared, prepare
from infpop_operator.local.tiny_model import tiny_model_directory
from infpop_operator.local.tune import AbortedError, Tuned, tune
from infpop_operator.report.progress_view import progress_view
from infpop_operator.report.rendering import render_page
from infpop_operator.report.status_page import Outcome

DEFAULT_OUTPUT = Path("infpop-results")


def run(study: Path, output: Path | None, *, heatmap: Path | None, as_json: bool) -> ExitCode:
    """Tune the study in the file `study`; print its page, or with `as_json` its status; draw its heatmap if wanted."""
    command = _command(study, output, heatmap=heatmap, as_json=as_json)
    environment = dict(os.environ)  # noqa: TID251 - the edge: from here on the environment is an argument
    try:
        if heatmap is not None:
            check_heatmap(heatmap)
        prepared = prepare(study, this_machine(environment), tiny_model=tiny_model_directory(environment))
        directory = output if output is not None else DEFAULT_OUTPUT / prepared.study.name
        tuned = _tune(prepared, directory, environment, as_json=as_json)
    except StudyError as error:
        return print_error(f"{study}: nothing was started.", error)
    except StoreError as error:
        return print_error(f"{study}: the output directory cannot be used.", error)
    except AbortedError as error:
        print_error(
            f"{study}: stopped by an error; the recorded results are kept. Run the same command again to resume.", error
        )
        return ExitCode.INTERNAL_ERROR
    except InfPopError as error:
        print_error(f"{study}: cannot be tuned.", error)
        return ExitCode.INTERNAL_ERROR
    except KeyboardInterrupt:  # before the first run
        _print_how_to_resume(command)
        return ExitCode.INTERRUPTED
    if as_json:
        sys.stdout.write(json.dumps(tuned.status, indent=2) + "\n")
    else:
        Console().print(render_page(tuned.page), crop=False)
    if heatmap is not None:
        draw_heatmaps(prepared.study.name, tuned.page.picture, heatmap)
    if tuned.interrupted:
        _print_how_to_resume(command)
    return _exit_code(tuned)


def _command(study: Path, output: Path | None, *, heatmap: Path | None, as_json: bool) -> str:
    """Return the command line that resumes the study: the one that the user gave."""
    options = [
        *(["--output", str(output)] if output is not None else []),
        *(["--heatmap", str(heatmap)] if heatmap is not None else []),
        *(["--json"] if as_json else []),
    ]
    return shlex.join(["infpop", "tune", str(study), *options])


def _print_how_to_resume(command: str) -> None:
    sys.stderr.write(f"\nStopped. Resume with: {command}\n")


def _tune(prepared: Prepared, directory: Path, environment: dict[str, str], *, as_json: bool) -> Tuned:
    with Interruption() as interruption:
        view = progress_view(Console(stderr=as_json))
        try:
            return tune(prepared, directory, environment=environment, interruption=interruption, view=view)
        finally:
            view.close()


def _exit_code(tuned: Tuned) -> ExitCode:
    if tuned.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.FOUND if tuned.page.outcome is Outcome.SUCCEEDED else ExitCode.NO_RECOMMENDATION
