"""The command `infpop show`."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from infpop_operator.adapters.found_study import FoundStudy, source_error
from infpop_operator.adapters.result_sources import ON_CLUSTER, find_study
from infpop_operator.api.archived_round import archived_round
from infpop_operator.api.study_object import StudyObject
from infpop_operator.cli.error_output import print_error
from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.cli.terminal import print_page
from infpop_operator.core.errors import InfPopError, NoAnswerError
from infpop_operator.report.place import Place, on_cluster, on_this_machine
from infpop_operator.report.round_page import to_round_page
from infpop_operator.report.status_page import Outcome, StatusPage
from infpop_operator.report.status_view import to_page


def run(
    source: str,
    *,
    number: int | None,
    pool: str | None,
    namespace: str | None,
    context: str | None,
    kubeconfig: str | None,
    as_json: bool,
    wide: bool,
) -> ExitCode:
    """Print the page of the study in `source`, or of one of its rounds; with `as_json` the status that it shows."""
    try:
        found = find_study(source, namespace=namespace, context=context, kubeconfig=kubeconfig)
        status, page = _shown(found, number, pool)
    except NoAnswerError as error:
        print_error(f"{source}: cannot be read now.", error)
        return ExitCode.INTERNAL_ERROR
    except InfPopError as error:
        return print_error(f"{source}: cannot be shown.", error)
    sys.stderr.writelines(f"{note}\n" for note in found.notes)
    if as_json:
        sys.stdout.write(json.dumps(status, indent=2) + "\n")
    else:
        print_page(page, wide=wide)
    return ExitCode.NO_RECOMMENDATION if page.outcome is Outcome.STALLED else ExitCode.FOUND


def _shown(found: FoundStudy, number: int | None, pool: str | None) -> tuple[object, StatusPage]:
    """Return the status to print as JSON, and the page."""
    study, place = found.study, _place(found)
    now = found.read_at or datetime.now(UTC)  # noqa: TID251 - the edge
    if study.document is None and found.history is not None and not study.status.conditions:
        raise source_error(
            found.source,
            "has a journal, but neither a status nor a study that can be read, so nothing says what was searched",
            f"List its trials with infpop export {found.source} --format csv",
        )
    if number is None and pool is None:
        return _as_json(study) if found.content is None else found.content, to_page(study, place, now)
    archived = archived_round(study, found.history, pool=pool, number=number)
    return _as_json(archived.study), to_round_page(archived, place, now)


def _as_json(study: StudyObject) -> object:
    return study.status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _place(found: FoundStudy) -> Place:
    if found.directory is None and (found.study.namespace or found.source.startswith(ON_CLUSTER)):
        return on_cluster(found.study.namespace)
    return on_this_machine(found.directory or Path())
