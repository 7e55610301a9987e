"""`infpop status`."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from rich.console import Console

from infpop_operator.adapters.kube.connection import ConnectionConfigError
from infpop_operator.adapters.kube.records import Body
from infpop_operator.adapters.kube.study_reader import NoAnswerError, ReadError, StudyReader
from infpop_operator.api.study_object import UnreadableError, parse_study_object
from infpop_operator.cli.complaint import complain
from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.report.place import on_cluster
from infpop_operator.report.progress_view import ProgressView, progress_view
from infpop_operator.report.rendering import render_page
from infpop_operator.report.status_page import Outcome, StatusPage
from infpop_operator.report.status_view import to_page

POLL_SECONDS = 2.0  # one GET each: cheaper than a watch that has to be kept alive, and as fast as the eye


def run(
    name: str, *, namespace: str | None, context: str | None, kubeconfig: str | None, watch: bool, as_json: bool
) -> ExitCode:
    """Show the study `name`, with `watch` until it ends."""
    try:
        reader = StudyReader(name, namespace=namespace, context=context, kubeconfig=kubeconfig)
        body, now = asyncio.run(_read(reader, progress_view(Console(stderr=as_json)) if watch else None))
        page = to_study_page(body, now)
    except NoAnswerError as error:
        complain(f"Study {name} cannot be shown now.", error)
        return ExitCode.INTERNAL_ERROR
    except (ConnectionConfigError, ReadError, UnreadableError) as error:
        return complain(f"Study {name} cannot be shown.", error)
    except KeyboardInterrupt:
        sys.stderr.write("\nNo longer watched; the study goes on.\n")
        return ExitCode.INTERRUPTED
    if as_json:
        sys.stdout.write(json.dumps(body.get("status") or {}, indent=2) + "\n")
    else:
        Console().print(render_page(page), crop=False)
    return ExitCode.NO_RECOMMENDATION if page.outcome is Outcome.STALLED else ExitCode.FOUND


async def _read(reader: StudyReader, view: ProgressView | None) -> tuple[Body, datetime]:
    """Return the study as it is now, or, with a view, as it is when it has ended."""
    async with reader:
        if view is None:
            return await reader.read(), _now()
        try:
            return await follow(reader.read, view, clock=_now, wait=lambda: asyncio.sleep(POLL_SECONDS))
        finally:
            view.close()


async def follow(
    read: Callable[[], Awaitable[Body]],
    view: ProgressView,
    *,
    clock: Callable[[], datetime],
    wait: Callable[[], Awaitable[None]],
) -> tuple[Body, datetime]:
    """Show a study again and again until it has ended, and return its last version.

    An API server that does not answer is asked again for as long as it takes, unless it never answered.

    Raises:
        NoAnswerError: there was no first answer.
        ReadError: the study is gone, or may not be read any more.
        UnreadableError: its status is of a form that this version does not know.
    """
    body, is_silent = await read(), False
    while True:
        now = clock()
        page = to_study_page(body, now)
        view.show(page, now)
        if page.outcome is not Outcome.OPEN and not is_silent:
            return body, now
        await wait()
        try:
            body = await read()
            is_silent = False
        except NoAnswerError as error:
            if not is_silent:
                view.announce(f"Asking again: {error}")
            is_silent = True


def to_study_page(body: Body, now: datetime) -> StatusPage:
    """Return the page of an object as the API server has it.

    Raises:
        UnreadableError: its status is of a form that this version does not know.
    """
    study = parse_study_object(body)
    return to_page(study, on_cluster(study.namespace), now)


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the edge: from here on the time is an argument
