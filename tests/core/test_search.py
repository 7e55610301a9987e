"""The search: what all algorithms guarantee, then what each adds."""

import subprocess
import sys
from dataclasses import replace
from random import Random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factories.studies import SPACE, make_cell
from infpop_operator.core.search import (
    ALGORITHMS,
    SearchRequest,
    SearchTrial,
    companions,
    encoding,
    hyperopt_ask,
    propose,
)
from infpop_operator.core.space import cells
from infpop_operator.core.study import AlgorithmName, Configuration, ExtraParameter, SearchSpace

NAMES = get_args(AlgorithmName)
HYPEROPT = ("tpe", "anneal", "random")


def make_question(**changes: object) -> SearchRequest:
    """Return the first request of a search over 44 cells."""
    first = SearchRequest(
        space=SPACE, trials=(), open_cells=cells(SPACE), index=0, seed=0, algorithm="tpe", max_trials=44
    )
    return replace(first, **changes)


def measured(cell: Configuration, loss: float) -> SearchTrial:
    """Return a search trial with a number."""
    return SearchTrial(configuration=cell, state="measured", loss=loss)


def failed(cell: Configuration) -> SearchTrial:
    """Return a search trial of a cell that cannot be used."""
    return SearchTrial(configuration=cell, state="failed")


spaces = st.builds(
    SearchSpace,
    gpu_counts=st.sets(st.sampled_from([1, 2, 3, 4, 8]), min_size=1, max_size=3).map(lambda x: tuple(sorted(x))),
    batch_sizes=st.sets(st.integers(1, 1024), min_size=1, max_size=5).map(lambda x: tuple(sorted(x))),
    extra=st.sampled_from(
        [
            (),
            (ExtraParameter(name="enforce_eager", values=(True, False)),),
            (ExtraParameter(name="b", values=(0.5,)), ExtraParameter(name="a", values=(0.1, 0.9, 3))),
            (ExtraParameter(name="batchSize", values=("auto", "none")),),
        ]
    ),
)
losses = st.floats(-1e12, 1e12, allow_nan=False) | st.just(-1e-300) | st.just(0.0)


@st.composite
def questions(draw: st.DrawFn) -> SearchRequest:
    """Draw a request with any mixture of known cells, some open cells, and perhaps a record outside the space."""
    space = draw(spaces)
    every = list(cells(space))
    random = draw(st.randoms(use_true_random=False))
    random.shuffle(every)
    known = every[: draw(st.integers(0, len(every)))]
    kinds = st.one_of(
        losses.map(lambda loss: ("measured", loss)), st.sampled_from([("failed", None), ("pending", None)])
    )
    records = [
        SearchTrial(configuration=cell, state=state, loss=loss) for cell in known for state, loss in [draw(kinds)]
    ]
    if draw(st.booleans()):
        records.insert(0, measured(make_cell(16, 7), -5.0))
    rest = every[len(known) :]
    return SearchRequest(
        space=space,
        trials=tuple(records),
        open_cells=tuple(sorted(rest[: draw(st.integers(0, len(rest)))], key=every.index)),
        index=draw(st.integers(0, 500)),
        seed=draw(st.integers(0, 2**32 - 1)),
        algorithm=draw(st.sampled_from(NAMES)),
        max_trials=draw(st.none() | st.integers(1, 500)),
    )


@settings(max_examples=200)
@given(questions())
def test_an_answer_is_an_open_cell_and_the_same_question_has_the_same_answer(question: SearchRequest) -> None:
    """A search answers with an open cell, and with None exactly when there is none; it is deterministic."""
    answer = propose(question)
    if question.open_cells:
        assert answer in question.open_cells
    else:
        assert answer is None
    assert propose(question) == answer


@pytest.mark.parametrize("algorithm", NAMES)
def test_a_search_visits_every_cell_exactly_once(algorithm: AlgorithmName) -> None:
    """As many asks as there are cells return every cell exactly once."""
    assert sorted(visit(algorithm, seed=3, asks=44)) == list(cells(SPACE))


