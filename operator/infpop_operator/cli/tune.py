"""The command `infpop tune`."""

import importlib
import json
import os
import shlex
import sys
from pathlib import Path

from infpop_operator.adapters.machine import this_machine
from infpop_operator.cli.drawing import check_heatmap, draw_heatmaps
from infpop_operator.cli.error_output import print_error
from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.cli.program import runnable
from infpop_operator.cli.terminal import console, print_page
from infpop_operator.core.errors import InfPopError, StoreError, StudyError
from infpop_operator.core.installing import install_command
from infpop_operator.local.interruption import Interruption
from infpop_operator.local.prepare import Prepared, prepare
from infpop_operator.local.tiny_model import tiny_model_directory
from infpop_operator.local.tune import DEFAULT_OUTPUT, AbortedError, Tuned, tune
from infpop_operator.report.progress_view import progress_view
from infpop_operator.report.status_page import Outcome

_REPORT = "report"


def run(study: Path, output: Path | None, *, heatmap: Path | None, report: bool, as_json: bool, wide: bool) -> ExitCode:
    """Tune the study in the file `study`; print its page, or with `as_json` its status; write its report if wanted."""
    command = _command(study, output, heatmap=heatmap, report=report, as_json=as_json, wide=wide)
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
        kept = (
            "the recorded results are kept. Run the same command again to resume." if error.kept else "nothing is kept."
        )
        print_error(f"{study}: stopped, because its state can no longer be saved; {kept}", error)
        return ExitCode.INTERNAL_ERROR
    except InfPopError as error:
        print_error(f"{study}: cannot be tuned.", error)
        return ExitCode.INTERNAL_ERROR
    except KeyboardInterrupt:  # before the first run
        _print_how_to_resume(command)
        return ExitCode.INTERRUPTED
    _print(tuned, as_json=as_json, wide=wide)
    if heatmap is not None:
        draw_heatmaps(prepared.study.name, tuned.page.picture, heatmap)
    if report and not tuned.interrupted:
        (sys.stderr if as_json else sys.stdout).write(f"{_report(directory)}\n")
    if tuned.interrupted:
        _print_how_to_resume(command)
    return _exit_code(tuned)


def _print(tuned: Tuned, *, as_json: bool, wide: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(tuned.status, indent=2) + "\n")
    else:
        print_page(tuned.page, wide=wide)


def _report(directory: Path) -> str:
    """Write the report beside the results, and return the line that names it, or says why there is none.

    The study has ended and its results are saved: nothing that goes wrong from here on may look as if they were lost.
    """
    target = directory / _REPORT
    again = runnable(shlex.join(["infpop", "report", str(directory), "--output", str(target)]))
    try:
        page = importlib.import_module("infpop_operator.cli.report").report_study(directory, target)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        return f"Report: needs {package}. Run: {install_command('report')}, then: {again}"
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the results are worth more than their picture
        why = str(error) or type(error).__name__
        return f"Report: not written ({why}). The results are complete; write it with: {again}"
    return f"Report: {page}"


def _command(study: Path, output: Path | None, *, heatmap: Path | None, report: bool, as_json: bool, wide: bool) -> str:
    """Return the command line that resumes the study: the one that the user gave."""
    options = [
        *(["--output", str(output)] if output is not None else []),
        *(["--heatmap", str(heatmap)] if heatmap is not None else []),
        *([] if report else ["--no-report"]),
        *(["--json"] if as_json else []),
        *(["--wide"] if wide else []),
    ]
    return runnable(shlex.join(["infpop", "tune", str(study), *options]))


def _print_how_to_resume(command: str) -> None:
    sys.stderr.write(f"\nStopped. Resume with: {command}\n")


def _tune(prepared: Prepared, directory: Path, environment: dict[str, str], *, as_json: bool) -> Tuned:
    with Interruption() as interruption:
        view = progress_view(console(stderr=as_json))
        try:
            return tune(prepared, directory, environment=environment, interruption=interruption, view=view)
        finally:
            view.close()


def _exit_code(tuned: Tuned) -> ExitCode:
    if tuned.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.FOUND if tuned.page.outcome is Outcome.SUCCEEDED else ExitCode.NO_RECOMMENDATION
