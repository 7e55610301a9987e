"""What shows the progress of a study while it is tuned or watched: a picture on a terminal, lines anywhere else."""

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
        """Show where the study is; called as often as several times a second."""
        ...

    def announce(self, text: str) -> None:
        """Say something at once that is not the study's own progress."""
        ...

    def close(self) -> None:
        """Give the terminal back."""
        ...


def progress_view(console: Console) -> ProgressView:
    """Return the view that fits what `console` writes to."""
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveView(console)
    return PlainView(lambda line: console.print(Text(line), soft_wrap=True))
