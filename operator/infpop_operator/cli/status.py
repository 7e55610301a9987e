"""`infpop status`."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Protocol

from rich.console import Console
from rich.text import Text

from infpop_operator.adapters.kube.connection import ConnectionConfigError
from infpop_operator.adapters.kube.records import Body
from infpop_operator.adapters.kube.study_reader import NoAnswerError, ReadError, StudyReader
from infpop_operator.cli.complaint import complain
from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.cluster.shown import to_page
from infpop_operator.cluster.view import UnreadableError
from infpop_operator.report.live import LiveView
from infpop_operator.report.status_lines import StatusLines
from infpop_operator.report.status_page import Outcome, StatusPage, render_page

POLL_SECONDS = 2.0  # one GET each: cheaper than a watch that has to be kept alive, and as fast as the eye


class View(Protocol):
    """Shows a study's progress to somebody."""

    def show(self, page: StatusPage, now: datetime) -> None:
        """Show where the study is."""
        ...

    def announce(self, text: str) -> None:
        """Say something that is not the study's own progress."""
        ...

    def close(self) -> None:
        """Give the terminal back."""
        ...


def run(
    name: str, *, namespace: str | None, context: str | None, kubeconfig: str | None, watch: bool, as_json: bool
) -> ExitCode:
    """Show the study `name`, with `watch` until it ends."""
    try:
        reader = StudyReader(name, namespace=namespace, context=context, kubeconfig=kubeconfig)
        body, now = asyncio.run(_read(reader, _view(Console(stderr=as_json)) if watch else None))
        page = to_page(body, now)
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


async def _read(reader: StudyReader, view: View | None) -> tuple[Body, datetime]:
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
    view: View,
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
        page = to_page(body, now)
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


def _view(console: Console) -> View:
    if console.is_terminal and not console.is_dumb_terminal:
        return _Live(console)
    return StatusLines(lambda line: console.print(Text(line), soft_wrap=True))


class _Live:
    """The live view of local tuning, drawing what a page tells."""

    def __init__(self, console: Console) -> None:
        self._live = LiveView(console)
        self.announce = self._live.announce
        self.close = self._live.close

    def show(self, page: StatusPage, now: datetime) -> None:  # noqa: ARG002 - the picture has its times
        self._live.draw(page.picture)


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the edge: from here on the time is an argument
