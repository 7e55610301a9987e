"""What each command prints, where, and with which exit code."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infpop_operator import __version__
from local.local_studies import (
    DEADLINE_S,
    await_state,
    history_of,
    home_environment,
    processes_of,
    read_terminal,
    run_infpop,
    slow_engine,
    start_infpop,
    write_study,
)

pytestmark = pytest.mark.process


def test_tune_prints_progress_and_the_report(tmp_path: Path) -> None:
    """Without a terminal: a line for each change of state, then the landscape and the best configuration."""
    done = run_infpop("tune", write_study(tmp_path), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^ +\d:\d\d  trial 1: 2 GPUs, batch size \d: [\d,]+ tokens/s", done.stdout, re.MULTILINE)
    assert "SIMULATED: these numbers are replayed" in done.stdout
    assert re.search(r"^ +8 +750 +★ 1,000$", done.stdout, re.MULTILINE)
    assert "Configuration  2 GPUs, batch size 8" in done.stdout
    assert "infpop-results/study" in done.stdout
    assert "\x1b" not in done.stdout


def test_tune_with_json_prints_the_status_alone(tmp_path: Path) -> None:
    """Standard output is one JSON document, the one that `status.json` holds; progress is on standard error."""
    done = run_infpop("tune", write_study(tmp_path), "--output", "out", "--json", cwd=tmp_path)
    status = json.loads(done.stdout)
    assert done.returncode == 0
    assert status == json.loads((tmp_path / "out" / "status.json").read_text())
    assert status["simulated"] is True
    assert (status["best"]["gpuCount"], status["best"]["batchSize"], status["best"]["throughput"]) == (2, 8, "1000")
    assert "trial 1" in done.stderr


def test_a_study_without_a_recommendation_exits_with_3(tmp_path: Path) -> None:
    """Every configuration runs out of memory: the study has ended, and there is nothing to recommend."""
    engine = {"name": "simulated", "simulation": {"formula": {"largestBatchPerGPU": 1}}}
    done = run_infpop("tune", write_study(tmp_path, engine=engine), cwd=tmp_path)
    assert done.returncode == 3
    assert "No recommendation" in done.stdout
    assert "GpuOutOfMemory" in done.stdout


def test_a_directory_that_breaks_off_on_the_way_exits_with_1(tmp_path: Path) -> None:
    """A journal that can no longer be written is not bad input, and no process is left behind."""
    study = write_study(tmp_path, engine=slow_engine(repeat="200ms"))
    process = start_infpop("tune", study, "--output", "out", cwd=tmp_path)
    journal = tmp_path / "out" / "journal.jsonl"
    await_state(process, lambda: bool(history_of(tmp_path / "out").active))
    journal.rename(tmp_path / "moved.jsonl")
    journal.mkdir()
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert "its state can no longer be saved; the recorded results are kept" in err
    assert "Traceback" not in err
    assert f"{journal.relative_to(tmp_path)}: cannot be written" in err
    assert processes_of(tmp_path / "out" / "runs") == []


def test_a_directory_that_is_removed_on_the_way_is_said_to_be_gone(tmp_path: Path) -> None:
    """Nothing promises a resume of what is gone, and the study does not go on in a directory without its journal."""
    study = write_study(tmp_path, engine=slow_engine(repeat="200ms"))
    process = start_infpop("tune", study, "--output", "out", cwd=tmp_path)
    await_state(process, lambda: bool(history_of(tmp_path / "out").active))
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert "nothing is kept" in err
    assert "was removed, and what was recorded there with it. Restore it to resume" in err
    assert not (tmp_path / "out" / "journal.jsonl").exists()


def test_conditions_keep_their_times_over_a_resume(tmp_path: Path) -> None:
    """Resuming a finished study keeps the time at which it finished; a damaged status is ignored."""
    study = write_study(tmp_path)
    first, again = (run_infpop("tune", study, "--output", "out", "--json", cwd=tmp_path) for _ in range(2))
    since = [condition["lastTransitionTime"] for condition in json.loads(first.stdout)["conditions"]]
    assert [condition["lastTransitionTime"] for condition in json.loads(again.stdout)["conditions"]] == since
    (tmp_path / "out" / "status.json").write_text('{"conditions": "none"}')
    assert run_infpop("tune", study, "--output", "out", "--json", cwd=tmp_path).returncode == 0


def test_a_terminal_gets_a_live_view_that_leaves_only_the_report(tmp_path: Path) -> None:
    """On a terminal the live view is redrawn in place; the report stays."""
    study = write_study(tmp_path, engine=slow_engine(repeat="100ms"))
    ours, theirs = pty.openpty()
    environment = {**home_environment(tmp_path), "TERM": "xterm-256color", "LINES": "40"}
    process = subprocess.Popen(
        [sys.executable, "-m", "infpop_operator.cli.main", "tune", "--no-report", str(study)],
        cwd=tmp_path,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = read_terminal(ours)
    assert process.wait(timeout=DEADLINE_S) == 0
    assert all(part in shown for part in ("of up to 4 trials", "best so far", "measuring", "Best configuration found"))
    assert "trial 1:" not in shown


def test_a_terminal_without_the_characters_gets_others(tmp_path: Path) -> None:
    """In an ASCII-only environment each mark has another character."""
    environment = {**home_environment(tmp_path), "PYTHONIOENCODING": "ascii"}
    argv = [sys.executable, "-m", "infpop_operator.cli.main", "tune", "--no-report", str(write_study(tmp_path))]
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0
    assert b"* 1,000" in done.stdout
    assert b"?" not in done.stdout


def test_validate_starts_nothing(tmp_path: Path) -> None:
    """A valid study is summarised; no directory is created."""
    done = run_infpop("validate", write_study(tmp_path), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "valid. Up to 4 trials of 4 configurations on here (simulated)" in done.stdout
    assert not (tmp_path / "infpop-results").exists()


def test_version_and_help_say_what_they_should(tmp_path: Path) -> None:
    """The version is the package's, and the help documents the exit codes."""
    assert run_infpop("--version", cwd=tmp_path).stdout == f"infpop {__version__}\n"
    of_command = "3 the study ended early or without a configuration to recommend"
    for arguments, codes in ((["--help"], "3 there is no result"), (["tune", "--help"], of_command)):
        assert codes in " ".join(run_infpop(*arguments, cwd=tmp_path).stdout.split())


@pytest.mark.engine
def test_tiny_model_writes_a_model_once(tmp_path: Path) -> None:
    """The directory appears with a model in it; a second call finds it and changes nothing."""
    done = run_infpop("tiny-model", "model", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "model\n", "")
    config = tmp_path / "model" / "config.json"
    assert json.loads(config.read_text())["architectures"] == ["LlamaForCausalLM"]
    written = config.stat().st_mtime_ns
    assert run_infpop("tiny-model", "model", cwd=tmp_path).returncode == 0
    assert config.stat().st_mtime_ns == written
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
