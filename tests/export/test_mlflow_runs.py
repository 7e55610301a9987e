"""Runs of MLflow: each trial once, under its round, and again only when it has changed."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # noqa: TID251 - before mlflow is imported, as the command does

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.validation import _validate_metric_name, _validate_param, _validate_tag

from export.trials import FAILED, MEASURED, ROWS
from infpop_operator.adapters.mlflow_tracking import log_rounds
from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.core.errors import ExportError
from infpop_operator.core.landscape import CellState
from infpop_operator.export.mlflow_runs import to_tracked_rounds

ORIGIN = "/home/user/infpop-results/codellama-7b"
SECOND = replace(MEASURED, trial=6, batch_size=128, is_best=False)


def log(directory: Path, *rows: TrialResultRow) -> Counter[str]:
    """Log the trials to files."""
    return log_rounds(to_tracked_rounds(rows, ORIGIN), directory)


def runs_in(directory: Path, experiment: str) -> dict[str, Run]:
    """Return the runs of an experiment by name, read by MLflow."""
    client = MlflowClient(tracking_uri=directory.as_uri())
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    named = {run.info.run_name: run for run in runs}
    assert len(named) == len(runs)
    return named


def test_a_trial_is_logged_once_under_its_round(tmp_path: Path) -> None:
    """A second export adds nothing; a trial that has changed replaces its run, and a new one joins the same round."""
    assert log(tmp_path, MEASURED, FAILED) == {"added": 2, "replaced": 0, "unchanged": 0}
    assert log(tmp_path, MEASURED, FAILED) == {"added": 0, "replaced": 0, "unchanged": 2}
    confirmed = replace(MEASURED, throughput_tokens_per_second=1000.0)
    assert log(tmp_path, confirmed, SECOND) == {"added": 1, "replaced": 1, "unchanged": 0}
    runs = runs_in(tmp_path, "codellama-7b")
    parent = runs.pop("a100 round 2: codellama/CodeLlama-7b-hf on vllm")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert runs.keys() == {"4 GPUs, batch size 64", "4 GPUs, batch size 128"}
    assert runs["4 GPUs, batch size 64"].data.metrics["throughput_tokens_per_second"] == 1000.0
    failed = runs_in(tmp_path, "landscapes")["1 GPU, batch size 512"]
    assert (failed.info.status, failed.data.tags["infpop.reason"]) == ("FAILED", "GpuOutOfMemory")
    assert failed.data.metrics == {}


def test_a_run_has_what_was_tried_measured_and_known(tmp_path: Path) -> None:
    """Parameters are the configuration, metrics the numbers, tags the rest, and the times are those of the trial."""
    log(tmp_path, MEASURED)
    run = runs_in(tmp_path, "codellama-7b")["4 GPUs, batch size 64"]
    assert {"gpu_count": "4", "batch_size": "64", "extra.kv_cache_dtype": "fp8"}.items() <= run.data.params.items()
    assert run.data.params["extra.enforce_eager"] == "true"
    numbers = {"throughput_tokens_per_second": 1234.5, "interval_low_tokens_per_second": 1200.25, "metric.cpuUsage": 0}
    assert numbers.items() <= run.data.metrics.items()
    tags = {"infpop.state": "Measured", "infpop.simulated": "true", "infpop.started_at": "2026-01-02T03:04:05.678901Z"}
    assert tags.items() <= run.data.tags.items()
    assert (run.info.start_time, run.info.end_time) == (1767323045678, 1767323225678)
    (throughput,) = MlflowClient(tmp_path.as_uri()).get_metric_history(run.info.run_id, "throughput_tokens_per_second")
    assert throughput.timestamp == run.info.end_time


def test_half_of_a_run_is_logged_again(tmp_path: Path) -> None:
    """After a crash in between, the next export replaces the run that has no hash of its content yet."""
    log(tmp_path, MEASURED)
    client = MlflowClient(tracking_uri=tmp_path.as_uri())
    client.delete_tag(runs_in(tmp_path, "codellama-7b")["4 GPUs, batch size 64"].info.run_id, "infpop.content")
    assert log(tmp_path, MEASURED)["replaced"] == 1


def test_a_trial_that_has_not_ended_waits_for_a_later_export() -> None:
    """A parameter cannot be changed once it is logged, so only what has ended is logged."""
    waiting = [replace(FAILED, state=state) for state in (CellState.RUNNING, CellState.UNTRIED, CellState.RULED_OUT)]
    assert to_tracked_rounds(waiting, ORIGIN) == ()


def test_names_and_values_keep_the_limits_of_mlflow() -> None:
    """A name has no character that would lead elsewhere as a file, and a long text is cut."""
    row = replace(MEASURED, detail="d" * 9000, extra={"a/../b": "v" * 9000})
    (run,) = to_tracked_rounds([row], ORIGIN)[0].runs
    assert run.parameters["extra.a_.._b"] == "v" * 5000
    assert run.tags["infpop.detail"] == "d" * 5000


def test_a_newer_version_logs_nothing_again() -> None:
    """Which InfPop exports a trial is no part of it."""
    (run,) = to_tracked_rounds([MEASURED], ORIGIN)[0].runs
    assert "infpop.infpop_version" not in run.tags


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(ROWS, max_size=3))
def test_mlflow_accepts_every_name_and_value(rows: list[TrialResultRow]) -> None:
    """Whatever a study has for text, its runs keep MLflow's limits."""
    for each in to_tracked_rounds(rows, ORIGIN):
        for run in each.runs:
            for name, value in run.parameters.items():
                _validate_param(name, value)
            for name, value in (run.tags | each.tags).items():
                _validate_tag(name, value)
            for name in run.metrics:
                _validate_metric_name(name)


def test_a_database_is_refused_with_what_works() -> None:
    """The small package writes no database; the message says what to use instead."""
    with pytest.raises(
        ExportError, match=r"MLflow: sqlite:///a.db: .* Use --output DIR for files, or the http address"
    ):
        log_rounds(to_tracked_rounds([MEASURED], ORIGIN), "sqlite:///a.db")
