"""Results are read from wherever they are, and from what a crash has left of them, without changing anything."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.api_server import STUDIES, api_server
from infpop_operator.adapters.journal import Journal, NewerJournalError
from infpop_operator.adapters.result_sources import find_study, read_all, read_results
from infpop_operator.analysis.rows import ResultTable
from infpop_operator.api.study_object import UnreadableError
from infpop_operator.core.errors import InfPopError, ResultError
from infpop_operator.core.landscape import CellState
from infpop_operator.core.model import EndedRun, Finished
from replay.landscape_files import HEADER
from report.study_objects import ended
from upgrade.old_data import GOLDEN, config_maps, study_body

OLD = GOLDEN / "local-finished"
FORBIDDEN = 'configmaps is forbidden: User "u" cannot list resource "configmaps" in API group "" in the namespace "n"'


def copied(to: Path, name: str = "local-finished") -> Path:
    """Return a copy of a result directory that an earlier version wrote."""
    return Path(shutil.copytree(GOLDEN / name, to / name))


def numbers(table: ResultTable) -> list[tuple[int, int, CellState, float | None]]:
    """Return what is known at each configuration."""
    return [(row.gpu_count, row.batch_size, row.state, row.throughput_tokens_per_second) for row in table.trials]


def test_a_directory_of_an_earlier_version_has_full_numbers() -> None:
    """Its journal tells loads, times, GPU-seconds and the best; its study tells model, engine, price and prompts."""
    table = read_results(str(OLD))
    assert numbers(table) == [
        (1, 4, CellState.MEASURED, 562.5),
        (2, 4, CellState.MEASURED, 750.0),
        (2, 8, CellState.MEASURED, 1000.0),
        (2, 16, CellState.MEASURED, 750.0),
        (1, 8, CellState.MEASURED, 750.0),
        (1, 16, CellState.INFEASIBLE, None),
    ]
    best = table.trials[2]
    assert [row.is_best for row in table.trials] == [row is best for row in table.trials]
    assert (best.model, best.engine, best.dtype, best.simulated) == ("org/model", "simulated", "bfloat16", True)
    assert (best.load_seconds, best.repeats, best.generated_tokens) == (0.0712116, 3, 480)
    assert best.cost_per_million_tokens == pytest.approx(1.5 * 2 / 3600 / 1000 * 1e6)
    assert (best.workload, best.new_tokens_per_sequence) == (
        "builtin code-infilling-v1, 8 prompts, 5 new tokens each",
        5,
    )
    assert best.ended_at is not None
    assert table.rounds[0].improvement_percent == pytest.approx((1000 / 562.5 - 1) * 100)
    assert (table.in_progress, table.notes) == ((), ())


def test_reading_changes_nothing_and_takes_no_lock(tmp_path: Path) -> None:
    """A directory may be read while it is tuned, even one that only root may write."""
    directory = copied(tmp_path)
    before = {path: path.read_bytes() for path in directory.rglob("*")}
    read_results(str(directory))
    assert {path: path.read_bytes() for path in directory.rglob("*")} == before


def test_a_study_in_progress_is_said_to_be_so() -> None:
    """What it has not tried yet is in the table, but is no trial."""
    source = str(GOLDEN / "local-interrupted")
    table = read_results(source)
    assert table.in_progress == (source,)
    assert table.notes == (f"{source}: the study was interrupted before its end.",)
    assert {(cell.gpu_count, cell.batch_size, cell.state) for cell in table.cells} >= {(2, 8, CellState.UNTRIED)}
    assert all(row.state is not CellState.UNTRIED for row in table.trials)


def remove(*names: str) -> Callable[[Path], None]:
    """Return what removes files of a directory."""
    return lambda directory: [(directory / name).unlink() for name in names] and None


def tear(directory: Path) -> None:
    """Cut the last line of the journal in the middle, as a crash does."""
    journal = directory / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])


def damage(directory: Path) -> None:
    """Make a line in the middle of the journal unreadable."""
    lines = (directory / "journal.jsonl").read_text().splitlines(keepends=True)
    (directory / "journal.jsonl").write_text("".join([*lines[:2], "oops\n", *lines[3:]]))


def empty(name: str, content: str = "") -> Callable[[Path], None]:
    """Return what replaces the content of a file."""
    return lambda directory: (directory / name).write_text(content) and None


@pytest.mark.parametrize(
    ("harm", "trials", "notes"),
    [
        (remove("status.json"), 6, ["status.json is missing; the state of the study is taken from journal.jsonl."]),
        (
            empty("status.json", "{"),
            6,
            ["status.json is not JSON; the state of the study is taken from journal.jsonl."],
        ),
        (remove("study.yaml"), 6, ["study.yaml is missing: its search space and prices are not known."]),
        (empty("study.yaml", "kind: Pod"), 6, ["study.yaml cannot be read by this version"]),
        (remove("journal.jsonl"), 6, ["journal.jsonl is missing: numbers are rounded, and nothing is known of loads"]),
        (empty("journal.jsonl"), 6, ["journal.jsonl is empty: numbers are rounded"]),
        (tear, 6, ["the last line of journal.jsonl is incomplete: the step that it was about is left out."]),
        (damage, 6, ["line 3: damaged"]),
        (remove("status.json", "study.yaml"), 6, ["status.json is missing", "study.yaml is missing"]),
        (remove("journal.jsonl", "study.yaml"), 6, ["journal.jsonl is missing", "study.yaml is missing"]),
    ],
)
def test_what_a_crash_has_left_is_read_and_the_rest_is_named(
    tmp_path: Path, harm: Callable[[Path], None], trials: int, notes: list[str]
) -> None:
    """Each file that is missing or damaged is a note, never an error while another one tells the numbers."""
    directory = copied(tmp_path)
    harm(directory)
    table = read_results(str(directory))
    assert len(table.trials) == trials
    assert sum(row.throughput_tokens_per_second == 1000.0 for row in table.trials) == 1
    about = [note for note in table.notes if "interrupted" not in note and "in progress" not in note]
    assert len(about) == len(notes)
    assert all(note in found for note, found in zip(notes, about, strict=True)), about
    assert "--output" not in "".join(about)  # that is of tune: these commands write nothing


def test_a_damaged_journal_has_a_remedy_that_reading_commands_have(tmp_path: Path) -> None:
    """A line may be deleted, but not the first, which says whose steps the others are."""
    directory = copied(tmp_path)
    journal = directory / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    for number, remedy in ((1, "Restore the file from a copy."), (2, "from a copy or delete this line to forget")):
        journal.write_bytes(b"".join([*lines[: number - 1], b"{}\n", *lines[number:]]))
        (note, *_) = read_results(str(directory)).notes
        assert f"line {number}: damaged" in note
        assert remedy in note


def test_numbers_stay_simulated_without_a_status(tmp_path: Path) -> None:
    """The journal names the engine, also where status and study are lost."""
    directory = copied(tmp_path)
    remove("status.json", "study.yaml")(directory)
    assert all(row.simulated for row in read_results(str(directory)).trials)


def test_the_best_of_the_status_stays_the_best_without_a_study_file(tmp_path: Path) -> None:
    """Without the search space nothing is judged again, but the status says what was recommended."""
    directory = copied(tmp_path)
    remove("study.yaml")(directory)
    table = read_results(str(directory))
    assert [(row.gpu_count, row.batch_size) for row in table.trials if row.is_best] == [(2, 8)]


def test_a_trial_whose_end_was_torn_is_still_running(tmp_path: Path) -> None:
    """It may have ended, but nothing says how."""
    directory = copied(tmp_path)
    tear(directory)
    assert [row.state for row in read_results(str(directory)).trials].count(CellState.RUNNING) == 1


def test_what_a_run_had_written_before_the_crash_counts(tmp_path: Path) -> None:
    """Resuming would take it over as well, so it is no running trial."""
    directory = copied(tmp_path)
    known = Journal(directory / "journal.jsonl").read()
    assert known is not None
    *_, last = (entry for entry in known[1] if isinstance(entry, EndedRun))
    assert isinstance(last.observation, Finished)
    tear(directory)
    (directory / "runs" / last.run.name).mkdir(parents=True)
    (directory / "runs" / last.run.name / "result.json").write_text(last.observation.result.model_dump_json())
    rows = find_study(str(directory)).study.status.trials
    table = read_results(str(directory))
    assert numbers(table) == numbers(read_results(str(OLD)))
    assert [row.state for row in rows] == [row.state.value for row in table.trials]
    assert (directory / "journal.jsonl").read_bytes().count(b"\n") == len(known[1])


def test_without_a_study_file_the_journal_names_the_study(tmp_path: Path) -> None:
    """Its model and engine are those of its newest round, where that has them."""
    directory = copied(tmp_path)
    remove("study.yaml", "status.json")(directory)
    found = find_study(str(directory)).study
    assert (found.name, found.document) == ("study", None)


def test_a_status_alone_is_enough(tmp_path: Path) -> None:
    """Its rounded numbers are the same trials, with the same best."""
    (tmp_path / "status.json").write_bytes((OLD / "status.json").read_bytes())
    table, whole = read_results(str(tmp_path / "status.json")), read_results(str(OLD))
    assert numbers(table) == numbers(whole)
    assert [row.is_best for row in table.trials] == [row.is_best for row in whole.trials]
    assert (table.trials[0].model, table.trials[0].load_seconds) == ("unknown", None)
    assert table.rounds[0].baseline_tokens_per_second == 562.5


@pytest.mark.parametrize("name", ["succeeded", "running", "stalled"])
def test_an_object_of_an_earlier_version_is_read_from_json(tmp_path: Path, name: str) -> None:
    """As `kubectl get -o json` prints it."""
    (tmp_path / "object.json").write_text(json.dumps(study_body(name)))
    table = read_results(str(tmp_path / "object.json"))
    assert len(table.trials) == len(study_body(name)["status"]["trials"])
    assert bool(table.in_progress) == (name == "running")


def config_map_list(name: str, tmp_path: Path, answer: tuple[int, object] | None = None) -> ResultTable:
    """Return the rows of a study on an API server that gives its ConfigMaps, or `answer`, when asked for them."""
    body = study_body(name)
    namespace = body["metadata"]["namespace"]
    studies = STUDIES.replace("serving", namespace)
    items = {"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {}, "items": config_maps(name)}
    answers = {
        f"{studies}/{body['metadata']['name']}": (200, body),
        f"/api/v1/namespaces/{namespace}/configmaps": answer or (200, items),
    }
    with api_server(answers, tmp_path) as config:
        return read_results(f"study/{namespace}/{body['metadata']['name']}", kubeconfig=config)


def test_a_study_on_a_cluster_is_read_with_its_journal(tmp_path: Path) -> None:
    """Both rounds of each pool have their trials in full, and the source names the namespace."""
    table = config_map_list("succeeded", tmp_path)
    body = study_body("succeeded")
    assert table.trials[0].source == f"study/{body['metadata']['namespace']}/{body['metadata']['name']}"
    assert {row.round for row in table.trials} == {1, 2}
    assert all(row.load_seconds is not None for row in table.trials if row.throughput_tokens_per_second)
    assert table.notes == ()


def test_without_the_right_to_read_its_journal_the_status_is_enough(tmp_path: Path) -> None:
    """The same trials have rounded numbers, and a note says what is missing."""
    refusal = {"kind": "Status", "reason": "Forbidden", "message": FORBIDDEN, "code": 403}
    table = config_map_list("succeeded", tmp_path, (403, refusal))
    assert len(table.trials) == len(study_body("succeeded")["status"]["trials"])
    assert [note.partition(": ")[2][:60] for note in table.notes] == [
        "you may not read ConfigMaps, so its journal is left out: num"
    ]


def test_several_sources_are_joined_and_studies_of_one_name_noted(tmp_path: Path) -> None:
    """They stay apart by their source; a source that is named twice counts once."""
    other = copied(tmp_path)
    table = read_all([str(OLD), str(other), str(OLD)])
    assert [row.source for row in table.trials] == [str(OLD)] * 6 + [str(other)] * 6
    assert table.notes == (
        f"Several studies have the name study: {OLD}, {other}. They are told apart by where they were read.",
    )


def test_an_empty_study_is_no_error(tmp_path: Path) -> None:
    """A study that the operator has just seen has no trials, and says so."""
    body = ended() | {"status": {}}
    (tmp_path / "new.json").write_text(json.dumps(body))
    table = read_results(str(tmp_path / "new.json"))
    assert (table.trials, table.in_progress) == ((), (str(tmp_path / "new.json"),))
    assert "the study has no trials yet" in table.notes[0]


def newer_journal(directory: Path) -> Path:
    """Make the journal one of a newer version."""
    journal = directory / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"version":1', '"version":2', 1))
    return directory


def test_a_directory_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """Its journal may mean something else, and a status of another form cannot be read."""
    with pytest.raises(NewerJournalError, match=r"written by a newer InfPop \(journal version 2.*Upgrade InfPop"):
        read_results(str(newer_journal(copied(tmp_path))))
    (tmp_path / "status.json").write_text('{"trials": "many"}')
    with pytest.raises(UnreadableError, match=r"status\.trials"):
        read_results(str(tmp_path / "status.json"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent", None, "absent: does not exist. Name a directory of infpop tune, its status.json, study/NAME"),
        ("other.json", '{"name": "x"}', "other.json: is neither the status of a study nor a study as JSON"),
        ("other.json", "[1]", "is neither the status of a study nor a study as JSON"),
        ("other.json", "{", "other.json: is not JSON"),
        ("pod.json", '{"kind": "ThroughputStudy"}', "is not a study as the API server has it (KeyError: 'metadata')"),
        (
            "study.yaml",
            "kind: x",
            "study.yaml: is a study file, and has no results. Name the directory that infpop tune",
        ),
        ("cells.csv", "\xff", "cells.csv, line 1: the columns"),
        ("cells.txt", f"{HEADER}\nA,vllm,m,1,8,ok,x\n", "cells.txt, line 2, column throughput_tokens_per_second: x:"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    """The message names the source, what it is, and what to name instead."""
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ResultError) as caught:
        read_results(str(tmp_path / name))
    assert message in str(caught.value)


def test_a_directory_without_a_result_says_what_is_in_it(tmp_path: Path) -> None:
    """The default output directory holds one result for each study."""
    with pytest.raises(ResultError, match=r"holds no result of infpop tune \(journal.jsonl is missing; status"):
        read_results(str(tmp_path))
    copied(tmp_path)
    with pytest.raises(ResultError, match=r"holds several results. Name one or some of them: .*local-finished\."):
        read_results(str(tmp_path))


def test_options_of_a_cluster_do_not_fit_a_path() -> None:
    """Leaving them out without a word would show another study than the user meant."""
    with pytest.raises(ResultError, match=r"--namespace: serving: .* is a path, and only a study on a cluster has"):
        read_results(str(OLD), namespace="serving")
    with pytest.raises(InfPopError, match="names another namespace than --namespace other"):
        read_results("study/serving/x", namespace="other")
