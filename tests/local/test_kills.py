"""Kill -9 of infpop or of the runner at any moment: resumed, the study ends as if nothing had happened.

The moments are observed states (in the journal, in the runner's metrics) or the exact point between two side effects;
no test waits for a fixed time.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infpop_operator.adapters.run_state import RunStates
from infpop_operator.core.history import failures
from infpop_operator.core.model import Finished, Phase
from local.local_studies import (
    DEADLINE_S,
    await_state,
    history_of,
    home_environment,
    measurements,
    processes_of,
    run_infpop,
    slow_engine,
    start_infpop,
    write_study,
)

pytestmark = pytest.mark.process
TRAPPED = Path(__file__).with_name("trapped_infpop.py")
EFFECTS = {
    "before the first start is recorded": 1,
    "between the record of a start and the start": 2,
    "after a result is written, before it is recorded": 3,
    "between two runs": 4,
    "before the second start": 5,
    "after the last result is written, before it is recorded": 12,
}
PHASES = {
    Phase.LOADING: slow_engine(load="1s"),
    Phase.WARMING_UP: slow_engine(repeat="300ms"),
    Phase.MEASURING: slow_engine(repeat="300ms"),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Tune the study once without interference and return the outcome."""
    directory = tmp_path_factory.mktemp("undisturbed")
    done = run_infpop("tune", write_study(directory), "--output", "out", "--json", cwd=directory)
    assert done.returncode == 0, done.stderr
    return result_of(directory / "out", json.loads(done.stdout))


def result_of(output: Path, status: dict[str, object]) -> dict[str, object]:
    """Return what must not depend on interruptions: the best, and each measurement, once."""
    best = {key: value for key, value in status["best"].items() if key != "run"}
    return {"best": best, "measurements": measurements(history_of(output))}


def resumed(directory: Path, study: Path) -> dict[str, object]:
    """Tune the study again to its end and return the outcome; no process may be left running."""
    done = run_infpop("tune", study, "--output", "out", "--json", cwd=directory)
    assert done.returncode == 0, done.stderr
    assert processes_of(directory / "out" / "runs") == []
    return result_of(directory / "out", json.loads(done.stdout))


@pytest.fixture
def seen_phases() -> Iterator[Callable[[Path], set[Phase]]]:
    """Yield a function that returns the current phases of the study's runs."""
    states = RunStates()

    def look(output: Path) -> set[Phase]:
        answers = [states.ask(port) for port in output.glob("runs/*/port")]
        return {answer.phase for answer in answers if answer is not None}

    yield look
    states.close()


@pytest.mark.parametrize("dies_at", EFFECTS.values(), ids=EFFECTS.keys())
def test_infpop_killed_between_two_side_effects(tmp_path: Path, undisturbed: dict[str, object], dies_at: int) -> None:
    """The best is the same, each configuration is measured once, and no process is left, wherever the kill hits."""
    study = write_study(tmp_path)
    argv = [sys.executable, str(TRAPPED), str(study), str(tmp_path / "out"), str(dies_at)]
    environment = {**home_environment(tmp_path), "PYTHONPATH": str(TRAPPED.parents[1])}
    killed = subprocess.run(argv, env=environment, check=False, timeout=DEADLINE_S)
    assert killed.returncode == -9
    assert resumed(tmp_path, study) == undisturbed
    assert failures(history_of(tmp_path / "out")) == ()


def test_a_search_that_knows_landscapes_goes_on_after_a_kill(tmp_path: Path) -> None:
    """The journal has the runs of the undisturbed study: the same configurations, orders and conditions, by name."""
    document = {"algorithm": {"name": "landscape"}, "budget": {"maxTrials": 3}}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for directory in (whole, cut):
        directory.mkdir()
    resumed(whole, write_study(whole, **document))
    study = write_study(cut, **document)
    argv = [sys.executable, str(TRAPPED), str(study), str(cut / "out"), str(EFFECTS["between two runs"])]
    environment = {**home_environment(cut), "PYTHONPATH": str(TRAPPED.parents[1])}
    assert subprocess.run(argv, env=environment, check=False, timeout=DEADLINE_S).returncode == -9
    resumed(cut, study)
    runs = [[ended.run for ended in history_of(directory / "out").ended] for directory in (whole, cut)]
    assert runs[0] == runs[1]
    assert len(runs[0]) > 1


