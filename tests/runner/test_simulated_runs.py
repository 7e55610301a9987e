"""Whole runs of the simulated engine as real processes."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from engines.specs import make_simulated_spec
from infpop_runner.contract import Infeasible, Measured, RacedOut, RunResult, decode_result
from runner.launch import launch

pytestmark = pytest.mark.process
SLOW_REPEAT = {"repeat_seconds": 600.0}
SLOW_LOAD = {"load_seconds": 600.0}


def run_command(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "infpop_runner.main", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},  # noqa: TID251 - a test is an edge
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def numbers(result: RunResult) -> list[dict[str, object]]:
    """Return what a replay determines of each trial: everything except when it was measured."""
    return [trial.model_dump(exclude={"window_seconds"}) for trial in result.trials]


def test_the_same_spec_gives_the_same_numbers(tmp_path: Path) -> None:
    """A simulated run is a function of its spec, noise included, and is marked as simulated."""
    spec = make_simulated_spec(batches=(1, 8, 64, 512), simulation={"noise_ratio": 0.03}, seed=11)
    results = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        with launch(spec, tmp_path / name) as run:
            results.append(run.finish())
    assert numbers(results[0]) == numbers(results[1])
    assert results[0].simulated
    assert [trial.outcome for trial in results[0].trials] == ["measured", "measured", "measured", "infeasible"]
    assert results[0].broken is None


def test_another_seed_gives_other_noise(tmp_path: Path) -> None:
    """Noise depends on the seed, and stays near the landscape."""
    rates = set()
    for seed in range(3):
        (tmp_path / str(seed)).mkdir()
        with launch(make_simulated_spec(simulation={"noise_ratio": 0.02}, seed=seed), tmp_path / str(seed)) as run:
            (trial,) = run.finish().trials
        assert isinstance(trial, Measured)
        rates.add(trial.throughput_tokens_per_second)
    assert len(rates) == 3
    assert max(rates) / min(rates) < 1.2


def test_an_adaptive_run_reports_less_time_and_what_is_not_worth_it(tmp_path: Path) -> None:
    """Adaptive trials take a part of a full measurement, say how sure they are, and end early if they are too slow."""
    spec = make_simulated_spec(
        batches=(1, 8, 64),
        simulation={"noise_ratio": 0.01, "landscape": {"kind": "formula", "best_gpu_count": 1}},
        workload={"samples": 1000, "max_new_tokens": 100},
        measurement={"mode": "adaptive", "min_repeat_seconds": 10.0},
        to_beat_tokens_per_second=300.0,
    )
    with launch(spec, tmp_path) as run:
        slow, first, second = run.finish().trials
    assert isinstance(slow, RacedOut)
    assert 178 < slow.at_most_tokens_per_second < 300
    assert slow.measured_seconds < 30
    for trial, rate in ((first, 421.875), (second, 1000.0)):
        assert isinstance(trial, Measured)
        assert trial.interval_tokens_per_second is not None
        low, high = trial.interval_tokens_per_second
        assert low <= rate <= high
        assert high - low <= 0.021 * rate
        assert 20 <= trial.measured_seconds < 0.8 * 3 * 100_000 / rate


def test_climbing_stops_at_the_first_batch_that_does_not_fit(tmp_path: Path) -> None:
    """After an out-of-memory no larger batch is tried, and only the one that failed is reported."""
    spec = make_simulated_spec(batches=(32, 64, 128, 256), simulation={"landscape": {"kind": "formula"}})
    with launch(spec, tmp_path) as run:
        trials = run.finish().trials
    assert [(trial.outcome, trial.batch_size) for trial in trials] == [
        ("measured", 32),
        ("measured", 64),
        ("infeasible", 128),
    ]
    assert isinstance(trials[-1], Infeasible)
    assert trials[-1].reason == "GpuOutOfMemory"


def test_a_hole_in_a_recorded_landscape_does_not_stop_the_climb(tmp_path: Path) -> None:
    """A cell that is not recorded is infeasible alone and says nothing about larger batches."""
    path = tmp_path / "landscape.csv"
    path.write_text(
        "gpu_model,engine,model,gpu_count,batch_size,outcome,throughput_tokens_per_second\n"
        "A100,hf,Bloom,1,1,ok,37.5\nA100,hf,Bloom,1,2,infeasible,\nA100,hf,Bloom,1,8,ok,99.5\n"
    )
    landscape = {"kind": "recorded", "path": str(path), "gpu_model": "A100", "engine": "hf", "model": "Bloom"}
    with launch(make_simulated_spec(batches=(1, 2, 4, 8), simulation={"landscape": landscape}), tmp_path) as run:
        trials = run.finish().trials
    assert [trial.outcome for trial in trials] == ["measured", "infeasible", "infeasible", "measured"]
    assert isinstance(trials[0], Measured)
    assert trials[0].throughput_tokens_per_second == 37.5


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"workload": {"source": {"kind": "file", "path": "/nowhere"}}}, "WorkloadUnavailable"),
        ({"workload": {"source": {"kind": "builtin"}, "samples": 2000}}, "WorkloadUnavailable"),
    ],
)
def test_a_workload_that_is_not_there_is_broken(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    """Without prompts no trial has an outcome, and the reason is the workload's."""
    with launch(make_simulated_spec(**changes), tmp_path) as run:
        result = run.finish()
    assert result.trials == ()
    assert result.broken is not None
    assert result.broken.reason == reason


