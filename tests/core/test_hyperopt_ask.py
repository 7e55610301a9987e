"""The documents that Hyperopt receives, and the fallback when it proposes cells that are not open."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hyperopt import JOB_STATE_DONE, JOB_STATE_RUNNING, anneal, rand, tpe

from factories.studies import make_cell
from infpop_operator.core.search import ALGORITHMS, SearchRequest, SearchTrial, SearchTrialState, hyperopt_ask, warm_up
from infpop_operator.core.space import cells
from infpop_operator.core.study import Configuration, ExtraParameter, SearchSpace

MODES = ExtraParameter(name="mode", values=("slow", "fast"))
SPACE = SearchSpace(gpu_counts=(1, 2, 4), batch_sizes=(8, 16, 32, 64), extra=(MODES,))


def make_question(**changes: object) -> SearchRequest:
    """Return the first request of a search over 24 cells."""
    first = SearchRequest(
        space=SPACE, trials=(), open_cells=cells(SPACE), index=0, seed=0, algorithm="tpe", max_trials=24
    )
    return replace(first, **changes)


def record(cell: Configuration, state: SearchTrialState, loss: float | None = None) -> SearchTrial:
    """Return a search trial for a cell."""
    return SearchTrial(configuration=cell, state=state, loss=loss)


def documents_of(*records: SearchTrial) -> list[hyperopt_ask.Document]:
    """Return the documents that Hyperopt receives for these records."""
    question = make_question(trials=records)
    trials = hyperopt_ask._trials(question, hyperopt_ask._domain(SPACE))
    return list(trials.trials)


def test_every_record_inside_the_space_has_a_document_with_its_positions() -> None:
    """Trial numbers are positions among the records; a record outside the space leaves no gap."""
    documents = documents_of(
        record(make_cell(1, 16, mode="fast"), "measured", -5.0),
        record(make_cell(8, 16, mode="fast"), "measured", -9.0),
        record(make_cell(4, 64, mode="slow"), "failed"),
        record(make_cell(2, 8, mode="slow"), "pending"),
    )
    assert [document["tid"] for document in documents] == [0, 1, 2]
    assert [document["misc"]["tid"] for document in documents] == [0, 1, 2]
    assert {tuple(sorted(document["misc"])) for document in documents} == {("cmd", "idxs", "tid", "vals", "workdir")}
    assert [document["state"] for document in documents] == [JOB_STATE_DONE, JOB_STATE_DONE, JOB_STATE_RUNNING]
    assert [document["result"] for document in documents] == [
        {"status": "ok", "loss": -5.0},
        {"status": "fail"},
        {"status": "new"},
    ]
    assert [document["misc"]["vals"] for document in documents] == [
        {"gpuCount": [0], "batchSize": [1], "extra.mode": [1]},
        {"gpuCount": [2], "batchSize": [3], "extra.mode": [0]},
        {"gpuCount": [1], "batchSize": [0], "extra.mode": [0]},
    ]
    assert [document["misc"]["idxs"] for document in documents] == [
        {label: [tid] for label in ("gpuCount", "batchSize", "extra.mode")} for tid in range(3)
    ]


def test_an_ordinal_axis_reaches_as_far_beyond_both_of_its_ends() -> None:
    """Rounding gives the end positions the same probability as the others; words are drawn by their positions."""
    params = hyperopt_ask._domain(SPACE).params
    drawn = {label: (node.name, [argument.obj for argument in node.pos_args]) for label, node in params.items()}
    assert drawn == {
        "gpuCount": ("quniform", [-0.499, 2.499, 1]),
        "batchSize": ("quniform", [-0.499, 3.499, 1]),
        "extra.mode": ("randint", [2]),
    }


@pytest.mark.parametrize(
    ("max_trials", "expected"), [(None, 8), (1, 1), (2, 1), (3, 1), (4, 2), (15, 7), (16, 8), (17, 8), (500, 8)]
)
def test_the_random_start_is_at_most_half_of_the_budget(max_trials: int | None, expected: int) -> None:
    """It has at most eight trials and at least one."""
    assert hyperopt_ask._startup_trials(max_trials) == expected


@pytest.mark.parametrize(
    ("states", "only"),
    [
        (["failed"] * 2, False),
        (["failed"] * 3, True),
        (["failed"] * 4, True),
        (["failed", "failed", "pending"], False),
        (["failed", "failed", "failed", "pending"], True),
        (["failed", "failed", "failed", "measured"], False),
        ([], False),
    ],
)
def test_three_failures_alone_are_only_failures(states: list[SearchTrialState], *, only: bool) -> None:
    """A measured trial, or a fourth failure, changes what the search does."""
    records = tuple(
        record(cell, state, 1.0 if state == "measured" else None)
        for cell, state in zip(cells(SPACE), states, strict=False)
    )
    assert hyperopt_ask._only_failures(records) is only
    opened = cells(SPACE)[len(records) :]
    answer = hyperopt_ask.propose_random(make_question(trials=records, open_cells=opened, seed=3, index=4))
    assert (answer == hyperopt_ask._rescue(opened)) is only


def test_the_rescue_takes_the_smallest_batch_on_the_most_gpus() -> None:
    """A smaller batch is preferred to more GPUs."""
    assert hyperopt_ask._rescue((make_cell(4, 16), make_cell(1, 8), make_cell(2, 8))) == make_cell(2, 8)
    assert hyperopt_ask._rescue(()) is None


def test_the_last_open_cell_is_the_answer() -> None:
    """Only one cell is left to search."""
    for propose in (hyperopt_ask.propose_tpe, hyperopt_ask.propose_anneal, hyperopt_ask.propose_random):
        assert propose(make_question(open_cells=(make_cell(2, 32, mode="fast"),))) == make_cell(2, 32, mode="fast")


def test_every_ask_has_a_seed_of_its_own() -> None:
    """Study seed, trial index and retry number each change the seed, and Hyperopt's generators accept all of them."""
    seeds = [
        hyperopt_ask._seed(make_question(seed=seed, index=index), retry)
        for seed in (0, 1, 2**32 - 1)
        for index in (0, 1)
        for retry in (0, 1)
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
    many = [hyperopt_ask._seed(make_question(index=index), 0) for index in range(64)]
    assert max(many) > 2**30


class Suggest:
    """A fake search that proposes the same cell every time and records each request."""

    def __init__(self, cell: Configuration) -> None:
        self.positions = hyperopt_ask.encoding.encode(SPACE, cell)
        self.asked: list[tuple[list[int], int, int]] = []

    def __call__(self, new_ids: list[int], domain: object, trials: object, seed: int) -> list[hyperopt_ask.Document]:  # noqa: ARG002
        """Return the document of one trial."""
        self.asked.append((new_ids, len(trials), seed))
        assert self.positions is not None
        values = {label: [np.float64(position)] for label, position in self.positions.items()}
        return [{"misc": {"vals": values}}]


def test_a_cell_that_is_not_open_is_asked_again_and_at_last_drawn() -> None:
    """The search asks ten more times with other seeds and fewer candidates, then draws an open cell by the seed."""
    closed, opened = make_cell(1, 8, mode="slow"), tuple(cells(SPACE)[1:])
    known = (record(closed, "measured", 1.0),)
    first, again = Suggest(closed), Suggest(closed)
    question = make_question(trials=known, open_cells=opened, index=1)
    answer = hyperopt_ask._propose(question, first, again)
    assert first.asked == [([1], 1, hyperopt_ask._seed(question, 0))]
    assert again.asked == [([1], 1, hyperopt_ask._seed(question, retry)) for retry in range(1, 11)]
    assert answer in opened
    answers = {hyperopt_ask._drawn(replace(question, index=index)) for index in range(8)}
    answers |= {hyperopt_ask._drawn(replace(question, seed=seed)) for seed in range(8)}
    assert len(answers) >= 6
    assert answer == hyperopt_ask._drawn(question)


def test_the_first_open_cell_that_is_proposed_is_the_answer() -> None:
    """The narrower search runs only if the first proposal is not open."""
    closed, opened = make_cell(1, 8, mode="slow"), make_cell(4, 64, mode="fast")
    question = make_question(open_cells=tuple(cells(SPACE)[1:]), index=1)
    first, again = Suggest(opened), Suggest(closed)
    assert hyperopt_ask._propose(question, first, again) == opened
    assert (len(first.asked), again.asked) == (1, [])
    assert hyperopt_ask._propose(question, Suggest(closed), Suggest(opened)) == opened


def test_tpe_asks_again_with_a_single_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the usual 24 candidates nearly every seed gives the same cell; both asks share the same random start."""
    asked: list[tuple[object, partial[object], partial[object]]] = []
    monkeypatch.setattr(hyperopt_ask, "_propose", lambda *arguments: asked.append(arguments))
    question = make_question(max_trials=10)
    hyperopt_ask.propose_tpe(question)
    ((given, first, again),) = asked
    assert given is question
    assert (first.func, first.keywords) == (tpe.suggest, {"n_startup_jobs": 5, "verbose": False})
    assert (again.func, again.keywords) == (tpe.suggest, first.keywords | {"n_EI_candidates": 1})


@pytest.mark.parametrize(
    ("propose", "suggest"),
    [(hyperopt_ask.propose_anneal, anneal.suggest), (hyperopt_ask.propose_random, rand.suggest)],
)
def test_the_other_searches_ask_again_as_they_did_before(
    monkeypatch: pytest.MonkeyPatch, propose: Callable[[SearchRequest], object], suggest: object
) -> None:
    """Another seed is enough for these algorithms."""
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(hyperopt_ask, "_propose", lambda *arguments: asked.append(arguments))
    propose(make_question())
    assert asked == [(make_question(), suggest, suggest)]


def test_every_algorithm_can_be_loaded_before_the_first_question() -> None:
    """Every function that the table names exists."""
    warm_up()
    for name, (module, function) in ALGORITHMS.items():
        assert (name, module.rpartition(".")[2], function) in {
            ("landscape", "ask", "propose"),
            ("tpe", "hyperopt_ask", "propose_tpe"),
            ("anneal", "hyperopt_ask", "propose_anneal"),
            ("random", "hyperopt_ask", "propose_random"),
            ("grid", "grid", "propose"),
        }
