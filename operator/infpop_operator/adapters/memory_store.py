"""A study's memory that is gone with the process: for tests, and to replay a search."""

from datetime import datetime

from infpop_operator.adapters.journal import Header, fold
from infpop_operator.core.history_diff import Entry
from infpop_operator.core.model import History


class MemoryStore:
    """Remembers one study as long as it lives; `entries` are the steps in the order in which they were recorded."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._started_at: datetime | None = None

    def load(self, now: datetime) -> History:
        """Return all that is remembered; an empty history that started at `now` for a new study."""
        if self._started_at is None:
            self._started_at = now
        header = Header(namespace="", study="memory", started_at=self._started_at)
        return fold(header, tuple(self.entries))

    def record(self, entry: Entry) -> None:
        """Remember one step."""
        self.entries.append(entry)
