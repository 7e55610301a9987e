"""The view of a study's progress while it is tuned or watched: a picture on a terminal, plain lines elsewhere."""

from datetime import datetime
from typing import Protocol

from rich.console import Console
from rich.text import Text

from infpop_operator.report.live import LiveView
from infpop_operator.report.plain_view import PlainView
from infpop_operator.report.status_page import StatusPage


class ProgressView(Protocol):
    """Shows the progress of a study to its user."""

    def show(self, page: StatusPage, now: datetime) -> None:
        """Show the current state of the study; called up to several times a second."""
        ...

    def announce(self, text: str) -> None:
        """Write a line immediately that is not part of the study's progress."""
        ...

    def close(self) -> None:
        """Release the terminal."""
        ...


def progress_view(console: Console) -> ProgressView:
    """Return the view that suits the output of `console`."""
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveView(console)
    return PlainView(lambda line: console.print(Text(line), soft_wrap=True))
