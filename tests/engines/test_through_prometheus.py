"""A real engine's numbers as the operator receives them: scraped by a real Prometheus, and queried."""

import asyncio
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import pytest

from engines.specs import make_run_spec
from infpop_operator.adapters.prometheus import PrometheusMetrics
from infpop_operator.core.model import Finished, WatchedRun
from infpop_operator.core.sources import merge_sources
from infpop_operator.settings import PrometheusSettings
from infpop_runner.contract import Measured, RunResult
from prometheus.discovery import static_targets
from prometheus.server import PrometheusServer
from runner.launch import launch

TINY_MODEL = "infpop_runner.engines.tiny_model"  # loads torch, so not at module level
BATCHES = (2, 8)


def watched(result: RunResult) -> WatchedRun:
    """Return the run as its operator would ask about it."""
    assert result.ended_at is not None
    return WatchedRun(
        namespace="serving",
        study="study",
        run=result.run,
        pod=None,
        started_at=result.started_at,
        ended_at=datetime.now(UTC),  # noqa: TID251 - when the process ended
        trials=tuple(range(len(BATCHES))),
    )


@pytest.mark.engine
@pytest.mark.prometheus
def test_numbers_of_vllm_come_through_prometheus(tmp_path: Path) -> None:
    """For every trial, Prometheus scraped and the operator's source accepts what vLLM measured."""
    import_module(TINY_MODEL).write_tiny_model(tmp_path / "tiny")
    spec = make_run_spec(
        batches=BATCHES, namespace="serving", model={"name": str(tmp_path / "tiny")}, scrape_grace_seconds=60
    )
    with launch(spec, tmp_path) as run:
        run.wait_until(lambda: run.port() is not None)
        job = static_targets("runner", f"127.0.0.1:{run.port()}")
        with PrometheusServer(tmp_path / "prometheus", [job]) as prometheus:
            result = run.finish()

            async def ask() -> Finished:
                settings = PrometheusSettings(url=prometheus.url)
                async with PrometheusMetrics(settings, now=lambda: datetime.now(UTC), count=lambda _: None) as source:  # noqa: TID251 - as above
                    assert result.ended_at is not None
                    finished = Finished(result=result, ended_at=result.ended_at)
                    return merge_sources(finished, [(source.name, await source.samples(watched(result)))])

            gathered = asyncio.run(ask())
    assert gathered.sources == dict.fromkeys(range(len(BATCHES)), "Prometheus")
    assert gathered.missing_sources == {}
    for own, through in zip(result.trials, gathered.result.trials, strict=True):
        assert isinstance(own, Measured)
        assert isinstance(through, Measured)
        assert through.throughput_tokens_per_second == pytest.approx(own.throughput_tokens_per_second, rel=1e-3)
    assert result.held_seconds is not None
    assert result.held_seconds < 60
