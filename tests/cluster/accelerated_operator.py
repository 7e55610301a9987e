"""An operator whose studies live by a fast clock.

Fast are the operator's clock, so all time limits, pauses and back-offs of studies, and the times that it reads of Jobs
and Pods. The wall's are kopf, HTTP, the work queue's back-off, and the intervals of tick and resync, which the
environment sets. How long the Job controller may take for a Pod is the wall's too, for it is a real one.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from cluster.fast_clock import FastClock
from infpop_operator.adapters.kube import record_parsing
from infpop_operator.adapters.kube.connection import FindConnection
from infpop_operator.adapters.kube.pod_metrics import build_client
from infpop_operator.cluster import run_probes
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.service import Service
from infpop_operator.handlers import operator
from infpop_operator.settings import Settings

_open_service = operator.open_service


def accelerate(clock: FastClock) -> None:
    """Have the operator that is about to run live by `clock`."""

    @asynccontextmanager
    async def open_service(settings: Settings, find: FindConnection) -> AsyncIterator[Service]:
        async with _open_service(settings, find) as usual, build_client() as http:
            service = Service(
                usual._client,
                http,
                settings,
                metrics=usual.metrics,
                clock=clock.now,
                monotonic=time.monotonic,
            )
            work = service.queue._work

            async def hurried(key: StudyKey) -> float | None:
                again_s = await work(key)
                return None if again_s is None else again_s / clock.speed

            service.queue._work = hurried
            yield service

    def read_time(text: str) -> datetime:
        return clock.to_simulated(datetime.fromisoformat(text))

    operator.open_service = open_service
    record_parsing._required_time = read_time
    run_probes._PATIENCE *= clock.speed
