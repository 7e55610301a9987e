"""Results of the dashboards' queries, computed by promtool, in cases that an undisturbed study does not have."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from charts.boards import filled, queries
from prometheus.promtool import promtool

pytestmark = pytest.mark.prometheus

CHOSEN = {"namespace": "team", "study": "s", "pool": "(a100|v100)", "__range": "1d", "__rate_interval": "4m"}
STUDY = {"namespace": "team", "study": "s"}
Series = dict[str, str]


class Check(Protocol):
    """Compares the result of a panel, named by board and title, with samples by their labels."""

    def __call__(
        self, panel: tuple[str, str], given: Sequence[Series], expected: Mapping[str, float], *, at: str
    ) -> None:
        """Compare at a time after the first minute, such as 60m."""
        ...


def series(metric: str, values: str, **labels: str) -> Series:
    """Return a series with one sample a minute, in promtool's notation."""
    named = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    return {"series": f"{metric}{{{named}}}", "values": values}


def scraped(
    run: str, address: str, *, at: int, throughput: int, state: str = "measured", pool: str = "a100"
) -> list[Series]:
    """Return the scrapes of a run's Pod from minute `at` on, for a few minutes; the Pod started in that minute."""
    of_run = {**STUDY, "pool": pool, "run": run, "gpu_count": "1", "job": "pods", "instance": address}
    of_trial = {**of_run, "trial": "0", "batch_size": "8"}
    shown = f"_x{at} {{}}x3 stale"
    return [
        series("infpop_run_start_time_seconds", shown.format(60 * at), **of_run),
        series("infpop_trial_throughput_tokens_per_second", shown.format(throughput), **of_trial),
        series("infpop_trial_state", shown.format(1), **of_trial, state=state),
    ]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Compare the result of a panel's first query with samples by their labels."""

    def compare(panel: tuple[str, str], given: Sequence[Series], expected: Mapping[str, float], *, at: str) -> None:
        text = next(query.text for query in queries(panel[0]) if query.panel == panel[1])
        samples = [{"labels": labels, "value": value} for labels, value in expected.items()]
        case = {"expr": filled(text, **CHOSEN), "eval_time": at, "exp_samples": samples}
        test = {"interval": "1m", "input_series": list(given), "promql_expr_test": [case]}
        file = tmp_path / "test.json"
        file.write_text(json.dumps({"tests": [test]}))
        done = promtool("test", "rules", str(file))
        assert done.returncode == 0, done.stdout + done.stderr

    return compare


def cell(pool: str) -> str:
    """Return the labels of the only measured configuration here."""
    return f'{{batch_size="8", gpu_count="1", pool="{pool}"}}'


def test_a_configuration_shows_its_newest_run(check: Check) -> None:
    """It is neither the fastest run nor the one scraped longest; each pool has its own, long after all runs ended."""
    given = [
        *scraped("s-1", "10.0.0.1:9400", at=1, throughput=100),
        *scraped("s-2", "10.0.0.2:9400", at=20, throughput=70),
        *scraped("s-3", "10.0.0.3:9400", at=10, throughput=40, pool="v100"),
    ]
    check(("study", "Landscape of $pool"), given, {cell("a100"): 70, cell("v100"): 40}, at="60m")
    check(("study", "Landscape of $pool"), given, {cell("a100"): 100, cell("v100"): 40}, at="15m")


def test_a_landscape_is_shown_however_old_it_is(check: Check) -> None:
    """What the operator has in the status comes first; scraped runs add what the status has no number of."""
    name, place = "infpop_study_cell_throughput_tokens_per_second", {"gpu_count": "1", "batch_size": "8"}
    days = 3 * 24 * 60
    given = [
        *scraped("s-1", "10.0.0.1:9400", at=1, throughput=100),
        *scraped("s-3", "10.0.0.3:9400", at=days - 10, throughput=40, pool="v100"),
        series(name, f"101x{days}", **STUDY, pool="a100", **place, instance="a"),
        series(name, f"101x{days}", **STUDY, pool="a100", **place, instance="a", job="once-more"),
    ]
    check(("study", "Landscape of $pool"), given, {cell("a100"): 101, cell("v100"): 40}, at=f"{days}m")


