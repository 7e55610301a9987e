"""Recorded landscapes from CSV files: what is read, and what is refused with file, line, column, value and remedy."""

from pathlib import Path

import pytest

from factories.studies import make_cell
from infpop_operator.core.errors import ReplayError
from infpop_operator.core.study import SearchSpace
from infpop_operator.replay.grids import on, read_grids
from replay.landscape_files import HEADER, write_file


def test_a_grid_has_what_works_what_failed_and_the_space_of_the_file(tmp_path: Path) -> None:
    """A cell that the file lacks is in the space all the same; 0 tokens/s is no number to compare with."""
    path = write_file(
        tmp_path,
        "V100,vllm,b,1,8,ok,10.5",
        "V100,vllm,b,2,8,infeasible,",
        "V100,vllm,b,2,16,ok,0",
        "V100,vllm,a,4,8,missing,",
        "A100,hf,a,1,1,ok,3",
    )
    grids = read_grids(path)
    assert [(grid.gpu_model, grid.engine, grid.model) for grid in grids] == [
        ("A100", "hf", "a"),
        ("V100", "vllm", "a"),
        ("V100", "vllm", "b"),
    ]
    hf, empty, vllm = grids
    assert hf.space == vllm.space == empty.space == SearchSpace(gpu_counts=(1, 2, 4), batch_sizes=(1, 8, 16))
    assert vllm.rates == {make_cell(1, 8): 10.5}
    assert vllm.silent == {make_cell(2, 16)}
    assert vllm.failed == {make_cell(2, 8)}
    assert (empty.rates, empty.failed, empty.optimum) == ({}, frozenset(), None)
    assert vllm.optimum == make_cell(1, 8)


def test_workloads_are_grids_of_their_own(tmp_path: Path) -> None:
    """The optional columns tell grids of one model apart; other columns do not."""
    path = write_file(
        tmp_path,
        "V100,vllm,m,1,8,ok,10,128,paper",
        "V100,vllm,m,1,8,ok,20,256,blog",
        "V100,vllm,m,1,16,ok,30,256,paper",
        header=f"{HEADER},output_tokens,source",
    )
    assert [(grid.name, len(grid.rates)) for grid in read_grids(path)] == [
        ("m (out 128)", 1),
        ("m (out 256)", 2),
    ]


def test_a_repeated_cell_has_the_median(tmp_path: Path) -> None:
    """Also a cell that failed twice is one cell."""
    lines = [f"V100,vllm,m,1,8,ok,{rate}" for rate in (30, 10, 20)]
    (grid,) = read_grids(write_file(tmp_path, *lines, *["V100,vllm,m,1,16,infeasible,"] * 2))
    assert grid.rates == {make_cell(1, 8): 20.0}
    assert grid.failed == {make_cell(1, 16)}


def test_equal_optima_go_to_fewer_gpus(tmp_path: Path) -> None:
    """Then to the smaller batch."""
    lines = [f"V100,vllm,m,{gpus},{batch},ok,10" for gpus in (2, 1) for batch in (16, 8)]
    (grid,) = read_grids(write_file(tmp_path, *lines))
    assert grid.optimum == make_cell(1, 8)


GOOD = "V100,vllm,m,1,8,ok,10"


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        (",vllm,m,1,8,ok,10", "gpu_model", "is empty. Fill it in"),
        ("V100,vllm, ,1,8,ok,10", "model", "is empty. Fill it in"),
        ("V100,vllm,m,0,8,ok,10", "gpu_count", "0: is not a whole number of at least 1"),
        ("V100,vllm,m,1,8.5,ok,10", "batch_size", "8.5: is not a whole number of at least 1"),
        ("V100,vllm,m,1,-8,ok,10", "batch_size", "-8: is not a whole number"),
        ("V100,vllm,m,1,16,good,10", "outcome", "good: is not known. Use one of: ok, infeasible, missing"),
        ("V100,vllm,m,1,16,ok,fast", "throughput_tokens_per_second", "fast: is not a number of at least 0"),
        ("V100,vllm,m,1,16,ok,nan", "throughput_tokens_per_second", "nan: is not a number of at least 0"),
        ("V100,vllm,m,1,16,ok,-1", "throughput_tokens_per_second", "-1: is not a number of at least 0"),
        ("V100,vllm,m,1,16,ok", "throughput_tokens_per_second", "is not a number of at least 0"),
        ("V100,vllm,m,1,8,infeasible,", "outcome", "contradicts line 2: the same cell works there. Remove one"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, line: str, column: str, message: str) -> None:
    """The message has the file, the line, the column, the value and the remedy."""
    path = write_file(tmp_path, GOOD, line)
    with pytest.raises(ReplayError) as caught:
        read_grids(path)
    assert str(caught.value).startswith(f"{path}, line 3, column {column}:")
    assert message in str(caught.value)


def test_a_file_without_the_columns_is_refused(tmp_path: Path) -> None:
    """The message names what is missing."""
    path = write_file(tmp_path, "V100,1", header="gpu_model,gpu_count")
    with pytest.raises(ReplayError, match="line 1: the columns engine, model, batch_size, outcome, throughput"):
        read_grids(path)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """It does not exist, or is no text."""
    path = tmp_path / "other.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ReplayError, match=r"other\.csv: (does not exist|cannot be read)"):
        read_grids(path)


def test_a_gpu_model_that_the_file_lacks_is_refused_with_those_that_it_has(tmp_path: Path) -> None:
    """Upper and lower case do not matter."""
    grids = read_grids(write_file(tmp_path, GOOD, "A100,vllm,m,1,8,ok,10"))
    assert [grid.gpu_model for grid in on(grids, "a100")] == ["A100"]
    with pytest.raises(ReplayError, match="Choose one of: A100, V100"):
        on(grids, "H200")
    with pytest.raises(ReplayError, match="H100: the file has no cells of this GPU model"):
        on(grids, "H100")
