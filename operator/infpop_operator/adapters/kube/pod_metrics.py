"""Scrape the Pod of a run for its phase and its throughputs so far, from the runner's own `/metrics`.

A value is accepted only if it is finite, positive and labelled with this run: another Pod may have got the address.
Any other value is `Missing` with a reason. Nothing raises, no scrape takes longer than two seconds, and the size of a
response is limited: the user who chose the image also controls the response.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from infpop_operator.adapters.kube.records import PodRecord
from infpop_operator.adapters.limited_response import read_limited
from infpop_operator.adapters.runner_metrics import MetricSample, parse_samples, to_index, to_running
from infpop_operator.core.model import Missing, Running, Sample, Value

TIMEOUT_S = 2.0
_CONNECTIONS = 32
_MOST_BYTES = 256 * 1024  # eight trials with their histograms are about 40 kB
_THROUGHPUT = "infpop_trial_throughput_tokens_per_second"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSample:
    """The result of one scrape of a Pod: its phase, and throughput by trial index; empty if it did not answer."""

    phase: Running | None = None
    throughput: Mapping[int, Sample] = field(default_factory=dict)


def build_client() -> httpx.AsyncClient:
    """Return a client for `scrape_pod`: no proxy, no redirects, a short time-out. The caller closes it."""
    limits = httpx.Limits(max_connections=_CONNECTIONS)
    return httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False, limits=limits)


async def scrape_pod(client: httpx.AsyncClient, pod: PodRecord, run: str) -> PodSample:
    """Return the phase and throughputs that the Pod of `run` reports now."""
    if pod.ip is None or pod.metrics_port is None:
        return PodSample()
    host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
    try:
        async with asyncio.timeout(TIMEOUT_S):
            text = await _read(client, f"http://{host}:{pod.metrics_port}/metrics")
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError):
        return PodSample()
    if text is None:
        return PodSample()
    return to_pod_sample(text, namespace=pod.namespace, study=pod.study, run=run)


def to_pod_sample(text: str, *, namespace: str, study: str | None, run: str) -> PodSample:
    """Return the phase and throughputs of this run from the metrics in `text`."""
    owner = {"namespace": namespace, "study": study, "run": run}
    samples = tuple(parse_samples(text))
    own = tuple(sample for sample in samples if owner.items() <= sample.labels.items())
    foreign = tuple(sample for sample in samples if not owner.items() <= sample.labels.items())
    throughput: dict[int, Sample] = dict.fromkeys(_by_trial(foreign), Missing(reason="OtherRun"))
    throughput |= {index: _to_sample(values) for index, values in _by_trial(own).items()}
    return PodSample(phase=to_running(own), throughput=throughput)


async def _read(client: httpx.AsyncClient, url: str) -> str | None:
    """Return the text at `url`; None if the response is an error, compressed, or longer than any runner's."""
    async with client.stream("GET", url, headers={"Accept-Encoding": "identity"}, timeout=TIMEOUT_S) as response:
        content = await read_limited(response, _MOST_BYTES) if response.is_success else None
    return None if content is None else content.decode("utf-8", errors="replace")


def _by_trial(samples: Sequence[MetricSample]) -> dict[int, set[float]]:
    found: dict[int, set[float]] = {}
    for sample in samples:
        index = to_index(sample.labels.get("trial")) if sample.name == _THROUGHPUT else None
        if index is not None:
            found.setdefault(index, set()).add(sample.value)
    return found


def _to_sample(values: set[float]) -> Sample:
    if len(values) > 1:
        return Missing(reason="Ambiguous")
    (value,) = values
    if not math.isfinite(value):
        return Missing(reason="NotANumber")
    return Value(tokens_per_second=value) if value > 0 else Missing(reason="NotPositive")
