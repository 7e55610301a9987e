"""A clock that runs faster than the wall's, and may change its speed: a day in minutes.

What it says is a function of the wall's time and of a file, so that processes which read the same file agree, and a
time that the API server wrote can be told in fast time as well.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple


class _Stretch(NamedTuple):
    """From the wall's time `wall` on, when it was `simulated`, time passes `speed` times as fast."""

    wall: datetime
    simulated: datetime
    speed: float


class FastClock:
    """The clock of the file `path`; `set_speed` starts it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0
        self._stretches: list[_Stretch] = []

    def set_speed(self, speed: float) -> None:
        """Run at this speed from now on; the first time, from the wall's time on."""
        wall = datetime.now(UTC)  # noqa: TID251 - the edge
        simulated = self.to_simulated(wall) if self._path.exists() else wall
        line = {"wall": wall.isoformat(), "simulated": simulated.isoformat(), "speed": speed}
        with self._path.open("a") as stream:
            stream.write(f"{json.dumps(line)}\n")

    @property
    def speed(self) -> float:
        """The speed that was set last."""
        return self._read()[-1].speed

    def now(self) -> datetime:
        """Return the fast time."""
        return self.to_simulated(datetime.now(UTC))  # noqa: TID251 - the edge

    def to_simulated(self, wall: datetime) -> datetime:
        """Return what this clock showed, or will show, at a time of the wall's."""
        stretches = self._read()
        stretch = next((each for each in reversed(stretches) if each.wall <= wall), stretches[0])
        return stretch.simulated + (wall - stretch.wall) * stretch.speed

    def elapsed(self) -> timedelta:
        """Return how much fast time has passed since the start."""
        return self.now() - self._read()[0].simulated

    def _read(self) -> list[_Stretch]:
        size = self._path.stat().st_size
        if size != self._size:
            lines = [json.loads(line) for line in self._path.read_text().splitlines()]
            self._stretches = [
                _Stretch(datetime.fromisoformat(each["wall"]), datetime.fromisoformat(each["simulated"]), each["speed"])
                for each in lines
            ]
            self._size = size
        return self._stretches
