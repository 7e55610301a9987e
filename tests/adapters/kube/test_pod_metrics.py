"""A number is taken from a Pod only if it is valid and belongs to this run."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest, start_http_server

from engines.specs import make_run_spec
from factories.kube_objects import make_running
from factories.studies import make_measured
from infpop_operator.adapters.kube.pod_metrics import (
    Missing,
    PodSample,
    Sample,
    Value,
    build_client,
    scrape_pod,
    to_pod_sample,
)
from infpop_operator.core.model import Phase, Running
from infpop_runner.contract import Infeasible
from infpop_runner.metrics import RunMetrics

SPEC = make_run_spec(namespace="serving", run="study-1", batches=(4, 8, 16))


def shown() -> str:
    """Return the metrics of a runner with one trial measured, the next infeasible, and the last in progress."""
    metrics = RunMetrics(SPEC)
    metrics.enter("measuring")
    metrics.trial_ended(make_measured(12.5, index=0, batch_size=4))
    metrics.trial_ended(Infeasible(index=1, batch_size=8, reason="GpuOutOfMemory"))
    metrics.enter_trial(SPEC.trials[2], "measuring")
    return generate_latest(metrics.registry).decode()


def line(value: str, *, trial: str = "0", **changes: str) -> str:
    """Return a metrics line with a throughput."""
    labels = {"batch_size": "4", "namespace": "serving", "run": "study-1", "study": "study", "trial": trial} | changes
    inner = ",".join(f'{name}="{text}"' for name, text in labels.items())
    return f"infpop_trial_throughput_tokens_per_second{{{inner}}} {value}\n"


def read(text: str) -> PodSample:
    """Return the metrics that `text` gives for the run."""
    return to_pod_sample(text, namespace="serving", study="study", run="study-1")


def test_a_real_runner_is_read() -> None:
    """Phase, trial and throughput are read; a trial without a number has none."""
    sample = read(shown())
    assert sample == PodSample(
        phase=Running(phase=Phase.MEASURING, trial_index=2), throughput={0: Value(tokens_per_second=12.5)}
    )


@pytest.mark.parametrize(
    ("text", "sample"),
    [
        (line("NaN"), Missing(reason="NotANumber")),
        (line("+Inf"), Missing(reason="NotANumber")),
        (line("-Inf"), Missing(reason="NotANumber")),
        (line("1e999"), Missing(reason="NotANumber")),
        (line("0.0"), Missing(reason="NotPositive")),
        (line("-1"), Missing(reason="NotPositive")),
        (line("5") + line("6", batch_size="8"), Missing(reason="Ambiguous")),
        (line("5") + line("5", batch_size="8"), Value(tokens_per_second=5.0)),
        (line("5", run="study-2"), Missing(reason="OtherRun")),
        (line("5", study="other"), Missing(reason="OtherRun")),
        (line("5", namespace="other"), Missing(reason="OtherRun")),
        (line("5", run="study-2") + line("7"), Value(tokens_per_second=7.0)),
        (line("x") + line("1_0") + line("") + line("1.2.3"), None),
        (line("5", trial="-1") + line("5", trial="9" * 5000) + line("5", trial="x"), None),
        (line("5").replace("throughput", "speed"), None),
        ("", None),
        ("<html>", None),
        (line("5e1").replace("\n", " 1700000000\n"), None),
    ],
)
def test_what_is_not_a_number_of_this_run_is_missing(text: str, sample: Sample | None) -> None:
    """It is never zero, infinite or another run's."""
    assert read(text).throughput.get(0) == sample


def test_the_phase_of_another_run_is_not_ours() -> None:
    """The address may now belong to the next run's Pod."""
    sample = to_pod_sample(shown(), namespace="serving", study="study", run="study-2")
    assert sample == PodSample(throughput={0: Missing(reason="OtherRun")})


@pytest.mark.parametrize("text", ["{" + "a" * 250_000 + "} 1", "{" + "} 1" * 80_000, "{" + 'a="' * 80_000 + "} 1"])
def test_a_hostile_text_is_read_in_no_time(text: str) -> None:
    """The text comes from an image that a user chose; reading it must not block the operator."""
    assert read(f"infpop_run_state{text}").phase is None


