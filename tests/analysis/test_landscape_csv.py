"""Recorded landscapes as result rows: what each line becomes, and what is refused and how."""

import pytest

from infpop_operator.analysis.landscape_csv import landscape_rows, parse_landscape
from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.core.errors import ResultError
from infpop_operator.core.landscape import CellState
from replay.landscape_files import HEADER

RIGHT = "throughput_tokens_per_second"
OF_MINUTES = f"column throughput_tokens_per_minute: does not say tokens per second; {RIGHT} is missing"
GOOD = "V100,vllm,m,1,8,ok,10"


def rows_of(*lines: str, header: str = HEADER) -> tuple[TrialResultRow, ...]:
    """Return the rows of a file with these lines."""
    return landscape_rows(parse_landscape("\n".join((header, *lines)), "some/lab.csv"), "some/lab.csv")


def test_a_cell_is_a_row_with_its_state() -> None:
    """A cell that works has a number; any other has the reason why it has none."""
    rows = rows_of(GOOD, "V100,vllm,m,2,8,ok,12.5", "V100,vllm,m,4,8,infeasible,", "V100,vllm,m,8,8,missing,")
    assert [(row.gpu_count, row.state, row.throughput_tokens_per_second, row.reason) for row in rows] == [
        (1, CellState.MEASURED, 10.0, None),
        (2, CellState.MEASURED, 12.5, None),
        (4, CellState.INFEASIBLE, None, "RecordedAsInfeasible"),
        (8, CellState.UNTRIED, None, "NotRecorded"),
    ]
    assert [(row.study, row.pool, row.trial, row.is_best) for row in rows] == [
        ("lab", "V100", index, index == 1) for index in range(4)
    ]


def test_a_cell_that_generated_nothing_has_no_number() -> None:
    """0 tokens/s cannot be compared with anything."""
    (row,) = rows_of("V100,vllm,m,1,8,ok,0")
    assert (row.state, row.throughput_tokens_per_second, row.reason) == (CellState.INVALID, None, "GeneratedNothing")


def test_each_landscape_has_a_best_and_counts_its_own_cells() -> None:
    """Another GPU model, engine, model or workload is another landscape; equal cells go to fewer GPUs."""
    rows = rows_of(
        "V100,vllm,m,2,8,ok,10,128",
        "V100,vllm,m,1,8,ok,10,128",
        "V100,vllm,m,1,8,ok,20,256",
        header=f"{HEADER},output_tokens",
    )
    assert [(row.workload, row.gpu_count, row.trial, row.is_best) for row in rows] == [
        ("out 128", 2, 0, False),
        ("out 128", 1, 1, True),
        ("out 256", 1, 0, True),
    ]
    assert [row.new_tokens_per_sequence for row in rows] == [128, 128, 256]


def test_optional_columns_are_fields_of_the_row() -> None:
    """Price, load, date and reason are read where a line has them; a column that nothing knows is ignored."""
    header = f"{HEADER},price_per_gpu_hour,load_seconds,date,reason,parameters,lab,input_tokens"
    rows = rows_of(
        f"{GOOD},2.5,31,2026-11-29,,7000000000,ours,512",
        "V100,vllm,m,2,8,infeasible,,,,,GpuOutOfMemory,,,1-9",
        header=header,
    )
    assert (rows[0].price_per_gpu_hour, rows[0].load_seconds, rows[0].parameters) == (2.5, 31.0, 7_000_000_000)
    assert [row.prompt_tokens_mean for row in rows] == [512.0, None]
    assert rows[0].ended_at is not None
    assert rows[0].ended_at.isoformat() == "2026-11-29T00:00:00+00:00"
    assert (rows[1].reason, rows[1].price_per_gpu_hour) == ("GpuOutOfMemory", None)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (HEADER.replace("second", "minute"), f"{OF_MINUTES}. Divide by 60, and name the column {RIGHT}."),
        (HEADER.replace("throughput_tokens_per_second", "tokens_per_hour"), "Divide by 3600, and name the column"),
        (HEADER.replace("_tokens_per_second", ""), "column throughput: does not say tokens per second"),
        (
            HEADER.replace(",model", ""),
            "line 1: the columns model are missing. The first line names the columns: gpu",
        ),
        ("", "line 1: the columns gpu_model, engine, model, gpu_count"),
        (f"{HEADER},model", "line 1, column model: occurs twice. Name each column once."),
    ],
)
def test_columns_that_cannot_be_used_are_refused(header: str, message: str) -> None:
    """The message says which column, what is wrong with it, and what to do."""
    with pytest.raises(ResultError) as caught:
        rows_of(GOOD, header=header)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            'V100,vllm,m,1,16,ok,"1,234"',
            "throughput_tokens_per_second: 1,234: is not a number of at least 0. Write it wit",
        ),
        (
            "V100,vllm,m,1,16,ok,1,234",
            "line 3: 234: is more than the first line has columns for. Quote a text that con",
        ),
        (
            "V100,vllm,m,1,16,ok,37.6 tok/s",
            "37.6 tok/s: is not a number of at least 0. Write the number of tokens per ",
        ),
        ("V100,vllm,m,1,16,ok,1_000", "1_000: is not a number of at least 0. Write it without separators"),
        ("V100,vllm,m,1,16,ok,-3", "-3: is not a number of at least 0"),
        ("V100,vllm,m,1,16,ok,inf", "inf: is not a number of at least 0"),
        ("V100,vllm,m,1,16,ok,NaN", "NaN: is not a number of at least 0"),
        (
            "V100,vllm,m,1,16,ok,",
            "throughput_tokens_per_second: is not a number of at least 0. Write the tokens per se",
        ),
        (
            "V100,vllm,m,1,16,infeasible,12",
            "12: is a throughput, and the outcome is infeasible. Write the outcome ok, or",
        ),
        (
            "V100,vllm,m,1,8,ok,11",
            "line 3: 1 GPUs, batch size 8: is the cell of line 2 again: V100, vllm, m. Remove one",
        ),
        ("V100,vllm,m,1,8,missing,", "line 3: 1 GPUs, batch size 8: is the cell of line 2 again"),
        ("V100,vllm,m,1.0,16,ok,11", "column gpu_count: 1.0: is not a whole number of at least 1"),
        ("V100,vllm,m,1,16,fine,11", "column outcome: fine: is not known. Use one of: ok, infeasible, missing."),
        ("V100,vllm", "column model: is empty. Fill it in."),
    ],
)
def test_a_line_that_cannot_be_used_is_refused(line: str, message: str) -> None:
    """The message names file, line, column and value, and what to write instead."""
    with pytest.raises(ResultError) as caught:
        rows_of(GOOD, line)
    assert str(caught.value).startswith("some/lab.csv, line 3")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0,,", "column price_per_gpu_hour: 0: is not a number above 0. Correct it or leave it empty."),
        (",2 min,", "column load_seconds: 2 min: is not a number above 0. Write the number of seconds alone"),
        (",,29.11.2026", "column date: 29.11.2026: is no date. Write it as 2026-11-29"),
    ],
)
def test_an_optional_column_is_checked_as_well(value: str, message: str) -> None:
    """A wrong value is no reason to ignore it."""
    with pytest.raises(ResultError) as caught:
        rows_of(f"{GOOD},{value}", header=f"{HEADER},price_per_gpu_hour,load_seconds,date")
    assert message in str(caught.value)


def test_names_are_text_of_one_line() -> None:
    """An escape sequence or a line break in a file does not reach a terminal."""
    (row,) = rows_of('V100,vllm,"m\x1b[31m\nevil",1,8,ok,10')
    assert row.model == "m evil"
