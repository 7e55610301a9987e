"""A store that keeps a study in memory only: for tests, and to replay a search."""

from datetime import datetime

from infpop_operator.adapters.journal import Header, fold
from infpop_operator.core.history_diff import Entry
from infpop_operator.core.model import History


class MemoryStore:
    """Holds the history of one study; `entries` are the steps in the order in which they were recorded."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._started_at: datetime | None = None

    def load(self, now: datetime) -> History:
        """Return the recorded history; for a new study, an empty history that started at `now`."""
        if self._started_at is None:
            self._started_at = now
        header = Header(namespace="", study="memory", started_at=self._started_at)
        return fold(header, tuple(self.entries))

    def record(self, entry: Entry) -> None:
        """Record one step."""
        self.entries.append(entry)
