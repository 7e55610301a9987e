"""The view that redraws a study's progress in place on a terminal."""

from datetime import datetime

from rich.console import Console
from rich.live import Live
from rich.text import Text

from infpop_operator.report.rendering import render_live
from infpop_operator.report.status_page import StatusPage


class LiveView:
    """Redraws the picture of the newest page in place on `console`, and erases it on `close`."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def show(self, page: StatusPage, now: datetime) -> None:  # noqa: ARG002 - the picture contains its times
        """Draw the picture of `page`."""
        self._live.update(render_live(page.picture, self._live.console.height), refresh=True)

    def announce(self, text: str) -> None:
        """Write a line above the picture."""
        self._live.console.print(Text(text, style="yellow"))

    def close(self) -> None:
        """Erase the picture and release the terminal."""
        self._live.stop()