@pytest.mark.parametrize("algorithm", NAMES)
def test_answers_are_plain_python_numbers(algorithm: AlgorithmName) -> None:
    """Hyperopt's numpy numbers never leave the search: answers hold plain int values."""
    cell = propose(make_question(algorithm=algorithm))
    assert cell is not None
    assert (type(cell.gpu_count), type(cell.batch_size)) == (int, int)


@pytest.mark.parametrize("algorithm", HYPEROPT)
def test_the_first_cells_differ_between_trials_and_between_seeds(algorithm: AlgorithmName) -> None:
    """No study seed makes Hyperopt propose one point again and again."""
    by_index = {propose(make_question(algorithm=algorithm, index=index)) for index in range(8)}
    by_seed = {propose(make_question(algorithm=algorithm, seed=seed)) for seed in range(8)}
    assert min(len(by_index), len(by_seed)) >= 5


@pytest.mark.parametrize("algorithm", HYPEROPT)
@pytest.mark.parametrize("state", ["failed", "pending"])
def test_three_failures_and_no_success_lead_to_the_cell_most_likely_to_work(
    algorithm: AlgorithmName, state: str
) -> None:
    """A model that does not fit is tried with the smallest batch on the most GPUs; pending trials are not failures."""
    tried = [make_cell(1, 512), make_cell(2, 512), make_cell(4, 512)]
    records = tuple(SearchTrial(configuration=cell, state=state) for cell in tried)
    opened = tuple(cell for cell in cells(SPACE) if cell not in tried)
    cell = propose(make_question(algorithm=algorithm, trials=records, open_cells=opened, index=3))
    assert (cell == make_cell(8, 1)) == (state == "failed")


def test_tpe_leaves_its_random_start_before_half_of_the_budget_is_spent() -> None:
    """With a budget of 8 trials the fifth ask already uses the model, with 44 it does not."""
    known = [make_cell(8, 512), make_cell(8, 256), make_cell(1, 1), make_cell(1, 2)]
    records = tuple(measured(cell, -float(cell.gpu_count * cell.batch_size)) for cell in known)

    def answers(max_trials: int | None, algorithm: AlgorithmName) -> list[Configuration | None]:
        question = make_question(trials=records, index=4, max_trials=max_trials, algorithm=algorithm)
        return [propose(replace(question, seed=seed)) for seed in range(6)]

    assert answers(44, "tpe") == answers(None, "tpe") == answers(44, "random")
    assert answers(8, "tpe") != answers(8, "random")


@pytest.mark.parametrize("algorithm", ["tpe", "anneal"])
def test_the_model_based_searches_go_where_it_is_good(algorithm: AlgorithmName) -> None:
    """With every third cell of a smooth landscape known, they propose far better cells than random search."""
    records = tuple(measured(cell, -throughput(cell)) for cell in cells(SPACE)[::3])
    opened = tuple(cell for cell in cells(SPACE) if cell not in cells(SPACE)[::3])

    def mean(name: AlgorithmName) -> float:
        question = make_question(trials=records, open_cells=opened, index=len(records), algorithm=name)
        answers = [propose(replace(question, seed=seed)) for seed in range(30)]
        return sum(throughput(cell) for cell in answers if cell is not None) / len(answers)

    assert mean(algorithm) > 1.5 * mean("random")


def test_failed_cells_are_known_to_be_bad() -> None:
    """A search avoids the surroundings of a failed cell, as it would not if the failure had an arbitrary number."""
    good = [make_cell(gpus, batch) for gpus in (1, 2) for batch in (1, 2, 4, 8, 16, 32)]
    records = (failed(make_cell(8, 512)), *(measured(cell, -100.0 / cell.batch_size) for cell in good))
    opened = tuple(cell for cell in cells(SPACE) if cell not in (make_cell(8, 512), *good))
    question = make_question(algorithm="anneal", trials=records, open_cells=opened, index=13)
    answers = [propose(replace(question, seed=seed)) for seed in range(30)]
    assert sum(cell.gpu_count == 8 and cell.batch_size >= 128 for cell in answers if cell is not None) <= 4