class Body(httpx.AsyncByteStream):
    """A body that arrives in pieces, or never."""

    def __init__(self, pieces: Iterator[bytes], *, stalls: bool = False) -> None:
        self._pieces = pieces
        self._stalls = stalls

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the pieces."""
        for piece in self._pieces:
            yield piece
        if self._stalls:
            await asyncio.Event().wait()


def stream(*pieces: bytes, **more: Any) -> httpx.Response:  # noqa: ANN401 - arguments of a response
    """Return a response that has not been read yet."""
    return httpx.Response(200, stream=Body(iter(pieces)), **more)


ANSWERS: dict[int, Callable[[], httpx.Response]] = {
    9400: lambda: stream(shown().encode()),
    1: lambda: httpx.Response(500, text=shown()),
    2: lambda: httpx.Response(302, headers={"Location": "http://10.0.0.7:9400/metrics"}),
    3: lambda: httpx.Response(200, stream=Body(b"x" * 65536 for _ in range(10**9))),
    4: lambda: stream(shown().encode(), headers={"Content-Encoding": "gzip"}),
    5: lambda: stream(b"\xff\xfe"),
    6: lambda: httpx.Response(200, stream=Body(iter([b"x"]), stalls=True)),
}


def answer(request: httpx.Request) -> httpx.Response:
    """Serve a different answer on each port, only at the Pod's addresses."""
    if request.url.host not in ("10.0.0.7", "fd00::7") or request.url.port not in ANSWERS:
        raise httpx.ConnectError("refused", request=request)
    assert request.url.path == "/metrics"
    return ANSWERS[request.url.port]()


def scraped(**changes: object) -> PodSample:
    """Return the result of scraping the Pod, with these changes."""
    pod = make_running(**({"ip": "10.0.0.7", "metrics_port": 9400} | changes))

    async def scrape() -> PodSample:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            return await scrape_pod(client, pod, "study-1")

    return asyncio.run(scrape())


def test_a_real_endpoint_is_read() -> None:
    """The runner's own server is scraped over a real connection."""
    metrics = RunMetrics(SPEC)
    metrics.trial_ended(make_measured(12.5, index=0, batch_size=4))
    server, thread = start_http_server(0, addr="127.0.0.1", registry=metrics.registry)

    async def scrape() -> PodSample:
        async with build_client() as client:
            return await scrape_pod(client, make_running(ip="127.0.0.1", metrics_port=server.server_port), "study-1")

    try:
        sample = asyncio.run(scrape())
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert sample == PodSample(phase=Running(phase=Phase.LOADING), throughput={0: Value(tokens_per_second=12.5)})


@pytest.mark.parametrize("ip", ["10.0.0.7", "fd00::7"])
def test_a_pod_is_asked_at_its_own_address(ip: str) -> None:
    """This holds for IPv4 and IPv6."""
    assert scraped(ip=ip).throughput[0] == Value(tokens_per_second=12.5)


@pytest.mark.parametrize(
    "changes",
    [
        {"ip": None},
        {"metrics_port": None},
        {"metrics_port": 1},
        {"metrics_port": 2},
        {"metrics_port": 3},
        {"metrics_port": 4},
        {"metrics_port": 5},
        {"metrics_port": 6},
        {"metrics_port": 7},
        {"ip": "no address"},
    ],
)
def test_an_outage_is_never_a_number(monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]) -> None:
    """Refused, redirected, compressed, endless or slow: the values are unknown, and nothing is raised."""
    monkeypatch.setattr("infpop_operator.adapters.kube.pod_metrics.TIMEOUT_S", 0.2)
    assert scraped(**changes) == PodSample()


@pytest.mark.parametrize(("beyond", "is_read"), [(-1, True), (0, True), (1, False)])
def test_an_answer_is_read_up_to_its_longest(beyond: int, is_read: bool) -> None:  # noqa: FBT001 - both ways of it
    """A quarter of a mebibyte is more than any runner shows; one byte more is refused."""
    text = shown().encode()
    text += b"#" * (256 * 1024 + beyond - len(text))

    async def scrape() -> PodSample:
        transport = httpx.MockTransport(lambda _: stream(text[:1000], text[1000:]))
        async with httpx.AsyncClient(transport=transport) as client:
            return await scrape_pod(client, make_running(ip="10.0.0.7", metrics_port=9400), "study-1")

    assert (asyncio.run(scrape()) != PodSample()) is is_read


def test_each_trial_has_its_own_number() -> None:
    """A number belongs to its trial index, whatever its batch size."""
    text = line("5", trial="1") + line("6", trial="12") + line("7", trial="1", run="study-2") + line("8", study="x")
    expected = {1: Value(tokens_per_second=5.0), 12: Value(tokens_per_second=6.0), 0: Missing(reason="OtherRun")}
    assert read(text).throughput == expected


def test_the_client_goes_straight_to_the_pod() -> None:
    """A proxy in the operator's environment cannot reach Pods, and a redirect would lead away from them."""
    client = build_client()
    assert (client.trust_env, client.follow_redirects) == (False, False)
    assert client.timeout.read is not None
    assert not math.isinf(client.timeout.read)
    asyncio.run(client.aclose())
