"""How long each stage of the whole thing took, for the summary at the end of the tests."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stages:
    """Notes wall times, in the order in which stages ended."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        """Note a line as it is."""
        self.lines.append(line)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note how long the block took, whether it ended well or not."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.note(f"{name}: {time.perf_counter() - start:.1f} s")
