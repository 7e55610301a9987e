"""The landscapes of the simulated engine."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infpop_runner.contract import FormulaLandscape, RecordedLandscape
from infpop_runner.engines.errors import EngineBrokenError, EngineRefusedError
from infpop_runner.engines.landscape import formula_throughput, load_cells, recorded_throughput

HEADER = "gpu_model,engine,model,gpu_count,batch_size,outcome,throughput_tokens_per_second\n"
ROWS = "A100,hf,Bloom,1,1,ok,37.6\nA100,hf,Bloom,1,2,infeasible,\nV100,hf,Bloom,1,4,ok,9.5\n"
counts = st.sampled_from([1, 2, 4, 8])
batches = st.sampled_from([2**power for power in range(10)])


def recorded(path: Path) -> RecordedLandscape:
    """Return the landscape of one model in a file."""
    return RecordedLandscape(path=str(path), gpu_model="A100", engine="hf", model="Bloom")


@given(gpu_count=counts, batch_size=batches)
def test_the_formula_has_its_optimum_where_it_says(gpu_count: int, batch_size: int) -> None:
    """No cell of the formula is as fast as the optimum."""
    landscape = FormulaLandscape(largest_batch_per_gpu=1024)
    throughput = formula_throughput(landscape, gpu_count=gpu_count, batch_size=batch_size)
    assert 0 < throughput <= 1000.0
    assert (throughput == 1000.0) == ((gpu_count, batch_size) == (4, 64))


def test_the_formula_runs_out_of_memory() -> None:
    """A batch that does not fit is out of memory, and fits with more devices."""
    landscape = FormulaLandscape(largest_batch_per_gpu=64)
    with pytest.raises(EngineRefusedError) as refused:
        formula_throughput(landscape, gpu_count=1, batch_size=128)
    assert (refused.value.reason, str(refused.value)) == ("GpuOutOfMemory", "simulated: batch 128 > 64 on 1 GPU")
    assert formula_throughput(landscape, gpu_count=2, batch_size=128) > 0


def test_recorded_cells_are_replayed(tmp_path: Path) -> None:
    """A recorded cell gives its number; a failed or absent cell is not recorded."""
    path = tmp_path / "landscape.csv"
    path.write_text(HEADER + ROWS)
    cells = load_cells(recorded(path))
    assert recorded_throughput(cells, gpu_count=1, batch_size=1) == 37.6
    for batch_size, text in ((2, "failed when it was recorded"), (4, "is not recorded")):
        with pytest.raises(EngineRefusedError, match=text) as refused:
            recorded_throughput(cells, gpu_count=1, batch_size=batch_size)
        assert refused.value.reason == "NotRecorded"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "No such file"),
        ("a,b\n1,2\n", "lacks the columns"),
        (HEADER, "no row for gpu_model A100"),
        (HEADER + "A100,hf,Bloom,one,1,ok,3\n", "invalid literal"),
    ],
)
def test_a_landscape_that_cannot_be_read_says_why(tmp_path: Path, content: str | None, text: str) -> None:
    """A missing file, column or number is broken, never infeasible, and is named."""
    path = tmp_path / "landscape.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(EngineBrokenError, match=text):
        load_cells(recorded(path))