@pytest.mark.parametrize(
    ("simulation", "timeouts", "reason"),
    [
        (SLOW_LOAD, {"load_timeout_seconds": 0.3}, "LoadTimeout"),
        (SLOW_REPEAT, {"measure_timeout_seconds": 0.3}, "MeasureTimeout"),
    ],
)
def test_a_phase_that_takes_too_long_ends_the_run(
    tmp_path: Path, simulation: dict[str, float], timeouts: dict[str, float], reason: str
) -> None:
    """A phase past its limit leaves a result that says so, and exit status 0."""
    with launch(make_simulated_spec(simulation=simulation, measurement=timeouts), tmp_path) as run:
        result = run.finish()
    assert result.broken is not None
    assert result.broken.reason == reason
    assert "longer than 0.3 s" in result.broken.detail


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_keeps_what_was_measured(tmp_path: Path, number: signal.Signals) -> None:
    """A runner that is asked to stop keeps its finished trials, reports Stopped, and exits with 0."""
    spec = make_simulated_spec(batches=(1, 2), simulation={"repeat_seconds": 1.5, "noise_ratio": 0.0})
    with launch(spec, tmp_path) as run:
        run.wait_until(lambda: bool((result := run.result()) and result.trials))
        run.process.send_signal(number)
        result = run.finish()
    assert [trial.batch_size for trial in result.trials] == [1]
    assert result.broken is not None
    assert (result.broken.reason, result.broken.detail) == ("Stopped", f"received {number.name}")


def replace_by_directory(path: Path) -> None:
    """Put a directory in the place of a file that a process may write again at any time."""
    while not path.is_dir():
        path.unlink(missing_ok=True)
        with suppress(FileExistsError):
            path.mkdir()


@pytest.mark.parametrize("stopped", [True, False])
def test_a_result_that_cannot_be_written_is_a_message_and_status_1(tmp_path: Path, *, stopped: bool) -> None:
    """A runner that can no longer write its result ends, by signal or by itself, and says why."""
    with launch(make_simulated_spec(simulation={"repeat_seconds": 600.0 if stopped else 1.0}), tmp_path) as run:
        run.wait_until(lambda: bool((result := run.result()) and result.load_seconds is not None))
        replace_by_directory(tmp_path / "result.json")
        if stopped:
            run.process.send_signal(signal.SIGTERM)
        assert run.process.wait(timeout=60) == 1
        assert run.living() == []
        assert "infpop-runner: the result cannot be written" in run.log()
        assert "Traceback" not in run.log()


def test_a_runner_whose_parent_died_ends_itself(tmp_path: Path) -> None:
    """When the lifeline is cut the runner ends and leaves a result for a later reader."""
    with launch(make_simulated_spec(simulation=SLOW_LOAD), tmp_path) as run:
        run.wait_until(lambda: run.result() is not None)
        run.cut_lifeline()
        result = run.finish()
    assert result.broken is not None
    assert result.broken.reason == "Stopped"
    assert "is gone" in result.broken.detail


def test_metrics_are_served_from_the_start(tmp_path: Path) -> None:
    """A loading runner already reports its phase under the study's labels, and shows no number that it lacks."""
    with launch(make_simulated_spec(batches=(4, 8), simulation=SLOW_LOAD, namespace="serving"), tmp_path) as run:
        run.wait_until(lambda: run.port() is not None and "infpop_run_start_time_seconds{" in run.metrics())
        text = run.metrics()
    labels = 'gpu_count="1",namespace="serving",pool="pool",run="run-1"'
    assert f'infpop_run_state{{{labels},state="loading",study="study"}} 1.0' in text
    assert f'infpop_run_state{{{labels},state="done",study="study"}} 0.0' in text
    assert (
        'infpop_trial_state{batch_size="8",gpu_count="1",namespace="serving",pool="pool",run="run-1",state="pending"'
        in text
    )
    assert "infpop_trial_throughput_tokens_per_second{" not in text
    assert "infpop_model_load_seconds{" not in text


def test_the_spec_may_come_from_the_environment_and_the_result_go_to_stdout(tmp_path: Path) -> None:
    """Without files the last line of standard output is the complete result."""
    spec = make_simulated_spec()
    done = run_command(cwd=tmp_path, INFPOP_RUN_SPEC=spec.model_dump_json())
    assert done.returncode == 0, done.stderr
    result = decode_result(done.stdout.splitlines()[-1])
    assert result.ended_at is not None
    assert result.run == spec.run


@pytest.mark.parametrize(
    ("arguments", "spec", "text"),
    [
        ([], None, "give --spec FILE or set INFPOP_RUN_SPEC"),
        (["--spec", "nowhere.json"], None, "nowhere.json"),
        ([], "rubbish", "document: Invalid JSON"),
        ([], '{"study": "s"}', "pool: Field required"),
        (
            [],
            make_simulated_spec().model_dump_json().replace('"gpu_count":1', '"gpu_count":0'),
            "gpu_count: Input should",
        ),
        (
            ["--result", "/nowhere/result.json"],
            make_simulated_spec().model_dump_json(),
            "directory /nowhere does not exist",
        ),
    ],
)
def test_what_is_not_understood_is_one_message(
    tmp_path: Path, arguments: list[str], spec: str | None, text: str
) -> None:
    """A spec that cannot be used gives one line that names the field, exit status 2, and starts nothing."""
    environment = {} if spec is None else {"INFPOP_RUN_SPEC": spec}
    done = run_command(*arguments, cwd=tmp_path, **environment)
    assert done.returncode == 2
    assert done.stdout == ""
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_simulated_run_loads_no_engine_library(tmp_path: Path) -> None:
    """The simulated engine needs neither torch nor numpy, so a run takes a fraction of a second."""
    code = (
        "import sys; from infpop_runner.main import main; main();"
        "sys.exit(','.join({'torch', 'numpy', 'vllm', 'transformers', 'pynvml'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "INFPOP_RUN_SPEC": make_simulated_spec().model_dump_json()},  # noqa: TID251 - a test is an edge
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
