"""Ctrl-C ends the runs and prints the command that resumes the study, and that command works."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infpop_operator.adapters.run_state import RunStates
from infpop_operator.core.history import failures
from infpop_operator.core.model import Phase
from infpop_operator.local import tiny_model
from infpop_operator.local.interruption import Interruption
from local.local_studies import (
    DEADLINE_S,
    await_state,
    history_of,
    measurements,
    processes_of,
    run_infpop,
    slow_engine,
    start_infpop,
    write_study,
)

ONE_CELL = {"gpuCount": [1], "batchSize": [4]}
pytestmark = pytest.mark.process


def is_in(phase: Phase, output: Path, states: RunStates) -> Callable[[], bool]:
    """Return a function that returns whether a run of the study is in `phase`."""

    def look() -> bool:
        ports = output.glob("runs/*/port")
        answers = [states.ask(port) for port in ports]
        return any(answer is not None and answer.phase is phase for answer in answers)

    return look


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_study_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """Exit code 130, the resume command, no process left, no live run, no failure; resuming completes the study."""
    study = write_study(tmp_path, engine=slow_engine(load="1h"))
    states = RunStates()
    process = start_infpop("tune", study, "--output", "my results", cwd=tmp_path)
    await_state(process, is_in(Phase.LOADING, tmp_path / "my results", states))
    process.send_signal(number)
    out, err = process.communicate(timeout=DEADLINE_S)
    states.close()
    assert process.returncode == 130
    assert f"Resume with: infpop tune {study} --output 'my results'" in err
    assert "Stopped before the end" in out
    history = history_of(tmp_path / "my results")
    assert (history.active, failures(history)) == ((), ())
    assert processes_of(tmp_path / "my results" / "runs") == []


def test_the_command_to_resume_with_has_every_option(tmp_path: Path) -> None:
    """The resume command repeats the options for the heatmap, the report and the format."""
    pytest.importorskip("matplotlib")
    study = write_study(tmp_path, engine=slow_engine(load="1h"))
    states = RunStates()
    process = start_infpop("tune", study, "--heatmap", "a.png", "--json", cwd=tmp_path)
    await_state(process, is_in(Phase.LOADING, tmp_path / "infpop-results" / "study", states))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE_S)
    states.close()
    assert f"Resume with: infpop tune {study} --heatmap a.png --no-report --json\n" in err


WRITERS = {"hears it": "", "ignores it": "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN);"}


@pytest.mark.parametrize("ears", WRITERS.values(), ids=WRITERS.keys())
def test_an_interrupt_while_the_tiny_model_is_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ears: str
) -> None:
    """The writer is killed and its draft removed, even if it ignores Ctrl-C, and it prints nothing on the terminal."""
    pytest.importorskip("transformers")
    writer = f"import pathlib, sys, time; {ears} pathlib.Path(sys.argv[1]).mkdir(); time.sleep(3600)"
    monkeypatch.setattr(tiny_model, "WRITER", (sys.executable, "-c", writer))

    def writes() -> bool:
        return any(tmp_path.glob("models/.tiny-llama-*/model"))

    with pytest.raises(KeyboardInterrupt):
        tiny_model.write_tiny_model(tmp_path / "models" / "tiny-llama", is_interrupted=writes)
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.engine
def test_an_interrupt_before_the_first_run_is_an_interrupt_like_any(tmp_path: Path) -> None:
    """Ctrl-C while the tiny model is written: exit code 130 and the resume command, no traceback."""
    pytest.importorskip("transformers")
    study = write_study(
        tmp_path, engine={"name": "hf-pipeline"}, model={"name": "infpop/tiny-llama"}, searchSpace=ONE_CELL
    )
    process = start_infpop("tune", study, "--output", "out", cwd=tmp_path)
    await_state(process, lambda: any(tmp_path.glob(".cache/infpop/models/.tiny-llama-*")))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert f"Resume with: infpop tune {study} --output out" in err


def test_an_interrupted_study_continues_where_it_stopped(tmp_path: Path) -> None:
    """What was measured before Ctrl-C is not measured again."""
    study = write_study(tmp_path, engine=slow_engine(repeat="200ms"))
    states = RunStates()
    process = start_infpop("tune", study, "--output", "out", cwd=tmp_path)
    measuring = is_in(Phase.MEASURING, tmp_path / "out", states)
    await_state(process, lambda: len(history_of(tmp_path / "out").ended) >= 1 and measuring())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE_S)
    states.close()
    before = measurements(history_of(tmp_path / "out"))
    again = run_infpop("tune", study, "--output", "out", cwd=tmp_path)
    after = measurements(history_of(tmp_path / "out"))
    assert again.returncode == 0
    assert 1 <= len(before) < len(after) == 4
    assert set(before) < set(after)


def test_nohup_is_respected() -> None:
    """If SIGHUP is ignored on purpose, closing the terminal stops nothing; other signals still do."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interruption.is_requested()
            os.kill(os.getpid(), signal.SIGTERM)
            assert interruption.is_requested()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_interrupt_ends_runs_immediately() -> None:
    """The second Ctrl-C ends without waiting for runs; the earlier signal handlers are restored afterwards."""
    before = signal.getsignal(signal.SIGINT)
    asked: list[str] = []
    with Interruption() as interruption:
        interruption.on_hurry(lambda: asked.append("hurry"))
        os.kill(os.getpid(), signal.SIGINT)
        assert asked == []
        os.kill(os.getpid(), signal.SIGINT)
        assert asked == ["hurry"]
    assert signal.getsignal(signal.SIGINT) is before
