"""Tables of names and numbers on terminals of any width: every number is whole."""

import random
import re

import pytest
from rich.cells import cell_len
from rich.text import Text

from infpop_operator.report.name_table import NameTable
from report.played_studies import printed

HEADINGS = ("work", "best", "95 %", "GPU-h", "tokens/s per GPU", "cost")


def table_of(seed: int) -> NameTable:
    """Return a table with names and numbers of many lengths, some of wide characters."""
    draw = random.Random(seed)
    headings = HEADINGS[: draw.randint(1, len(HEADINGS))]
    names = ("all (3)", "organisation/Model-70B-Instruct-v0.1", "组织/模型" * 6, "a name with spaces " * 3, "★ 8 GPUs")
    rows = (
        (Text(draw.choice(names).strip()), tuple(Text(draw.choice(("1", "12.3", "1,234,567"))) for _ in headings))
        for _ in range(draw.randint(1, 5))
    )
    return NameTable(name="landscape", headings=headings, rows=tuple(rows))


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("seed", range(15))
def test_every_number_and_every_name_is_whole(seed: int, width: int) -> None:
    """The numbers stand in their order, and the pieces of a name are all there."""
    table = table_of(seed)
    lines = [line.rstrip() for line in printed(table, width).splitlines()]
    assert all(cell_len(line) <= width for line in lines)
    numbers = [number for line in lines for number in re.findall(r"(?<=  )[\d.,]+(?=$|  )", line)]
    assert sorted(numbers) == sorted(cell.plain for _, cells in table.rows for cell in cells)
    text = re.sub(r"\s|(?<=  )[\d.,]+(?=$|  )", "", "".join(lines))
    for name, _ in table.rows:
        assert re.sub(r"\s", "", name.plain)[:12] in text


def test_a_long_name_goes_on_below_itself() -> None:
    """The numbers stand beside its first line; on a narrow terminal they stand below it."""
    rows = ((Text("organisation/Model-70B-Instruct"), (Text("1,234,567"), Text("99.9"))),)
    table = NameTable(name="model", headings=("tokens/s", "cost"), rows=rows)
    assert [line.rstrip() for line in printed(table, 40).splitlines()] == [
        "model                     tokens/s  cost",
        "────────────────────────────────────────",
        "organisation/Model-70    1,234,567  99.9",
        "  B-Instruct",
    ]
    assert [line.rstrip() for line in printed(table, 30).splitlines()] == [
        "model",
        "   tokens/s  cost",
        "─────────────────",
        "organisation/Model-70B-Instr",
        "  uct",
        "  1,234,567  99.9",
    ]