@pytest.mark.parametrize("phase", PHASES)
def test_infpop_killed_while_a_run_is_in_a_phase(
    tmp_path: Path, undisturbed: dict[str, object], seen_phases: Callable[[Path], set[Phase]], phase: Phase
) -> None:
    """The runner ends with its parent, the run is retried, and it costs no failure."""
    study = write_study(tmp_path, engine=PHASES[phase], budget={"maxFailedTrials": 0})
    process = start_infpop("tune", study, "--output", "out", cwd=tmp_path)
    await_state(process, lambda: phase in seen_phases(tmp_path / "out"))
    process.kill()
    process.communicate(timeout=DEADLINE_S)
    again = resumed(tmp_path, study)
    assert again["measurements"] == undisturbed["measurements"]
    assert again["best"] == undisturbed["best"]


@pytest.mark.parametrize("phase", PHASES)
def test_the_runner_killed_in_a_phase(
    tmp_path: Path, undisturbed: dict[str, object], seen_phases: Callable[[Path], set[Phase]], phase: Phase
) -> None:
    """The study continues by itself: the run is retried, costs one failure, and the result is the same."""
    study = write_study(tmp_path, engine=PHASES[phase])
    process = start_infpop("tune", study, "--output", "out", "--json", cwd=tmp_path)
    await_state(process, lambda: phase in seen_phases(tmp_path / "out"))
    for runner in processes_of(tmp_path / "out" / "runs"):
        runner.kill()
    out, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert result_of(tmp_path / "out", json.loads(out)) == undisturbed
    assert len(failures(history_of(tmp_path / "out"))) == 1
    assert processes_of(tmp_path / "out" / "runs") == []


@pytest.mark.parametrize("per_run", [2, "auto"])
def test_the_runner_of_a_shared_load_killed_after_its_first_trial(
    tmp_path: Path, undisturbed: dict[str, object], per_run: object
) -> None:
    """Trials that the shared load had measured are kept and not measured again; the remaining ones are."""
    shared = {"name": "grid", "trialsPerRun": per_run}
    study = write_study(tmp_path, engine=slow_engine(repeat="300ms"), algorithm=shared)
    process = start_infpop("tune", study, "--output", "out", "--json", cwd=tmp_path)
    await_state(process, lambda: any(trials_in(path) == 1 for path in tmp_path.glob("out/runs/*/result.json")))
    for runner in processes_of(tmp_path / "out" / "runs"):
        runner.kill()
    out, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert result_of(tmp_path / "out", json.loads(out)) == undisturbed
    history = history_of(tmp_path / "out")
    assert len(failures(history)) == 1
    killed = failures(history)[0]
    assert isinstance(killed.observation, Finished)
    assert (len(killed.run.trials), len(killed.observation.result.trials)) == (2, 1)


def trials_in(result: Path) -> int:
    """Return how many trials a result file has now."""
    return len(json.loads(result.read_text())["trials"])


def test_a_runner_does_not_outlive_infpop(tmp_path: Path, seen_phases: Callable[[Path], set[Phase]]) -> None:
    """The devices are freed without restarting infpop."""
    study = write_study(tmp_path, engine=slow_engine(load="1h"))
    process = start_infpop("tune", study, "--output", "out", cwd=tmp_path)
    await_state(process, lambda: Phase.LOADING in seen_phases(tmp_path / "out"))
    runners = processes_of(tmp_path / "out" / "runs")
    process.kill()
    process.communicate(timeout=DEADLINE_S)
    _, alive = psutil.wait_procs(runners, timeout=DEADLINE_S)
    assert alive == []