@pytest.mark.parametrize(
    ("record", "state", "result"),
    [
        (measured(make_cell(1, 1), -3.0), 2, {"status": "ok", "loss": -3.0}),
        (failed(make_cell(1, 1)), 2, {"status": "fail"}),
        (SearchTrial(configuration=make_cell(1, 1), state="pending"), 1, {"status": "new"}),
    ],
)
def test_hyperopt_gets_what_its_searches_can_read(record: SearchTrial, state: int, result: dict[str, object]) -> None:
    """A failure is done and has no loss: Hyperopt drops records in the error state and trusts any number."""
    assert hyperopt_ask._outcome(record) == (state, result)


def test_a_record_outside_the_space_does_not_change_the_answer() -> None:
    """A baseline outside the space has no position on its axes, so the search does not receive it."""
    records = tuple(measured(cell, -float(index)) for index, cell in enumerate(cells(SPACE)[:12]))
    question = make_question(trials=records, open_cells=cells(SPACE)[12:], index=13)
    foreign = (measured(make_cell(16, 48), -99.0), measured(make_cell(1, 1, mode="x"), -99.0))
    assert propose(replace(question, trials=(*foreign, *records))) == propose(question)


@pytest.mark.parametrize(
    ("state", "loss"),
    [("measured", None), ("failed", 1.0), ("pending", 1.0), ("measured", float("nan")), ("measured", float("-inf"))],
)
def test_a_record_has_a_finite_loss_exactly_when_measured(state: str, loss: float | None) -> None:
    """NaN and infinity never reach a search, and a failure has no number."""
    with pytest.raises(ValueError, match=r"loss"):
        SearchTrial(configuration=make_cell(1, 1), state=state, loss=loss)


def test_the_grid_goes_from_most_gpus_down_and_from_small_batches_up() -> None:
    """Most GPUs first, batch sizes ascending, so that one out-of-memory rules out the rest of its load."""
    space = SearchSpace(gpu_counts=(1, 2), batch_sizes=(4, 8))
    assert visit("grid", seed=0, asks=4, space=space) == [
        make_cell(2, 4),
        make_cell(2, 8),
        make_cell(1, 4),
        make_cell(1, 8),
    ]


def test_the_grid_waits_for_a_pending_load_while_others_are_open() -> None:
    """Parallel trials spread over loads, so that no larger batch starts before the smaller one is known."""
    pending = (SearchTrial(configuration=make_cell(8, 1), state="pending"),)
    opened = tuple(cell for cell in cells(SPACE) if cell != make_cell(8, 1))
    question = make_question(algorithm="grid", trials=pending, open_cells=opened)
    assert propose(question) == make_cell(4, 1)
    only = tuple(cell for cell in opened if cell.gpu_count == 8)
    assert propose(replace(question, open_cells=only)) == make_cell(8, 2)


def test_a_grid_that_the_budget_cuts_short_gives_each_gpu_count_its_share() -> None:
    """20 of 44 cells: five of each GPU count, in turn, and the batch sizes of each from coarse to fine."""
    order = visit("grid", seed=0, asks=20, max_trials=20)
    assert [cell.gpu_count for cell in order] == [8, 4, 2, 1] * 5
    assert [cell.batch_size for cell in order if cell.gpu_count == 8] == [32, 256, 4, 1024, 128]


def test_a_grid_that_is_cut_short_goes_on_where_batches_still_fit() -> None:
    """A GPU count whose larger batches are ruled out has the same number of trials as the others."""
    trials = (failed(make_cell(8, 32)), *(measured(make_cell(gpus, 32), -1.0) for gpus in (4, 2, 1)))
    opened = tuple(
        cell for cell in cells(SPACE) if cell.batch_size != 32 and (cell.gpu_count < 8 or cell.batch_size < 32)
    )
    question = make_question(algorithm="grid", trials=trials, open_cells=opened, max_trials=20)
    assert propose(question) == make_cell(8, 4)


