"""How `pytest -n` distributes tests over its processes: by file, the slowest files first.

Session fixtures, such as a control plane, exist once in each process. Real engines need all cores, so their folder is
one unit of work; the tests that run next to it mostly wait.
"""

from collections import Counter
from collections.abc import Iterable

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

_TOGETHER = ("tests/engines/",)
_SLOW = ("engine", "cluster", "prometheus", "process")  # markers, slowest first


class BySlowestFile(LoadScopeScheduling):
    """Gives a process one file after another, in the order in which they were collected."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return piece_of(nodeid)


def piece_of(nodeid: str) -> str:
    """Return the unit of work to which a test belongs."""
    file = nodeid.partition("::")[0]
    return next((folder for folder in _TOGETHER if file.startswith(folder)), file)


def slowest_first(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Return the tests with those of the slowest units first; within a unit their order stays."""
    items = list(items)
    slow = {
        marker: Counter(piece_of(item.nodeid) for item in items if item.get_closest_marker(marker)) for marker in _SLOW
    }
    return sorted(items, key=lambda item: [-slow[marker][piece_of(item.nodeid)] for marker in _SLOW])
