"""A local result directory of an earlier version is resumed, or left unchanged if its study has ended."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from infpop_operator.adapters.journal import Journal
from infpop_operator.core.model import EndedRun, Lost, Round, StartedRun
from local.local_studies import history_of, measurements, run_infpop
from upgrade.old_data import GOLDEN, holds


def copied(name: str, to: Path) -> Path:
    """Return a copy of an old result directory."""
    return Path(shutil.copytree(GOLDEN / name, to / "out"))


def test_a_finished_directory_is_not_measured_again(tmp_path: Path) -> None:
    """The same command prints the same best, and records only what is known of the hardware."""
    directory = copied("local-finished", tmp_path)
    before, old = history_of(directory), json.loads((directory / "status.json").read_text())
    for _ in range(2):
        run = run_infpop("tune", directory / "study.yaml", "--output", directory, "--json", cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        status = json.loads(run.stdout)
        assert holds(status["best"], old["best"])
        assert holds(status["trials"], old["trials"])
        assert [one["lastTransitionTime"] for one in status["conditions"]] == [
            one["lastTransitionTime"] for one in old["conditions"]
        ]
    after = history_of(directory)
    assert (after.started_at, after.ended, after.active) == (before.started_at, before.ended, ())
    known = Journal(directory / "journal.jsonl").read()
    assert known is not None
    assert [entry.number for entry in known[1] if isinstance(entry, Round)] == [1, 1]


def test_an_interrupted_directory_continues_with_what_it_has(tmp_path: Path) -> None:
    """The measured trial is not measured again, and the search ends with the same result.

    The search goes on under the new version, so its best is confirmed by default.
    """
    directory = copied("local-interrupted", tmp_path)
    before = history_of(directory)
    assert [entry.observation.reason for entry in before.ended if isinstance(entry.observation, Lost)] == [
        "Interrupted"
    ]
    run = run_infpop("tune", directory / "study.yaml", "--output", directory, "--json", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    after = history_of(directory)
    assert after.ended[: len(before.ended)] == before.ended
    assert [(entry.pool, entry.number) for entry in after.rounds] == [("here", 1)]
    search = replace(after, ended=tuple(entry for entry in after.ended if not entry.run.confirms))
    numbers = [(gpus, batch) for gpus, batch, _ in measurements(search)]
    assert numbers == [(1, 4), (1, 8), (2, 4), (2, 8), (2, 16)]
    finished = json.loads((GOLDEN / "local-finished" / "status.json").read_text())
    best = json.loads(run.stdout)["best"]
    assert best["confirmed"]["loads"] == 2
    same = finished["best"].keys() - {"run", "repeats"}  # those of both loads
    assert {key: best[key] for key in same} == {key: finished["best"][key] for key in same}


@pytest.mark.parametrize("name", ["local-finished", "local-interrupted"])
def test_an_old_local_journal_is_read_whole(name: str) -> None:
    """Each of its lines is one step."""
    known = Journal(GOLDEN / name / "journal.jsonl").read()
    assert known is not None
    header, entries = known
    assert (header.version, header.study) == (1, "study")
    kinds = [type(entry) for entry in entries]
    runs = 6 if name == "local-finished" else 2
    assert (kinds.count(Round), kinds.count(StartedRun), kinds.count(EndedRun)) == (1, runs, runs)
