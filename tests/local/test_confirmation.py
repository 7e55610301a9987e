"""`infpop tune` measures its best again: real runner processes, and a kill in the middle of a confirming run."""

import json
from pathlib import Path
from typing import Any

import pytest

from infpop_operator.core.history import broken_reason
from infpop_operator.core.model import EndedRun
from local.local_studies import await_state, history_of, run_infpop, slow_engine, start_infpop, write_study

pytestmark = pytest.mark.process
CONFIRM = {"maxTrials": 4, "confirm": True}


def confirming(output: Path) -> list[EndedRun]:
    """Return the confirming runs that have ended."""
    return [entry for entry in history_of(output).ended if entry.run.confirms]


def tune(directory: Path, study: Path) -> dict[str, Any]:
    """Tune a study to its end and return its status."""
    done = run_infpop("tune", study, "--output", "out", "--json", cwd=directory)
    assert done.returncode == 0, done.stderr
    status: dict[str, Any] = json.loads(done.stdout)
    return status


def test_the_best_is_confirmed_on_fresh_loads_of_its_own(tmp_path: Path) -> None:
    """Each load is a process with one trial, and the status and the page have the mean of the last two."""
    engine = slow_engine()
    engine["simulation"]["noise"] = "0.02"
    status = tune(tmp_path, write_study(tmp_path, engine=engine, budget=CONFIRM))
    runs = confirming(tmp_path / "out")
    assert status["best"]["confirmed"]["loads"] == 2
    assert status["pools"][0]["confirmation"]["state"] == "Confirmed"
    assert len({entry.run.name for entry in runs}) == len(runs) >= 2
    assert all(len(entry.run.trials) == 1 for entry in runs)
    page = run_infpop("tune", tmp_path / "study.yaml", "--output", "out", cwd=tmp_path)  # it only shows the end
    assert "confirmed on 2 fresh loads" in " ".join(page.stdout.split())


def test_a_kill_during_a_confirming_run_costs_that_load_alone(tmp_path: Path) -> None:
    """Resumed, the study makes up for the load that was killed and ends confirmed; no trial is measured again."""
    study = write_study(tmp_path, engine=slow_engine(load="1s"), budget=CONFIRM)
    process = start_infpop("tune", study, "--output", "out", cwd=tmp_path)
    await_state(process, lambda: any(each.run.confirms for each in history_of(tmp_path / "out").active))
    searched = [entry for entry in history_of(tmp_path / "out").ended if not entry.run.confirms]
    process.kill()
    process.communicate()
    status = tune(tmp_path, study)
    ended = history_of(tmp_path / "out").ended
    assert [entry for entry in ended if not entry.run.confirms] == searched
    assert status["best"]["confirmed"]["loads"] == 2
    assert sum(broken_reason(entry) is None for entry in confirming(tmp_path / "out")) == 2
