"""The commands `infpop validate` and `infpop schema`."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from infpop_operator.adapters.machine import this_machine
from infpop_operator.adapters.study_file import read_study_text
from infpop_operator.api.parse import parse_document
from infpop_operator.api.rules_cluster import cluster_rules
from infpop_operator.api.yaml_lines import line_of
from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.cli.program import runnable
from infpop_operator.core.errors import Problem, StudyError
from infpop_operator.core.space import cells
from infpop_operator.local.prepare import Prepared, prepare_text
from infpop_operator.local.tiny_model import tiny_model_directory

_STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    """A study file with its summary, or with its problems and the lines where they are."""

    file: str
    summary: str = ""
    problems: tuple[tuple[Problem, int | None], ...] = ()


def run(studies: Sequence[str], *, target: str, as_json: bool) -> ExitCode:
    """Print whether each study can be tuned: on this machine, or with the `target` "cluster" on a cluster."""
    checked = [_check(name, target) for name in studies]
    if as_json:
        sys.stdout.write(json.dumps([_to_json(each) for each in checked], indent=2) + "\n")
    else:
        for each in checked:
            _print(each, target)
    return ExitCode.BAD_INPUT if any(each.problems for each in checked) else ExitCode.FOUND


def _check(name: str, target: str) -> _Checked:
    shown, text = name, ""
    try:
        if name == _STANDARD_INPUT:
            shown, text = "standard input", sys.stdin.read()
        else:
            text = read_study_text(Path(name))
        return _Checked(file=shown, summary=_summary_of(text, shown, target, base=Path(name).absolute().parent))
    except StudyError as error:
        found = ((problem, line_of(text, problem.field)) for problem in error.problems)
        return _Checked(file=shown, problems=tuple(sorted(found, key=lambda each: each[1] or 0)))


def _summary_of(text: str, source: str, target: str, *, base: Path) -> str:
    """Return what the study will do.

    Raises:
        StudyError: it is invalid, or cannot be tuned there.
    """
    if target == "cluster":
        return _cluster_summary(text, source)
    environment = dict(os.environ)  # noqa: TID251 - the edge: from here on the environment is an argument
    machine = this_machine(environment)
    return _summary(prepare_text(text, machine, name=source, base=base, tiny_model=tiny_model_directory(environment)))


def _cluster_summary(text: str, source: str) -> str:
    spec = parse_document(text, source=source).spec
    problems = tuple(cluster_rules(spec))
    if problems:
        raise StudyError(problems)
    pools = ", ".join(pool.name for pool in spec.node_pools)
    has_images = spec.engine.image is not None or all(pool.image is not None for pool in spec.node_pools)
    note = "" if has_images else " It names no image: the operator's default is used."
    return f"Whether the pools {pools} have nodes, and whether the model fits, only the cluster knows.{note}"


def _summary(prepared: Prepared) -> str:
    study = prepared.study
    configurations = len(cells(study.space))
    pools = ", ".join(f"{pool.name} ({pool.gpu_model or 'simulated'})" for pool in study.pools)
    trials = min(configurations, study.budget.max_trials)
    return " ".join((f"Up to {trials} trials of {configurations} configurations on {pools}.", *prepared.notes))


def _print(checked: _Checked, target: str) -> None:
    if not checked.problems:
        sys.stdout.write(f"{checked.file}: valid. {checked.summary}\n")
        return
    where = "on a cluster" if target == "cluster" else "here (--for cluster checks it for one)"
    sys.stderr.write(f"{checked.file}: cannot be tuned {where}.\n")
    for problem, line in checked.problems:
        sys.stderr.write(f"  {'' if line is None else f'line {line}: '}{runnable(str(problem))}\n")


def _to_json(checked: _Checked) -> dict[str, object]:
    problems = [{**asdict(problem), "line": line} for problem, line in checked.problems]
    return {"file": checked.file, "valid": not problems, "summary": checked.summary or None, "problems": problems}
