"""A CSV of `infpop export` is a source of results like the directory that it was exported from."""

from dataclasses import replace
from pathlib import Path

import pytest

from export.trials import FAILED, MEASURED
from infpop_operator.adapters.result_sources import find_study, read_all, read_results
from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.analysis.trial_csv import render_csv
from infpop_operator.core.errors import ResultError

ROWS = (MEASURED, FAILED, replace(FAILED, trial=1, detail="=1+1", batch_size=4))


def exported(directory: Path, *rows: TrialResultRow, name: str = "trials.csv") -> str:
    """Return the path of a table of these rows."""
    path = directory / name
    path.write_bytes(render_csv(rows))
    return str(path)


def edited(directory: Path, old: str, new: str) -> str:
    """Return the path of a table in which a text was replaced."""
    text = Path(exported(directory, *ROWS)).read_text()
    assert old in text
    path = directory / "edited.csv"
    path.write_text(text.replace(old, new, 1))
    return str(path)


def test_an_exported_table_gives_back_its_trials(tmp_path: Path) -> None:
    """Every field of every trial is as it was."""
    assert read_results(exported(tmp_path, *ROWS)).trials == ROWS


def test_a_table_without_the_columns_that_are_not_needed_is_read(tmp_path: Path) -> None:
    """A spreadsheet or pandas may leave out and add columns: what is named counts."""
    path = tmp_path / "few.csv"
    path.write_text(
        "source,study,pool,trial,model,engine,gpu_count,batch_size,state,mine\ns,s,p,0,m,vllm,1,8,Broken,x\n"
    )
    (row,) = read_results(str(path)).trials
    assert (row.batch_size, row.state.value, row.throughput_tokens_per_second) == (8, "Broken", None)


def test_what_a_spreadsheet_or_pandas_writes_again_is_the_same(tmp_path: Path) -> None:
    """They write other words for truth, whole numbers with a fraction, times without a zone and empty lines."""
    text = Path(exported(tmp_path, *ROWS)).read_text()
    for ours, theirs in ((",true,", ",TRUE,"), (",false,", ",False,"), (",5165,", ",5165.0,"), ("Z,", ",")):
        assert ours in text
        text = text.replace(ours, theirs)
    path = tmp_path / "again.csv"
    path.write_text(f"{text}\n\n")
    again = read_results(str(path)).trials
    assert [replace(row, extra={}) for row in again] == [replace(row, extra={}) for row in ROWS]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("1234.5", "-1234.5", r"throughput_tokens_per_second: -1234\.5: is not a number above 0 \(record 2\)"),
        ("1234.5", "nan", r"throughput_tokens_per_second: nan: is not a number above 0 \(record 2\)"),
        ("1646.0", "inf", r"metric\.gpuPower: inf: is not a number"),
        (",512,", ",0,", r"batch_size: 0: is not a number of at least 1 \(record 3\)"),
        (",512,", ",many,", r"batch_size: .*many.*: is not integer \(record 3\)"),
        ("Infeasible", "Broke", r"state: Broke: is not a state"),
        ("model,engine", "modell,engine", r"model: the table has no value for it"),
    ],
)
def test_what_an_editor_broke_is_refused_with_its_place(tmp_path: Path, old: str, new: str, problem: str) -> None:
    """The message names file, column and value: no report is made of impossible numbers."""
    with pytest.raises(ResultError, match=rf"edited\.csv: .*{problem}"):
        read_results(edited(tmp_path, old, new))


def test_a_trial_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """Nothing says which of its numbers is right."""
    with pytest.raises(ResultError, match=r"trial: 5: is the trial of record 2 again \(record 4\)"):
        read_results(exported(tmp_path, MEASURED, FAILED, MEASURED))


def test_control_characters_of_a_table_reach_no_page(tmp_path: Path) -> None:
    """Text of a file is data: it is cleaned where it enters."""
    (row,) = read_results(exported(tmp_path, replace(FAILED, model="a\x1b[31mb\nc"))).trials
    assert row.model.isprintable()


def test_a_round_counts_once(tmp_path: Path) -> None:
    """A table and another one with the same round are refused together; different rounds are not."""
    first, same = exported(tmp_path, MEASURED), exported(tmp_path, MEASURED, name="same.csv")
    other = exported(tmp_path, replace(MEASURED, round=3), name="other.csv")
    with pytest.raises(
        ResultError, match=r"same\.csv: has round 2 of pool a100 of codellama-7b .*trials\.csv has as well"
    ):
        read_all([first, same])
    assert len(read_all([first, other]).trials) == 2


def test_studies_of_two_machines_stay_apart_in_directories_of_one_name(tmp_path: Path) -> None:
    """Their exports name the same source, and tell by the times of their trials that they are two."""
    first = exported(tmp_path, MEASURED)
    later = replace(MEASURED, started_at=MEASURED.ended_at, throughput_tokens_per_second=9.0)
    second = exported(tmp_path, later, name="second.csv")
    table = read_all([first, second])
    assert [row.source for row in table.trials] == [MEASURED.source, f"{second}: {MEASURED.source}"]
    assert [row.throughput_tokens_per_second for row in table.trials] == [1234.5, 9.0]
    assert "Several studies have the name" in table.notes[0]
    copy = exported(tmp_path, later, name="copy.csv")
    with pytest.raises(ResultError, match=r"copy\.csv: .*second\.csv has as well"):
        read_all([first, second, copy])


def test_a_table_has_no_study_to_show(tmp_path: Path) -> None:
    """The message says what draws it."""
    path = exported(tmp_path, MEASURED)
    with pytest.raises(ResultError, match=r"exported trials, and no study\. Draw it with infpop report"):
        find_study(path)
