"""The command `infpop compare`."""

import json
import sys

from infpop_operator.adapters.result_sources import ON_CLUSTER, read_results
from infpop_operator.analysis.compare import Comparison, compare_results, to_document
from infpop_operator.analysis.rows import ResultTable
from infpop_operator.analysis.side import Side, parse_side, select_rows
from infpop_operator.cli.error_output import print_error
from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.cli.terminal import console
from infpop_operator.core.errors import InfPopError, NoAnswerError
from infpop_operator.report.comparison_table import render_comparison


def run(
    first: str,
    second: str,
    *,
    namespace: str | None,
    context: str | None,
    kubeconfig: str | None,
    as_json: bool,
) -> ExitCode:
    """Print two results side by side, or what differs so that they must not be compared."""
    cluster = {"namespace": namespace, "context": context, "kubeconfig": kubeconfig}
    try:
        sides = (parse_side(first), parse_side(second))
        tables = _read(sides, cluster)
        rows = [select_rows(side, tables[side.source].trials) for side in sides]
    except NoAnswerError as error:
        print_error(f"{first}, {second}: cannot be read now.", error)
        return ExitCode.INTERNAL_ERROR
    except InfPopError as error:
        return print_error(f"{first}, {second}: cannot be compared.", error)
    comparison = compare_results((first, rows[0]), (second, rows[1]))
    notes = dict.fromkeys(note for table in tables.values() for note in table.notes)
    sys.stderr.writelines(f"{note}\n" for note in notes)
    if as_json:
        sys.stdout.write(json.dumps(to_document(comparison), indent=2, allow_nan=False) + "\n")
    else:
        console().print(render_comparison(comparison), crop=False)
    return _code(comparison)


def _read(sides: tuple[Side, Side], cluster: dict[str, str | None]) -> dict[str, ResultTable]:
    """Return the table of each source, read once; the options of a cluster belong to the sides that are on one."""
    sources = dict.fromkeys(side.source for side in sides)
    on_cluster = [source for source in sources if source.startswith(ON_CLUSTER)]
    return {
        source: read_results(source, **(cluster if source in on_cluster or not on_cluster else {}))
        for source in sources
    }


def _code(comparison: Comparison) -> ExitCode:
    return ExitCode.NO_RECOMMENDATION if comparison.differences else ExitCode.FOUND