def test_every_study_is_a_row_with_its_model(check: Check) -> None:
    """Its state is the newest one, and each pool is listed with its GPU model."""
    about, pool = {**STUDY, "model": "m", "engine": "vllm"}, {**STUDY, "pool": "a100"}
    given = [
        series("infpop_study_info", "1x20 stale", **about, state="reconciling"),
        series("infpop_study_info", "_x20 1x60", **about, state="succeeded"),
        series("infpop_study_pool_info", "1x60", **pool, gpu="A100"),
        series("infpop_study_pool_info", "1x60", **pool, gpu="A100", job="once-more"),
    ]
    row = '{engine="vllm", model="m", namespace="team", state="succeeded", study="s"}'
    check(("studies", "Studies"), given, {row: 1}, at="60m")
    tuned = '{engine="vllm", gpu="A100", model="m", namespace="team", pool="a100", study="s"}'
    check(("study", "What is tuned"), given, {tuned: 1}, at="60m")


def test_a_run_that_is_scraped_twice_counts_once(check: Check) -> None:
    """Scraped by annotation and by a PodMonitor, a run has the same numbers under two jobs."""
    once = scraped("s-1", "10.0.0.1:9400", at=1, throughput=100)
    twice = [{**each, "series": each["series"].replace('job="pods"', 'job="podmonitor"')} for each in once]
    check(("study", "Landscape of $pool"), [*once, *twice], {cell("a100"): 100}, at="60m")


def test_a_replaced_pod_counts_no_more(check: Check) -> None:
    """A preempted run restarts in another Pod: values of the first are neither mixed in nor shown as a row."""
    given = [
        *scraped("s-1", "10.0.0.1:9400", at=1, throughput=10, state="measuring"),
        *scraped("s-1", "10.0.0.2:9400", at=9, throughput=100),
    ]
    check(("study", "Landscape of $pool"), given, {cell("a100"): 100}, at="60m")
    row = '{batch_size="8", gpu_count="1", pool="a100", run="s-1", state="measured", trial="0"}'
    check(("study", "Trials"), given, {row: 1}, at="60m")


def test_an_operator_that_was_started_again_counts_once(check: Check) -> None:
    """Its counters are neither lost nor doubled, and no values are invented while it is down."""
    pool = {**STUDY, "pool": "a100"}
    given = [
        series("infpop_study_gpu_seconds_total", "7200x10 stale", **pool, instance="a"),
        series("infpop_study_gpu_seconds_total", "_x14 7200x60", **pool, instance="b"),
        series("infpop_study_gpu_seconds_total", "_x14 7200x60", **pool, instance="b", job="once-more"),
        series("infpop_operator_queue_depth", "0x10 stale", instance="a"),
        series("infpop_operator_queue_depth", "_x14 0x60", instance="b"),
    ]
    check(("operator", "GPU-hours"), given, {"{}": 2}, at="60m")
    check(("operator", "GPU-hours"), given, {}, at="12m")
    check(("operator", "Operators"), given, {"{}": 0}, at="12m")
    check(("operator", "Errors"), given, {}, at="12m")
    check(("operator", "Errors"), given, {"{}": 0}, at="60m")


def test_each_round_of_a_pool_is_a_row(check: Check) -> None:
    """Rounds that ended keep theirs, and an operator that is scraped twice doubles none."""
    metric, pool = "infpop_study_round_best_throughput_tokens_per_second", {**STUDY, "pool": "a100", "instance": "a"}
    given = [
        series(metric, "100x60", **pool, round="1"),
        series(metric, "_x20 300x60", **pool, round="2"),
        series(metric, "_x20 300x60", **pool, round="2", job="once-more"),
    ]
    expected = {'{pool="a100", round="1"}': 100, '{pool="a100", round="2"}': 300}
    check(("study", "Rounds"), given, expected, at="60m")


def test_a_stale_result_is_shown_with_its_age(check: Check) -> None:
    """A current result has no series, so the panel says that it is current."""
    given = [series("infpop_study_result_stale_seconds", "0+60x30 stale", **STUDY)]
    check(("study", "Result stale for"), given, {"{}": 600}, at="10m")
    check(("study", "Result stale for"), given, {}, at="40m")
