"""The script that fits the prior of the search works with the search as it is."""

from itertools import product

from factories.studies import make_cell
from fit_landscape_prior import Subjects, fit, render
from infpop_operator.core.search.landscape.knowledge import parse
from infpop_operator.core.study import SearchSpace
from infpop_operator.replay.grids import Grid

SPACE = SearchSpace(gpu_counts=(1, 2, 4), batch_sizes=(1, 8, 64))


def made_up(engine: str, model: str, scale: float) -> Grid:
    """Return a landscape that rises with the batch size and with the GPUs; the largest batch fails on one GPU."""
    cells = [make_cell(gpus, batch) for gpus, batch in product(SPACE.gpu_counts, SPACE.batch_sizes)]
    works = [cell for cell in cells if (cell.gpu_count, cell.batch_size) != (1, 64)]
    rates = {cell: scale * cell.gpu_count**0.5 * cell.batch_size**0.7 for cell in works}
    return Grid(gpu_model="A100", engine=engine, model=model, workload="", space=SPACE, rates=rates)


def test_what_is_fitted_can_be_read() -> None:
    """From the landscapes of two engines and three models follows a prior for both engines."""
    grids = [made_up(engine, f"{size}b", 10 / size) for engine in ("vllm", "hf") for size in (1, 3, 7)]
    document = fit(grids, Subjects(parameters={}), source="made up", made="2026-01-01")
    assert set(document["engines"]) == {"vllm", "hf-pipeline"}
    assert set(parse(document)) == {"vllm", "hf-pipeline"}
    assert len(render(document)) > 100
