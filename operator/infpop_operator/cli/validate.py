"""The command `infpop validate`."""

import os
import sys
from pathlib import Path

from infpop_operator.adapters.machine import this_machine
from infpop_operator.cli.error_output import print_error
from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.core.errors import StudyError
from infpop_operator.core.space import cells
from infpop_operator.local.prepare import Prepared, prepare
from infpop_operator.local.tiny_model import tiny_model_directory


def run(study: Path) -> ExitCode:
    """Print whether the study in the file `study` can be tuned on this machine."""
    environment = dict(os.environ)  # noqa: TID251 - the edge: from here on the environment is an argument
    try:
        prepared = prepare(study, this_machine(environment), tiny_model=tiny_model_directory(environment))
    except StudyError as error:
        return print_error(f"{study}: cannot be tuned here.", error)
    sys.stdout.write(f"{study}: valid. {_summary(prepared)}\n")
    return ExitCode.FOUND


def _summary(prepared: Prepared) -> str:
    study = prepared.study
    configurations = len(cells(study.space))
    pools = ", ".join(f"{pool.name} ({pool.gpu_model or 'simulated'})" for pool in study.pools)
    trials = min(configurations, study.budget.max_trials)
    return " ".join((f"Up to {trials} trials of {configurations} configurations on {pools}.", *prepared.notes))
