"""The command `infpop export`: the best result for serving, or all trials for analysis.

The modules of the two are imported when they are needed: that of all trials reads more.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path

from infpop_operator.cli.error_output import print_error
from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.core.errors import ExportError, Problem

TRIAL_FORMATS = ("csv", "jsonl", "parquet", "benchmark-report", "mlflow")
Options = Mapping[str, str | bool | None]


def run(
    source: str,
    *,
    form: str,
    output: Path | None,
    container: str,
    of_best: Options,
    of_trials: Options,
    cluster: Mapping[str, str | None],
) -> ExitCode:
    """Export `source` in the format `form`.

    Args:
        source: a directory, a file, or `study/NAME`.
        form: the name of a format.
        output: a file or directory; None for standard output.
        container: the engine's container, for kustomize.
        of_best: name, image and newest, which only formats of the best result have.
        of_trials: pool, round and tracking-uri, which only formats of all trials have.
        cluster: namespace, context and kubeconfig of `study/NAME`.
    """
    has_trials = form in TRIAL_FORMATS
    for option, value in (of_best if has_trials else of_trials).items():
        if value not in {None, False}:
            other, this = ("the best result", "all trials") if has_trials else ("all trials", "the best result")
            shown = "" if value is True else str(value)
            message = f"is for formats with {other}, and {form} has {this}"
            problem = Problem(field=f"--{option}", value=shown, message=message, remedy="Leave it out")
            return print_error(f"{source}: cannot be exported.", ExportError(str(problem)))
    code: ExitCode
    if has_trials:
        trials = importlib.import_module("infpop_operator.cli.export_trials")
        code = trials.run(source, form=form, output=output, options=of_trials, cluster=cluster)
    else:
        best = importlib.import_module("infpop_operator.cli.export_best")
        code = best.run(source, form=form, output=output, container=container, **of_best, **cluster)
    return code
