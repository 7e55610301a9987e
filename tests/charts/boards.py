"""The chart's dashboards and their content."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "charts" / "infpop" / "dashboards"
RULES = ROOT / "charts" / "infpop" / "rules" / "infpop.yaml"
Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query of one panel, as Grafana sends it after filling in the variables."""

    board: str
    panel: str
    ref: str
    text: str
    instant: bool

    @property
    def name(self) -> str:
        """The name of a test of this query."""
        return f"{self.board}: {self.panel}: {self.ref}"


def load(board: str) -> Document:
    """Return a dashboard as JSON."""
    document: Document = json.loads((FOLDER / f"{board}.json").read_text())
    return document


def panels(board: Document) -> list[Document]:
    """Return the panels of a dashboard that show data."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries(board: str) -> Iterator[Query]:
    """Yield every query of a dashboard."""
    for panel in panels(load(board)):
        for target in panel["targets"]:
            yield Query(
                board=board,
                panel=panel["title"],
                ref=target["refId"],
                text=target["expr"],
                instant=target["instant"],
            )


def filled(text: str, **values: str) -> str:
    """Return a query with Grafana's variables replaced, as `study` or `__range`.

    Raises:
        KeyError: the query has a variable without a value.
    """
    return re.sub(r"\$([a-z_]\w*)", lambda match: values[match[1]], text)
