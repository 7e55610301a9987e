"""The warm-started search: it looks where an earlier round found the most, and learns where that is wrong."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factories.studies import SPACE, make_cell
from infpop_operator.core.search import Prior, PriorCell, SearchRequest, SearchTrial, propose, surface, warm_start
from infpop_operator.core.search.capacity import Capacity
from infpop_operator.core.search.surface import Axes, Points, predict, to_logarithms
from infpop_operator.core.space import cells
from infpop_operator.core.study import AlgorithmName, Configuration, ExtraParameter, SearchSpace

Table = Callable[[Configuration], float | None]  # tokens/s, None: out of memory


def peak(gpus: int, batch: int, *, top: float = 1000.0, memory: int = 64) -> Table:
    """Return a landscape with one peak, in which batches above `memory` per GPU do not fit."""

    def value(cell: Configuration) -> float | None:
        away = abs(log2(cell.gpu_count / gpus)) + abs(log2(cell.batch_size / batch))
        return None if cell.batch_size > memory * cell.gpu_count else top * 0.8**away

    return value


def make_prior(table: Table, *, space: SearchSpace = SPACE, scale: float = 1.0, **changes: object) -> Prior:
    """Return a prior in which every cell was tried."""
    found = []
    for cell in cells(space):
        rate = table(cell)
        if rate is None:
            found.append(PriorCell(configuration=cell, is_usable=False, too_large=True))
        else:
            found.append(PriorCell(configuration=cell, loss=-rate * scale))
    return replace(Prior(cells=tuple(found)), **changes)


def make_request(prior: Prior | None, **changes: object) -> SearchRequest:
    """Return the first request of a warm-started search over 44 cells."""
    first = SearchRequest(
        space=SPACE,
        trials=(),
        open_cells=cells(SPACE),
        index=0,
        seed=0,
        algorithm="tpe",
        max_trials=44,
        prior=prior,
    )
    return replace(first, **changes)


def tried(cell: Configuration, table: Table) -> SearchTrial:
    """Return the trial of a cell of the landscape."""
    rate = table(cell)
    if rate is None:
        return SearchTrial(configuration=cell, state="failed", too_large=True)
    return SearchTrial(configuration=cell, state="measured", loss=-rate)


def search(prior: Prior | None, table: Table, *, first: Configuration, trials: int) -> list[Configuration]:
    """Return the cells that a search tries, the baseline `first` first."""
    known = [tried(first, table)]
    while len(known) < trials:
        failed = [each.configuration for each in known if each.too_large]
        done = {each.configuration for each in known}
        opened = tuple(
            cell
            for cell in cells(SPACE)
            if cell not in done
            and not any(cell.gpu_count == each.gpu_count and cell.batch_size > each.batch_size for each in failed)
        )
        cell = propose(make_request(prior, trials=tuple(known), open_cells=opened, index=len(known)))
        if cell is None:
            break
        known.append(tried(cell, table))
    return [each.configuration for each in known]


def reached(order: list[Configuration], table: Table) -> int:
    """Return after how many trials a search had a cell within 1 % of the optimum."""
    rates = [table(cell) or 0.0 for cell in order]
    optimum = max(table(cell) or 0.0 for cell in cells(SPACE))
    return next((number for number, rate in enumerate(rates, start=1) if rate >= 0.99 * optimum), len(order) + 1)


@pytest.mark.parametrize("gpus", [1, 4, 8])
@pytest.mark.parametrize("batch", [8, 64])
def test_on_a_scaled_landscape_the_old_best_is_confirmed_at_once(gpus: int, batch: int) -> None:
    """Where everything is 2.7 times as fast, the first proposal without a baseline is the optimum."""
    old = peak(gpus, batch, memory=256)
    assert propose(make_request(make_prior(old))) == make_cell(gpus, batch)


@pytest.mark.parametrize("moved", [(8, 64), (4, 128), (2, 64), (4, 32), (8, 128)])
def test_an_optimum_that_moved_by_a_step_is_found_in_few_trials(moved: tuple[int, int]) -> None:
    """The new hardware is 2.7 times as fast, and its optimum is one or two steps away."""
    old, new = make_prior(peak(4, 64)), peak(*moved, top=2700.0)
    assert reached(search(old, new, first=make_cell(4, 64), trials=20), new) <= 8


@pytest.mark.parametrize("new", [peak(1, 8), peak(8, 512, memory=512), peak(1, 1024, memory=2048)])
def test_a_misleading_prior_costs_a_few_trials_at_most(new: Table) -> None:
    """The earlier optimum is in another corner: the search still needs less than half of the 44 cells."""
    order = search(make_prior(peak(8, 1, memory=2048)), new, first=make_cell(8, 1), trials=30)
    assert reached(order, new) <= 20


def test_only_ratios_within_the_earlier_round_matter() -> None:
    """The same landscape in any unit gives the same search: its numbers are never compared with those of now."""
    new = peak(8, 128)
    orders = [
        search(make_prior(peak(4, 64), scale=scale), new, first=make_cell(4, 64), trials=10)
        for scale in (1e-3, 1.0, 1e6)
    ]
    assert orders[0] == orders[1] == orders[2]


def test_a_goal_to_minimise_is_searched_as_well() -> None:
    """A loss above 0 is a value to minimise, such as a cost."""
    table = peak(4, 64)
    costs = tuple(
        PriorCell(configuration=cell, loss=1 / rate) for cell in cells(SPACE) if (rate := table(cell)) is not None
    )
    assert propose(make_request(Prior(cells=costs))) == make_cell(4, 64)


@pytest.mark.parametrize("algorithm", ["tpe", "anneal"])
def test_adaptive_algorithms_start_warm(algorithm: AlgorithmName) -> None:
    """They propose the same cell, because the prior and not the algorithm chooses it."""
    prior = make_prior(peak(2, 32))
    assert propose(make_request(prior, algorithm=algorithm)) == make_cell(2, 32)


@pytest.mark.parametrize("algorithm", ["grid", "random"])
def test_grid_and_random_keep_their_order(algorithm: AlgorithmName) -> None:
    """A prior changes nothing for them."""
    request = make_request(make_prior(peak(2, 32)), algorithm=algorithm)
    assert propose(request) == propose(replace(request, prior=None))


def test_a_prior_that_is_no_help_leaves_the_search_cold() -> None:
    """Too few cells, losses of both signs, and cells of other parameters say nothing."""
    few = make_prior(peak(2, 32)).cells[:2]
    mixed = tuple(PriorCell(configuration=cell, loss=float(index - 5)) for index, cell in enumerate(cells(SPACE)))
    other = tuple(PriorCell(configuration=make_cell(2, batch, mode="fast"), loss=-1.0) for batch in (1, 2, 4, 8))
    cold = propose(make_request(None))
    for found in (few, mixed, other):
        assert warm_start.propose(make_request(Prior(cells=found))) is None
        assert propose(make_request(Prior(cells=found))) == cold
    minimised = (SearchTrial(configuration=make_cell(1, 1), state="measured", loss=1.0),)
    assert warm_start.propose(make_request(make_prior(peak(2, 32)), trials=minimised)) is None


def test_equal_requests_give_the_same_cell_in_another_process() -> None:
    """No proposal depends on the hash seed of a process or on a random number."""
    code = (
        "from core.test_warm_start import *\n"
        "print(search(make_prior(peak(4, 64)), peak(8, 128), first=make_cell(4, 64), trials=8))\n"
    )
    here = search(make_prior(peak(4, 64)), peak(8, 128), first=make_cell(4, 64), trials=8)
    paths = ":".join(path for path in sys.path if path)
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": paths, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == str(here)


def test_parallel_trials_spread() -> None:
    """A cell that is being measured moves the next proposal elsewhere, and is not proposed again."""
    prior, known = make_prior(peak(4, 64)), [tried(make_cell(4, 64), peak(4, 64))]
    asked: list[Configuration] = []
    for _ in range(4):
        pending = [SearchTrial(configuration=cell, state="pending") for cell in asked]
        done = {*asked, make_cell(4, 64)}
        opened = tuple(cell for cell in cells(SPACE) if cell not in done)
        cell = propose(make_request(prior, trials=(*known, *pending), open_cells=opened))
        assert cell is not None
        asked.append(cell)
    assert len(set(asked)) == 4


def test_a_pending_trial_counts_as_what_is_expected_of_it() -> None:
    """Where the new landscape is the old one, the next proposal is the same as after its result."""
    table, prior = peak(4, 64, memory=256), make_prior(peak(4, 64, memory=256))
    known, asked = tried(make_cell(4, 64), table), make_cell(8, 64)
    opened = tuple(cell for cell in cells(SPACE) if cell not in {asked, make_cell(4, 64)})
    pending = SearchTrial(configuration=asked, state="pending")
    proposals = [
        propose(make_request(prior, trials=(known, second), open_cells=opened))
        for second in (pending, tried(asked, table))
    ]
    assert proposals[0] == proposals[1]


def test_the_gain_of_the_last_batch_that_fits_is_learned() -> None:
    """Half as fast again at the end of the memory then: a batch that is likely to be the last now gets most of that."""
    axes = Axes(SPACE)
    old = [cell for cell in cells(SPACE) if cell.batch_size <= 32]
    is_last = np.array([float(cell.batch_size == 32) for cell in old])
    values = np.array([0.4 * log2(cell.batch_size) for cell in old]) + 0.4 * is_last
    known = Points(np.array([axes.of(cell) for cell in old]), np.zeros(len(old)), is_last)
    at = np.array([axes.of(make_cell(4, 64))] * 2)
    found = predict(axes, known, values, Points(at, np.ones(2), np.array([1.0, 0.0])), scale=1.0)
    assert 0.2 < found.mean[0] - found.mean[1] < 0.5


def test_a_larger_batch_than_fitted_is_tried_where_it_may_be_faster() -> None:
    """The landscape rises up to the end of the memory: the step beyond it is the first to be tried on new hardware."""

    def rising(memory: int) -> Table:
        return lambda cell: 10.0 * cell.batch_size**0.9 if cell.batch_size <= memory and cell.gpu_count == 1 else None

    order = search(make_prior(rising(32)), rising(128), first=make_cell(1, 32), trials=4)
    assert order[1:3] == [make_cell(1, 64), make_cell(1, 128)]


def test_limits_move_together() -> None:
    """An out of memory at one GPU count makes large batches less likely at the others; nothing is excluded."""
    prior = make_prior(peak(4, 64, memory=16))
    before = Capacity(make_request(prior)).works([make_cell(4, 64), make_cell(4, 32)])
    failed = (SearchTrial(configuration=make_cell(1, 4), state="failed", too_large=True),)
    after = Capacity(make_request(prior, trials=failed)).works([make_cell(4, 64), make_cell(4, 32)])
    worked = (SearchTrial(configuration=make_cell(1, 64), state="measured", loss=-1.0),)
    better = Capacity(make_request(prior, trials=worked)).works([make_cell(4, 64), make_cell(4, 32)])
    assert (after > 0).all()
    assert (after < before).all()
    assert (before < better).all()
    assert before[0] < before[1]


def test_a_load_that_held_nothing_before_may_hold_anything() -> None:
    """Once the smallest batch works there, no larger one is out of reach, however far it is."""
    prior = make_prior(lambda cell: None if cell.gpu_count == 8 else 10.0 * cell.batch_size)
    known = (SearchTrial(configuration=make_cell(8, 1), state="measured", loss=-1.0),)
    chances = Capacity(make_request(prior, trials=known)).works([make_cell(8, 16), make_cell(8, 256)])
    assert 0.05 < chances[1] < chances[0]


def test_a_configuration_that_was_refused_is_tried_later() -> None:
    """Refused arguments may be accepted now, but of two equal cells the other one comes first."""
    space = SearchSpace(gpu_counts=(1,), batch_sizes=(1, 2, 4, 8), extra=(ExtraParameter(name="m", values=("a", "b")),))
    found = [
        PriorCell(configuration=cell, loss=-5.0, is_usable=dict(cell.extra)["m"] == "b")
        for cell in cells(space)
        if cell.batch_size < 8
    ]
    cell = propose(make_request(Prior(cells=tuple(found)), space=space, open_cells=cells(space)))
    assert cell is not None
    assert dict(cell.extra) == {"m": "b"}


def test_extra_parameters_are_axes_of_the_landscape() -> None:
    """The best value of a word and of a number is proposed, also if it was measured at other batch sizes only."""
    extra = (ExtraParameter(name="mode", values=("slow", "fast")), ExtraParameter(name="size", values=(1, 2, 4)))
    space = SearchSpace(gpu_counts=(1, 2), batch_sizes=(8, 16, 32), extra=extra)

    def rate(cell: Configuration) -> float:
        chosen = dict(cell.extra)
        return 100.0 * cell.batch_size**0.5 * (3 if chosen["mode"] == "fast" else 1) * int(chosen["size"])

    known = [cell for cell in cells(space) if cell.batch_size < 32]
    found = tuple(PriorCell(configuration=cell, loss=-rate(cell)) for cell in known)
    cell = propose(make_request(Prior(cells=found), space=space, open_cells=cells(space)))
    assert cell is not None
    assert dict(cell.extra) == {"mode": "fast", "size": 4}
    assert cell.batch_size == 32


def test_logarithms_of_losses() -> None:
    """Larger is better; losses of both signs, or 0, have none."""
    assert to_logarithms(np.array([-1.0, -np.e])) == pytest.approx([0.0, 1.0])
    assert to_logarithms(np.array([1.0, np.e])) == pytest.approx([0.0, -1.0])
    assert to_logarithms(np.array([-1.0, 1.0])) is None
    assert to_logarithms(np.array([-1.0, 0.0])) is None


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_prior_has_finite_losses(loss: float) -> None:
    """Anything else would distort the posterior without a word."""
    with pytest.raises(ValueError, match="is not finite"):
        Prior(cells=(PriorCell(configuration=make_cell(1, 1), loss=loss),))


SMALL = SearchSpace(gpu_counts=(1, 3), batch_sizes=(1, 5, 700), extra=(ExtraParameter(name="e", values=(True, False)),))
outcomes = st.one_of(st.floats(-1e9, -1e-9), st.floats(1e-9, 1e9), st.sampled_from(["too large", "refused"]))


def test_bounds_of_the_earlier_round_are_no_measurements() -> None:
    """The numbers of trials that were raced out are too good to be true, and give the surface no shape."""
    exact = [PriorCell(configuration=make_cell(gpus, 64), loss=-100.0 * gpus) for gpus in (1, 2, 4)]
    bounds = [PriorCell(configuration=make_cell(8, size), loss=-400.0, is_bound=True) for size in (1, 8, 64)]
    working = [PriorCell(configuration=cell.configuration) for cell in bounds]
    few, told, plain = (
        warm_start.propose(make_request(Prior(cells=tuple(known))))
        for known in ([*exact[:2], *bounds], [*exact, *bounds], [*exact, *working])
    )
    assert few is None
    assert told == plain


def test_a_load_that_did_not_fit_in_the_earlier_round_is_unlikely_to_fit_now() -> None:
    """If another batch of it worked, the load was too large for its own batch alone."""
    failed = PriorCell(configuration=make_cell(1, 64), is_usable=False, while_loading=True)
    worked = PriorCell(configuration=make_cell(1, 8), loss=-100.0)
    unknown, without, beside = (
        Capacity(make_request(Prior(cells=known))).works([make_cell(1, 1), make_cell(1, 64), make_cell(2, 1)])
        for known in ((), (failed,), (failed, worked))
    )
    assert without[0] < 0.5 * unknown[0]
    assert beside[0] > unknown[0]
    assert beside[1] < unknown[1]
    assert without[2] > 0.5


@settings(max_examples=60)
@given(data=st.data(), same_model=st.booleans())
def test_the_proposal_is_always_open_whatever_is_known(data: st.DataObject, *, same_model: bool) -> None:
    """Contradictions, wild numbers and cells outside the space give a cell that is open, or none."""
    every = (*cells(SMALL), make_cell(2, 3, e=True), make_cell(1, 1, other=1))
    prior = data.draw(st.dictionaries(st.sampled_from(every), outcomes))
    known = data.draw(st.dictionaries(st.sampled_from(cells(SMALL)), outcomes | st.just("pending")))
    opened = tuple(cell for cell in cells(SMALL) if cell not in known)
    found = tuple(
        PriorCell(configuration=cell, is_usable=False, too_large=what == "too large")
        if isinstance(what, str)
        else PriorCell(configuration=cell, loss=what)
        for cell, what in prior.items()
    )
    trials = tuple(
        SearchTrial(
            configuration=cell, state="pending" if what == "pending" else "failed", too_large=what == "too large"
        )
        if isinstance(what, str)
        else SearchTrial(configuration=cell, state="measured", loss=what)
        for cell, what in known.items()
    )
    request = make_request(
        Prior(cells=found, same_model=same_model), space=SMALL, trials=trials, open_cells=opened, index=len(trials)
    )
    cell = warm_start.propose(request)
    assert cell is None or cell in opened
    assert cell == warm_start.propose(request)


def test_the_order_of_an_extra_parameters_values_is_no_matter() -> None:
    """Neighbours are neighbours in value, as the study may name them in any order."""
    descending = ExtraParameter(name="tokens", values=(8192, 4096, 2048))
    axes = Axes(SearchSpace(gpu_counts=(1,), batch_sizes=(8,), extra=(descending,)))
    places = [axes.of(make_cell(1, 8, tokens=value)) for value in (2048, 3072, 4096, 8192)]
    assert [None if place is None else place[2] for place in places] == [0.0, 0.5, 1.0, 2.0]


def test_the_variance_of_a_point_is_its_covariance_with_itself() -> None:
    """It is computed apart, because most of the whole matrix is not needed."""
    axes = Axes(SearchSpace(gpu_counts=(1, 2, 8), batch_sizes=(1, 64)))
    at = np.array([[0.0, 6.0], [3.0, 0.0], [1.0, 3.5]])
    points = Points(at=at, is_new=np.array([0.0, 1.0, 1.0]), is_last=np.array([1.0, 0.0, 1.0]))
    whole = surface._covariance(axes, points, points, 4.0)
    assert surface._variance(axes, points, 4.0) == pytest.approx(np.diag(whole))
