"""Tables of `infpop export` give back their trials."""

from pathlib import Path

import pytest

import infpop
from export.trials import MEASURED
from infpop_operator.export.tables import render_table


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_table_is_read_by_its_suffix(form: str, tmp_path: Path) -> None:
    """The trials are the same, whatever the form of the table."""
    file = tmp_path / f"trials.{form}"
    file.write_bytes(render_table((MEASURED,), form))
    assert infpop.read_trials(file) == (MEASURED,)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "trials.xlsx",
            r"trials.xlsx: has another suffix than a table of infpop export. Name a file that ends in .csv",
        ),
        ("trials.csv", r"trials.csv: cannot be read \(No such file or directory\). Name an existing table"),
    ],
)
def test_what_is_no_table_is_refused(name: str, message: str, tmp_path: Path) -> None:
    """The message names the file, what is wrong with it, and what to name instead."""
    with pytest.raises(infpop.InfPopError, match=message):
        infpop.read_trials(tmp_path / name)
