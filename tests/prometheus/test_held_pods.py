"""Simulated Pods wait for a scrape exactly as the real runner does."""

import httpx
import pytest

from controlplane.behaviours import Breaks, Succeeds, replay
from controlplane.cluster import ControlPlane
from controlplane.waiting import wait_for
from infpop_runner.contract import Measured, decode_result
from prometheus.runs import SECONDS, Site, run_site

pytestmark = pytest.mark.cluster
LONG_SECONDS = 600.0
SCRAPE = {"X-Prometheus-Scrape-Timeout-Seconds": "10"}


def look(site: Site, **headers: str) -> str:
    """Return the metrics of the running Pod."""
    address = site.wait_for_pod("Running")["status"]["podIP"]
    return httpx.get(f"http://{address}:9400/metrics", headers=headers, trust_env=False, timeout=SECONDS).text


def wait_until_done(site: Site) -> None:
    """Read, without scraping, until no trial is being measured."""

    def done() -> bool:
        lines = [line for line in look(site).splitlines() if 'state="done"' in line]
        return any(line.endswith(" 1.0") for line in lines)

    wait_for(done, seconds=SECONDS, what="the end of the measuring")


def test_only_a_scrape_ends_the_wait(control_plane: ControlPlane, namespace: str) -> None:
    """A client without a scrape's header, such as the operator, does not end the wait."""
    with run_site(control_plane, namespace, replay(lambda _gpus, batch: float(batch))) as site:
        site.start_run(scrape_grace_seconds=LONG_SECONDS)
        wait_until_done(site)
        assert site.wait_for_pod("Running")
        look(site, **SCRAPE)
        result = site.wait_for_result()
    assert result.held_seconds is not None
    assert 0 < result.held_seconds < LONG_SECONDS


def test_a_scrape_before_the_last_value_ends_nothing(control_plane: ControlPlane, namespace: str) -> None:
    """A scrape during measurement does not end the wait: the grace period passes."""
    grace = 1.5
    play = replay(lambda _gpus, batch: float(batch), trial_seconds=3.0)  # a busy machine scrapes seconds later
    with run_site(control_plane, namespace, play) as site:
        site.start_run(scrape_grace_seconds=grace)
        assert 'state="measured"} 1.0' not in look(site, **SCRAPE)
        held = site.wait_for_result().held_seconds
    assert held is not None
    assert held >= grace


@pytest.mark.parametrize("grace_seconds", [0.0, LONG_SECONDS])
def test_a_run_without_reason_to_wait_does_not(
    control_plane: ControlPlane, namespace: str, grace_seconds: float
) -> None:
    """A run without a hold or without a number is not held, and its result says so."""
    infeasible = grace_seconds > 0
    play = replay(lambda _gpus, batch: "GpuOutOfMemory" if infeasible else float(batch))
    with run_site(control_plane, namespace, play) as site:
        site.start_run(scrape_grace_seconds=grace_seconds)
        assert site.wait_for_result().held_seconds is None


def test_a_run_that_is_stopped_while_it_waits_has_lost_nothing(control_plane: ControlPlane, namespace: str) -> None:
    """It ends immediately with its complete result, which does not mention the stop."""
    with run_site(control_plane, namespace, replay(lambda _gpus, batch: float(batch))) as site:
        site.start_run(scrape_grace_seconds=LONG_SECONDS)
        wait_until_done(site)
        site.delete_pod()
        result = site.wait_for_result()
    assert result.broken is None
    assert len(result.trials) == 2
    assert result.held_seconds is not None
    assert result.held_seconds < LONG_SECONDS


def test_a_run_that_is_killed_while_it_waits_has_left_its_result(control_plane: ControlPlane, namespace: str) -> None:
    """The Pod failed, and its message still has what it measured."""
    play = Succeeds(throughput=lambda _gpus, batch: float(batch), killed_while_held=True)
    with run_site(control_plane, namespace, lambda _spec, _attempt: play) as site:
        site.start_run(scrape_grace_seconds=LONG_SECONDS)
        state = site.wait_for_pod("Failed")["status"]["containerStatuses"][0]["state"]["terminated"]
    result = decode_result(state["message"])
    assert state["exitCode"] == 137
    assert (result.broken, len(result.trials), result.ended_at is None) == (None, 2, False)


def test_a_broken_run_waits_with_the_numbers_that_it_has(control_plane: ControlPlane, namespace: str) -> None:
    """A trial that was measured before the run broke is worth a scrape."""
    play = Breaks(reason="EngineCrash", after_trials=1)
    with run_site(control_plane, namespace, lambda _spec, _attempt: play) as site:
        site.start_run(scrape_grace_seconds=LONG_SECONDS)
        wait_until_done(site)
        look(site, **SCRAPE)
        result = site.wait_for_result()
    assert result.broken is not None
    assert (len(result.trials), result.held_seconds is not None) == (1, True)


def test_windows_lie_inside_the_run(control_plane: ControlPlane, namespace: str) -> None:
    """Each trial records its window: one after another, after the load, before the end and the wait."""
    play = replay(lambda _gpus, batch: float(batch), load_seconds=0.2, trial_seconds=0.2)
    with run_site(control_plane, namespace, play) as site:
        site.start_run()
        result = site.wait_for_result()
    windows = [trial.window_seconds for trial in result.trials if isinstance(trial, Measured)]
    assert all(window is not None for window in windows)
    edges = [edge for window in windows if window is not None for edge in window]
    assert result.ended_at is not None
    assert edges == sorted(edges)
    assert edges[0] >= 0.2
    assert edges[1] - edges[0] > 0.19  # rounded to ms
    assert edges[-1] <= (result.ended_at - result.started_at).total_seconds() + 0.001
