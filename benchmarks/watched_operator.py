"""An operator that also records the depth of its work queue.

Once a second it adds a line to a file: the time, the greatest depth and the reconciles since the line before, and the
active studies. Nothing else is changed.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from infpop_operator.adapters.kube.connection import FindConnection
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.service import Service
from infpop_operator.handlers import operator
from infpop_operator.settings import Settings

_open_service = operator.open_service


def watch_queue(path: Path) -> None:
    """Make the operator that will run in this process record its queue in this file."""

    @asynccontextmanager
    async def open_watched_service(settings: Settings, find: FindConnection) -> AsyncIterator[Service]:
        async with _open_service(settings, find) as service:
            watching = asyncio.create_task(_watch(service, path))
            try:
                yield service
            finally:
                watching.cancel()

    operator.open_service = open_watched_service


async def _watch(service: Service, path: Path) -> None:
    peak = passes = 0
    work, mark = service.queue._work, service.queue.mark

    async def counting(key: StudyKey) -> float | None:
        nonlocal passes
        passes += 1
        return await work(key)

    def marking(key: StudyKey, *, after_s: float = 0.0) -> None:
        nonlocal peak
        mark(key, after_s=after_s)
        peak = max(peak, service.queue.depth)

    service.queue._work = counting
    service.queue.mark = marking  # type: ignore[method-assign]
    while True:
        await asyncio.sleep(1.0)
        now = datetime.now(UTC).isoformat()  # noqa: TID251 - the edge
        unfinished = len(service._reconciler.unfinished())
        line = {"at": now, "peak": peak, "passes": passes, "unfinished": unfinished}
        peak, passes = service.queue.depth, 0
        with path.open("a") as stream:
            stream.write(f"{json.dumps(line)}\n")
