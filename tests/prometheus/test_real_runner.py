"""A real runner process, with the simulated engine, under a real Prometheus."""

from pathlib import Path

import pytest

from engines.specs import make_simulated_spec
from infpop_runner.contract import Measured
from prometheus.discovery import static_targets
from prometheus.promtool import complaints_about
from prometheus.server import PrometheusServer
from runner.launch import Launched, launch

pytestmark = [pytest.mark.process, pytest.mark.prometheus]
GRACE_SECONDS = 600.0
SPEC = make_simulated_spec(namespace="serving", batches=(4, 8), scrape_grace_seconds=GRACE_SECONDS)


def wait_until_held(run: Launched) -> None:
    """Wait until the run is finished except for the scrape that it waits for."""
    run.wait_until(lambda: run.port() is not None)
    run.wait_until(lambda: (result := run.result()) is not None and result.ended_at is not None)


def test_prometheus_has_the_numbers_of_the_result(tmp_path: Path) -> None:
    """The run is held until the server has its final values, then ends, and both have the same numbers."""
    with launch(SPEC, tmp_path) as run:
        run.wait_until(lambda: run.port() is not None)
        config = static_targets("runner", f"127.0.0.1:{run.port()}")
        with PrometheusServer(tmp_path / "prometheus", [config]) as prometheus:
            result = run.finish()
            found = prometheus.wait_for("last_over_time(infpop_trial_throughput_tokens_per_second[1h])")
    measured = [trial for trial in result.trials if isinstance(trial, Measured)]
    assert len(measured) == 2
    assert {int(each["metric"]["trial"]): float(each["value"][1]) for each in found} == {
        trial.index: pytest.approx(trial.throughput_tokens_per_second, rel=1e-9) for trial in measured
    }
    assert result.held_seconds is not None
    assert 0 < result.held_seconds < GRACE_SECONDS


def test_what_the_runner_shows_is_well_formed(tmp_path: Path) -> None:
    """`promtool check metrics` reports no problem with names, units, types and help of a finished run."""
    with launch(SPEC, tmp_path) as run:
        wait_until_held(run)
        assert complaints_about(run.metrics()) == []