def test_a_load_of_a_grid_that_is_cut_short_takes_no_more_than_its_share() -> None:
    """20 of 44 cells are five for each load; of a grid that is not cut short, all larger batches follow."""
    question = make_question(algorithm="grid", max_trials=20)
    found = companions(question, make_cell(8, 32), 7)
    assert [companion.configuration.batch_size for companion in found] == [4, 128, 256, 1024]
    found = companions(replace(question, max_trials=44), make_cell(8, 32), 7)
    assert [companion.configuration.batch_size for companion in found] == [64, 128, 256, 512, 1024]


@given(spaces)
def test_encoding_is_undone_by_decoding(space: SearchSpace) -> None:
    """Each cell has its own positions, and only dimensions with a choice are axes."""
    encoded = [encoding.encode(space, cell) for cell in cells(space)]
    assert [encoding.decode(space, positions) for positions in encoded if positions is not None] == list(cells(space))
    assert all(len(axis.values) > 1 for axis in encoding.axes(space))


def test_numbers_are_ordinal_and_words_and_booleans_are_not() -> None:
    """Only numbers are ordinal."""
    space = SearchSpace(
        gpu_counts=(1,),
        batch_sizes=(1, 2),
        extra=(
            ExtraParameter(name="a", values=(1, 2.5)),
            ExtraParameter(name="b", values=(True, False)),
            ExtraParameter(name="c", values=("x", "y")),
        ),
    )
    assert [(axis.label, axis.ordinal) for axis in encoding.axes(space)] == [
        ("batchSize", True),
        ("extra.a", True),
        ("extra.b", False),
        ("extra.c", False),
    ]


def test_every_algorithm_name_has_its_module() -> None:
    """The names in the model and in the table agree."""
    assert tuple(ALGORITHMS) == NAMES


def test_the_grid_loads_no_numerical_library() -> None:
    """Importing the search and asking the grid loads neither Hyperopt nor numpy."""
    code = (
        "import sys\n"
        "from infpop_operator.core import decide, landscape, objective, search, space, study\n"
        "grid = study.SearchSpace(gpu_counts=(1,), batch_sizes=(1,))\n"
        "search.propose(search.SearchRequest(space=grid, trials=(), open_cells=space.cells(grid), index=0, seed=0,"
        " algorithm='grid'))\n"
        "print(sorted({'hyperopt', 'numpy', 'scipy'} & set(sys.modules)))\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_hyperopt_is_quiet(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is printed or logged while asking."""
    with caplog.at_level("DEBUG"):
        for algorithm in NAMES:
            visit(algorithm, seed=1, asks=12)
    assert (*capfd.readouterr(), caplog.text) == ("", "", "")


def throughput(cell: Configuration) -> float:
    """A smooth landscape with its optimum at 8 GPUs and batch 256."""
    return 1000 * 0.75 ** (
        SPACE.gpu_counts[::-1].index(cell.gpu_count) + abs(SPACE.batch_sizes.index(cell.batch_size) - 8)
    )


def visit(
    algorithm: AlgorithmName, *, seed: int, asks: int, space: SearchSpace = SPACE, max_trials: int = 44
) -> list[Configuration]:
    """Ask `asks` times, answer each with the landscape's value, and return the cells in the order asked for."""
    records: list[SearchTrial] = []
    opened = list(cells(space))
    Random(seed).shuffle(opened)
    for index in range(asks):
        cell = propose(
            SearchRequest(
                space=space,
                trials=tuple(records),
                open_cells=tuple(opened),
                index=index,
                seed=seed,
                algorithm=algorithm,
                max_trials=max_trials,
            )
        )
        assert cell is not None
        opened.remove(cell)
        records.append(measured(cell, -throughput(cell) if space is SPACE else -1.0))
    return [record.configuration for record in records]
