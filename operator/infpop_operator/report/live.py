"""A study's progress on a terminal, redrawn in place."""

from datetime import datetime

from rich.console import Console
from rich.live import Live
from rich.text import Text

from infpop_operator.report.rendering import render_live
from infpop_operator.report.status_page import StatusPage


class LiveView:
    """Redraws the newest page's picture in place on `console` until it is closed, and leaves nothing behind."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def show(self, page: StatusPage, now: datetime) -> None:  # noqa: ARG002 - the picture has its times
        """Draw the picture of `page`."""
        self._live.update(render_live(page.picture), refresh=True)

    def announce(self, text: str) -> None:
        """Write a line above the picture."""
        self._live.console.print(Text(text, style="yellow"))

    def close(self) -> None:
        """Remove the picture and give the terminal back."""
        self._live.stop()
