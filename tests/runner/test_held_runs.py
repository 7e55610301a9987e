"""Runs that wait for a scrape, as real processes."""

import signal
from pathlib import Path

import pytest

from engines.specs import make_simulated_spec
from infpop_runner.contract import Measured
from runner.launch import launch

pytestmark = pytest.mark.process
HELD = make_simulated_spec(batches=(4, 8), scrape_grace_seconds=600)


def test_a_run_is_held_until_its_last_values_are_scraped(tmp_path: Path) -> None:
    """A finished run waits for Prometheus and no other client, shows its result's values, then ends immediately."""
    with launch(HELD, tmp_path) as run:
        run.wait_until(run.is_complete)
        run.metrics()
        assert run.process.poll() is None
        text = run.scrape()
        result = run.finish()
    assert result.held_seconds is not None
    assert 0 <= result.held_seconds < 600
    for trial in result.trials:
        assert isinstance(trial, Measured)
        assert f'trial="{trial.index}"}} {trial.throughput_tokens_per_second}\n' in text


def test_a_run_without_scrapes_ends_when_its_grace_is_over(tmp_path: Path) -> None:
    """A run waits no longer than its grace period, and records how long it waited."""
    spec = make_simulated_spec(scrape_grace_seconds=0.2)
    with launch(spec, tmp_path) as run:
        result = run.finish()
    assert result.held_seconds is not None
    assert result.held_seconds >= 0.2
    assert result.broken is None


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "lifeline"])
def test_a_held_run_that_is_to_stop_does_so_with_its_whole_result(tmp_path: Path, how: str) -> None:
    """A stop while a run is held removes nothing from its result, and the run ends with 0."""
    with launch(HELD, tmp_path) as run:
        run.wait_until(run.is_complete)
        if how == "lifeline":
            run.cut_lifeline()
        else:
            run.process.send_signal(signal.Signals[how])
        result = run.finish()
    assert [trial.outcome for trial in result.trials] == ["measured", "measured"]
    assert result.broken is None


def test_a_held_run_that_is_killed_has_left_its_whole_result(tmp_path: Path) -> None:
    """The result is complete before the run is held."""
    with launch(HELD, tmp_path) as run:
        run.wait_until(run.is_complete)
        run.process.kill()
        run.process.wait()
        result = run.result()
    assert result is not None
    assert [trial.outcome for trial in result.trials] == ["measured", "measured"]
    assert (result.broken, result.held_seconds) == (None, None)
