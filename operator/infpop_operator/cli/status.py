"""The command `infpop status`."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from infpop_operator.adapters.kube.cluster_clock import ClusterClock
from infpop_operator.adapters.kube.connection import ConnectionConfigError
from infpop_operator.adapters.kube.records import Body
from infpop_operator.adapters.kube.study_reader import ReadError, StudyReader
from infpop_operator.api.study_object import UnreadableError, parse_study_object
from infpop_operator.cli.error_output import print_error
from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.cli.terminal import console, print_page
from infpop_operator.core.errors import NoAnswerError
from infpop_operator.report.place import on_cluster
from infpop_operator.report.progress_view import ProgressView, progress_view
from infpop_operator.report.status_page import Outcome, StatusPage
from infpop_operator.report.status_view import to_page

POLL_SECONDS = 2.0  # one GET per poll: cheaper than a watch that has to be kept alive, and fast enough for a reader


def run(
    name: str,
    *,
    namespace: str | None,
    context: str | None,
    kubeconfig: str | None,
    watch: bool,
    as_json: bool,
    wide: bool,
) -> ExitCode:
    """Show the study `name` once, or with `watch` until it ends."""
    try:
        clock = ClusterClock(_now, time.monotonic)  # the times of a study are the API server's
        reader = StudyReader(name, namespace=namespace, context=context, kubeconfig=kubeconfig, clock=clock)
        body, now = asyncio.run(_read(reader, progress_view(console(stderr=as_json)) if watch else None, clock))
        page = to_study_page(body, now)
    except NoAnswerError as error:
        print_error(f"Study {name} cannot be shown now.", error)
        return ExitCode.INTERNAL_ERROR
    except (ConnectionConfigError, ReadError, UnreadableError) as error:
        return print_error(f"Study {name} cannot be shown.", error)
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped watching; the study continues.\n")
        return ExitCode.INTERRUPTED
    if as_json:
        sys.stdout.write(json.dumps(body.get("status") or {}, indent=2) + "\n")
    else:
        print_page(page, wide=wide)
    return ExitCode.NO_RECOMMENDATION if page.outcome is Outcome.STALLED else ExitCode.FOUND


async def _read(reader: StudyReader, view: ProgressView | None, clock: ClusterClock) -> tuple[Body, datetime]:
    """Return the study and the time of the read: the current state, or with a view the state at the study's end."""
    async with reader:
        if view is None:
            return await reader.read(), clock()
        try:
            return await follow(reader.read, view, clock=clock, wait=lambda: asyncio.sleep(POLL_SECONDS))
        finally:
            view.close()


async def follow(
    read: Callable[[], Awaitable[Body]],
    view: ProgressView,
    *,
    clock: Callable[[], datetime],
    wait: Callable[[], Awaitable[None]],
) -> tuple[Body, datetime]:
    """Show a study repeatedly until it has ended; return its last version and the time of that read.

    If the API server stops answering, retry without a limit; if the first read gets no answer, fail.

    Raises:
        NoAnswerError: the first read got no answer.
        ReadError: the study was deleted, or the user may no longer read it.
        UnreadableError: this version of InfPop cannot parse the status.
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
                view.announce(f"Retrying: {error}")
            is_silent = True


def to_study_page(body: Body, now: datetime) -> StatusPage:
    """Return the page of a study object from the API server.

    Raises:
        UnreadableError: this version of InfPop cannot parse the status.
    """
    study = parse_study_object(body)
    return to_page(study, on_cluster(study.namespace), now)


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the edge: from here on the time is an argument
