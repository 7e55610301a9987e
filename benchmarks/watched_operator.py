"""The real operator, called as `infpop` is, that also tells how deep its work queue gets.

Once a second a line is added to the file that INFPOP_QUEUE_LOG names: the time, the greatest depth and the looks at
studies since the line before, and the studies under way. Nothing else is changed.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from infpop_operator.cli.main import main
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.service import Service
from infpop_operator.handlers import operator
from infpop_operator.handlers.login import FindConnection
from infpop_operator.settings import Settings

QUEUE_LOG = "INFPOP_QUEUE_LOG"
_open_service = operator.open_service


@asynccontextmanager
async def open_watched_service(settings: Settings, find: FindConnection) -> AsyncIterator[Service]:
    """Open the service, and watch its queue while it is open."""
    async with _open_service(settings, find) as service:
        watching = asyncio.create_task(_watch(service, Path(os.environ[QUEUE_LOG])))  # noqa: TID251 - the edge
        try:
            yield service
        finally:
            watching.cancel()


async def _watch(service: Service, path: Path) -> None:
    looks = 0
    work = service.queue._work

    async def counting(key: StudyKey) -> float | None:
        nonlocal looks
        looks += 1
        return await work(key)

    service.queue._work = counting
    while True:
        await asyncio.sleep(1.0)
        now = datetime.now(UTC).isoformat()  # noqa: TID251 - the edge
        unfinished = len(service._reconciler.unfinished())
        line = {"at": now, "peak": service.queue.peak_depth, "looks": looks, "unfinished": unfinished}
        service.queue.peak_depth, looks = service.queue.depth, 0
        with path.open("a") as stream:
            stream.write(f"{json.dumps(line)}\n")


if __name__ == "__main__":
    operator.open_service = open_watched_service
    sys.exit(main())
