"""Every metrics source keeps the contract of its port."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from typing import get_args

import httpx
import pytest

from adapters.kube.api_server import api_server
from adapters.prometheus.api import RUN as WATCHED
from adapters.prometheus.api import Clock, failure, prometheus_api, series, throughputs
from factories.kube_objects import OWNER, at, make_job, make_running
from factories.study_documents import make_study_document
from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.prometheus import PrometheusMetrics
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.run_probes import RunProbes
from infpop_operator.cluster.study_memory import StudyMemories
from infpop_operator.core.model import Sample, Value, WatchedRun
from infpop_operator.core.ports import MetricsSource
from infpop_operator.settings import PrometheusSettings, SourceName

Shown = Mapping[str, str] | None  # values by trial as a runner shows them; None: the endpoint does not answer
Use = Callable[[Shown, str], tuple[str, Mapping[int, Sample]]]
THROUGHPUT = "infpop_trial_throughput_tokens_per_second"


class Once(httpx.AsyncByteStream):
    """A body that has not been read yet."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield it immediately."""
        yield self._text.encode()


async def pod_metrics(shown: Shown, run: str, stack: AsyncExitStack) -> MetricsSource:
    """Return a source that has probed the run's Pod, where these values were shown."""
    owner = f'namespace="{WATCHED.namespace}",study="{WATCHED.study}",run="{run}"'
    lines = [f'infpop_run_state{{{owner},state="measuring"}} 1']
    lines += [f'{THROUGHPUT}{{{owner},trial="{trial}"}} {value}' for trial, value in (shown or {}).items()]

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(500 if shown is None else 200, stream=Once("\n".join([*lines, ""])))

    server = await stack.enter_async_context(api_server())
    client = await stack.enter_async_context(KubeClient(server.connection()))
    http = await stack.enter_async_context(httpx.AsyncClient(transport=httpx.MockTransport(answer)))
    cache = Cache()
    body = make_study_document(OWNER.name, OWNER.namespace)
    body["metadata"] |= {"uid": OWNER.uid, "resourceVersion": "1"}
    cache.see_study(body)
    cache.see_job(make_job())
    cache.see_pod(make_running(name=WATCHED.pod, ip="10.0.0.7", metrics_port=9400))
    probes = RunProbes(client, http, cache, StudyMemories())
    await probes.probe([StudyKey(OWNER.namespace, OWNER.name)], at(100))
    return probes


async def prometheus(shown: Shown, run: str, stack: AsyncExitStack) -> MetricsSource:
    """Return a source that queries a Prometheus which has scraped these values and returns them for any query."""
    api = await stack.enter_async_context(prometheus_api())
    scraped = [series((60, value), trial=trial, run=run) for trial, value in (shown or {}).items()]
    api.answers = [failure(503) if shown is None else throughputs(*scraped)]
    clock = Clock(WATCHED.ended_at + timedelta(hours=1))
    source = PrometheusMetrics(PrometheusSettings(url=api.url), now=clock.now, count=lambda _: None, pace=clock.pace)
    return await stack.enter_async_context(source)


@pytest.fixture(params=[pod_metrics, prometheus])
def use(request: pytest.FixtureRequest) -> Use:
    """Return a function that asks the source under test about `WATCHED`: the source's name, and its samples."""

    async def ask(shown: Shown, run: str) -> tuple[str, Mapping[int, Sample]]:
        async with AsyncExitStack() as stack:
            source: MetricsSource = await request.param(shown, run, stack)
            watched: WatchedRun = replace(WATCHED, trials=(0, 1))
            return source.name, await source.samples(watched)

    return lambda shown, run: asyncio.run(ask(shown, run))


def numbers(samples: Mapping[int, Sample]) -> dict[int, float]:
    """Return the numbers that exist."""
    return {index: sample.tokens_per_second for index, sample in samples.items() if isinstance(sample, Value)}


def test_a_source_returns_the_numbers_of_its_run(use: Use) -> None:
    """Each trial's number is exact to the last digit, and the settings know the source's name."""
    name, samples = use({"0": "1234.5678", "1": "1e-3"}, WATCHED.run)
    assert numbers(samples) == {0: 1234.5678, 1: 0.001}
    assert name in get_args(SourceName)


def test_what_was_not_seen_has_no_number(use: Use) -> None:
    """A trial whose number came too late to be observed does not affect the other trials."""
    assert numbers(use({"0": "5"}, WATCHED.run)[1]) == {0: 5.0}


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "0", "-0.0", "-5"])
def test_what_is_not_a_throughput_has_no_number(use: Use, value: str) -> None:
    """This covers NaN, infinity, zero and negative values."""
    samples = use({"0": value, "1": "5"}, WATCHED.run)[1]
    assert numbers(samples) == {1: 5.0}
    assert 0 in samples


def test_an_outage_is_neither_a_number_nor_an_error(use: Use) -> None:
    """Without an answer there is nothing to compare, and nothing breaks."""
    assert numbers(use(None, WATCHED.run)[1]) == {}


def test_the_numbers_of_another_run_are_not_this_ones(use: Use) -> None:
    """This holds for whatever the address or the database has under another name."""
    assert numbers(use({"0": "5"}, "study-2")[1]) == {}
