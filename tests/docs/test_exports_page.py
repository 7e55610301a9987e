"""docs/exports.md has every column and format of an export of all trials, as the code has them."""

import re
from itertools import groupby
from pathlib import Path

from infpop_operator.analysis.trial_columns import COLUMNS
from infpop_operator.cli.export import TRIAL_FORMATS

PAGE = (Path(__file__).parents[2] / "docs" / "exports.md").read_text()


def test_the_table_has_every_column() -> None:
    """The page lists each column with its type and meaning, in the order of the tables."""
    assert column_table() in PAGE


def test_every_format_is_documented() -> None:
    """The first table has every format of all trials."""
    assert re.findall(r"^\| `([a-z-]+)` \| (?:a |an )", PAGE, re.MULTILINE) == list(TRIAL_FORMATS)


def column_table() -> str:
    """Return the table of the columns in Markdown."""
    lines = ["| column | type | meaning |", "| --- | --- | --- |"]
    for group, columns in groupby(COLUMNS, key=lambda column: column.group):
        lines.append(f"| *{group}* | | |")
        lines += [f"| `{column.name}` | {column.kind} | {column.meaning} |" for column in columns]
    return "\n".join(lines)
