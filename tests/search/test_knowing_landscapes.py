"""The search `landscape`: what it may answer, and what it makes of what it knows."""

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factories.search_requests import FACTS, after, failed, make_request, measured, tried
from factories.studies import SPACE, make_cell
from infpop_operator.core.search import (
    Prior,
    PriorCell,
    SearchFacts,
    SearchRequest,
    SearchTrial,
    companions,
    confidence,
    propose,
)
from infpop_operator.core.search.landscape.knowledge import instead, knowledge_of
from infpop_operator.core.search.landscape.outlook import MOST_CELLS, outlook
from infpop_operator.core.space import cells
from infpop_operator.core.study import Configuration, ExtraParameter, SearchSpace

GPUS = (None, "NVIDIA A100-SXM4-80GB", "L4", "AMD Instinct MI300X", "unheard-of")


@st.composite
def requests(draw: st.DrawFn) -> SearchRequest:
    """Draw a request about any subject, with trials and an earlier round of any kind."""
    extra = draw(st.sampled_from([(), (ExtraParameter(name="a", values=(True, False)),)]))
    space = SearchSpace(
        gpu_counts=draw(st.sampled_from([(1,), (2, 6), (1, 16)])), batch_sizes=(1, 8, 4096), extra=extra
    )
    every = list(cells(space))
    draw(st.randoms(use_true_random=False)).shuffle(every)
    loss = st.floats(-1e12, 1e12, allow_nan=False)
    kinds = st.one_of(
        st.builds(dict, state=st.sampled_from(["measured", "bounded"]), loss=loss),
        st.builds(dict, state=st.just("failed"), too_large=st.booleans(), while_loading=st.booleans()),
        st.just({"state": "pending"}),
    )
    trials = tuple(SearchTrial(configuration=cell, **draw(kinds)) for cell in every[: draw(st.integers(0, len(every)))])
    before = tuple(PriorCell(configuration=cell, loss=draw(st.none() | loss)) for cell in every[:4])
    return SearchRequest(
        space=space,
        trials=trials,
        open_cells=tuple(every[len(trials) :]),
        index=draw(st.integers(0, 99)),
        seed=draw(st.integers(0, 2**32 - 1)),
        algorithm="landscape",
        prior=draw(st.none() | st.just(Prior(cells=before, same_model=draw(st.booleans())))),
        facts=SearchFacts(
            engine=draw(st.sampled_from([None, "vllm", "hf-pipeline", "simulated"])),
            gpu_model=draw(st.sampled_from(GPUS)),
            parameters=draw(st.none() | st.integers(1, 10**13)),
            weight_bytes=draw(st.none() | st.integers(1, 10**13)),
            samples=draw(st.none() | st.integers(1, 10**6)),
            new_tokens=draw(st.none() | st.integers(1, 4096)),
            adaptive=draw(st.booleans()),
            losses_are_throughput=draw(st.booleans()),
            divided_by=draw(st.sampled_from([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.3, 0.7), None])),
        ),
    )


@settings(max_examples=60)
@given(requests())
def test_every_answer_is_open_plain_and_the_same_again(request: SearchRequest) -> None:
    """Cells are open and of plain numbers, companions share the load, and a probability is one."""
    cell, sure = propose(request), confidence(request)
    assert (cell in request.open_cells) if request.open_cells else cell is None
    assert sure is None or (type(sure) is float and 0 <= sure <= 1)
    if cell is None:
        return
    found = companions(request, cell, 3)
    assert type(cell.batch_size) is int
    assert len({cell, *(each.configuration for each in found)}) == len(found) + 1 <= 4
    for each in found:
        assert each.configuration in request.open_cells
        assert each.configuration.load_key == cell.load_key
        assert each.needs_loss is None or type(each.needs_loss) is float
    assert (propose(request), companions(request, cell, 3), confidence(request)) == (cell, found, sure)


def test_equal_requests_give_the_same_cells_in_another_process() -> None:
    """A restarted operator goes on with the same proposals."""
    code = (
        "from factories.search_requests import make_request, after, measured\n"
        "from factories.studies import make_cell\n"
        "from infpop_operator.core.search import propose\n"
        "request = after(make_request(seed=7), measured(make_cell(4, 64), -100.0))\n"
        "print(propose(request))\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="tests")
    request = after(make_request(seed=7), measured(make_cell(4, 64), -100.0))
    assert shown.stdout.strip() == str(propose(request))


def saturating(cell: Configuration) -> float | None:
    """A landscape like those that were published: 7 billion parameters on vLLM."""
    return 100 * cell.gpu_count**0.5 * cell.batch_size / (cell.batch_size + 20)


def trials_until_found(request: SearchRequest) -> int:
    """Return how many trials find a cell within 1 % of the optimum of `saturating`."""
    best = max(saturating(cell) or 0 for cell in request.open_cells)
    while True:
        cell = propose(request)
        assert cell is not None
        request = after(request, tried(cell, saturating))
        if (saturating(cell) or 0) >= 0.99 * best:
            return len(request.trials)


@pytest.mark.parametrize("engine", ["vllm", None])
def test_a_landscape_of_a_known_kind_is_searched_in_few_trials(engine: str | None) -> None:
    """A first round needs a handful of the 44 cells, even where nothing was published of its engine."""
    assert trials_until_found(make_request(facts=replace(FACTS, engine=engine))) <= 6


def test_what_is_minimised_is_searched_as_what_is_maximised() -> None:
    """Where a cost per token falls with each GPU, the search goes to many GPUs as it does for throughput."""
    request = make_request(facts=replace(FACTS, losses_are_throughput=False))
    known = [cell for cell in cells(SPACE) if cell.gpu_count < 8 and cell.batch_size in {1, 8, 64, 512}]
    cell = propose(after(request, *(measured(each, 1 / (saturating(each) or 1)) for each in known)))
    assert cell is not None
    assert cell.gpu_count == 8


def test_throughput_per_gpu_is_looked_for_on_few_gpus() -> None:
    """Recorded landscapes have their best throughput per GPU on one GPU, mostly."""
    facts = replace(FACTS, losses_are_throughput=False, divided_by=(1.0, 0.0))
    cell = propose(make_request(facts=facts))
    assert cell is not None
    assert cell.gpu_count == 1


@pytest.mark.parametrize(("gpu_model", "most"), [("L4", False), ("NVIDIA B200", True)])
def test_memory_decides_where_a_large_model_is_tried_first(gpu_model: str, *, most: bool) -> None:
    """70 billion parameters do not fit one L4, and they fit one B200."""
    facts = replace(FACTS, gpu_model=gpu_model, parameters=70_000_000_000)
    seen = outlook(make_request(facts=facts))
    works = dict(zip(seen.cells, seen.works, strict=True))
    assert bool(works[make_cell(1, 1)] > 0.5) is most
    assert works[make_cell(8, 1)] > 0.5


def test_quantised_weights_count_with_their_bytes() -> None:
    """A model of 70 billion parameters in 4 bits fits one GPU of 80 GB."""
    facts = replace(FACTS, gpu_model="H100", parameters=70_000_000_000)
    chances = []
    for weights in (None, 40_000_000_000):
        seen = outlook(make_request(facts=replace(facts, weight_bytes=weights)))
        chances.append(dict(zip(seen.cells, seen.works, strict=True))[make_cell(1, 1)])
    assert chances[0] < 0.5 < chances[1]


def test_a_load_without_memory_says_nothing_of_other_gpu_counts() -> None:
    """A load that ran out of memory is not tried again while others are open; the chances of others stay the same."""
    request = make_request()
    before, seen = outlook(request), outlook(after(request, failed(make_cell(2, 64), while_loading=True)))
    was, now = (dict(zip(each.cells, each.works, strict=True)) for each in (before, seen))
    assert now[make_cell(2, 1)] < 0.05 * was[make_cell(2, 1)]
    assert now[make_cell(4, 64)] == pytest.approx(was[make_cell(4, 64)])


def test_out_of_memory_at_a_batch_leaves_smaller_ones_likely() -> None:
    """The batch was too large, not the model."""
    request = make_request(facts=replace(FACTS, engine="hf-pipeline"))
    seen = outlook(after(request, failed(make_cell(2, 64), too_large=True)))
    works = dict(zip(seen.cells, seen.works, strict=True))
    assert works[make_cell(2, 1)] > 0.5
    assert works[make_cell(2, 128)] < 0.01


def test_what_was_raced_out_is_a_bound_and_no_measurement() -> None:
    """The neighbours of a cell that was at most half as fast are expected to be slow; nothing is known to be best."""
    request = after(make_request(), measured(make_cell(8, 64), -1000.0))
    bounded = after(request, SearchTrial(configuration=make_cell(1, 64), state="bounded", loss=-50.0))
    was, now = (dict(zip(each.cells, each.expected, strict=True)) for each in map(outlook, (request, bounded)))
    assert now[make_cell(1, 128)] < was[make_cell(1, 128)] - 0.5
    only = after(make_request(), SearchTrial(configuration=make_cell(1, 64), state="bounded", loss=-50.0))
    assert outlook(only).best is None
    assert confidence(only) is None


def test_a_pending_cell_counts_as_being_found_out() -> None:
    """A second trial in parallel looks elsewhere, and not at the first one's neighbour for the same reason."""
    request = make_request()
    first = propose(request)
    assert first is not None
    second = propose(after(request, SearchTrial(configuration=first, state="pending")))
    assert second is not None
    assert second != first


def test_thousands_of_cells_are_narrowed_down_before_landscapes_are_drawn() -> None:
    """The time of a proposal does not grow with the third power of the space."""
    space = SearchSpace(
        gpu_counts=(1, 2, 4, 8),
        batch_sizes=tuple(2**power for power in range(13)),
        extra=(ExtraParameter(name="a", values=tuple(range(8))), ExtraParameter(name="b", values=("x", "y", "z"))),
    )
    request = make_request(space=space, open_cells=cells(space))
    assert len(request.open_cells) > 1000
    assert len(outlook(request).cells) == MOST_CELLS
    assert propose(request) in request.open_cells


def test_the_questions_about_one_request_share_one_outlook() -> None:
    """Drawing landscapes takes most of the time of an answer; other knowledge or other cells are another question."""
    request = make_request(seed=123)
    again = replace(request, trials=())
    assert outlook(again) is outlook(request) is outlook(request, keep=make_cell(2, 8).load_key)
    known = knowledge_of("vllm")
    assert known is not None
    with instead({"vllm": replace(known, limits=())}):
        other = outlook(request)
    assert other is not outlook(request)
    numbers, flags = (
        SearchSpace(gpu_counts=(1,), batch_sizes=(1,), extra=(ExtraParameter(name="a", values=values),))
        for values in ((0, 1), (False, True))
    )
    for space, kind in ((numbers, int), (flags, bool)):
        seen = outlook(make_request(space=space, open_cells=cells(space)))
        assert {type(dict(cell.extra)["a"]) for cell in seen.cells} == {kind}


def test_confidence_grows_to_certainty() -> None:
    """It is unknown before the first result, grows with good trials, and is 1 where nothing is left."""
    assert confidence(make_request()) is None
    one = after(make_request(), measured(make_cell(8, 512), -(saturating(make_cell(8, 512)) or 0)))
    more = after(one, *(tried(cell, saturating) for cell in one.open_cells[::3]))
    every = after(more, *(tried(cell, saturating) for cell in more.open_cells))
    few, several, certain = (confidence(each) for each in (one, more, every))
    assert few is not None
    assert several is not None
    assert few < several <= 1.0
    assert certain == 1.0


def test_noise_widens_a_tie_and_not_what_the_search_is_sure_of() -> None:
    """With 5 % of noise it looks for no smaller gain, and is less sure to be within 1 %."""
    known = [tried(cell, saturating) for cell in cells(SPACE)[1::2]]
    exact, noisy = (
        after(make_request(), *(replace(each, error_ratio=error) for each in known)) for error in (0.001, 0.05)
    )
    surely, hardly = confidence(exact), confidence(noisy)
    assert surely is not None
    assert hardly is not None
    assert hardly < surely - 0.03
    assert (outlook(exact).tolerance, outlook(noisy).tolerance) == (0.01, 0.05)


def test_of_two_noisy_numbers_the_smaller_one_may_be_the_best() -> None:
    """Where the noise is known, the search is only as sure of the better number as that allows."""

    def surprising(cell: Configuration) -> float:
        return (saturating(cell) or 0) * (0.97 if cell == make_cell(8, 1024) else 1.0)

    known = [tried(cell, surprising) for cell in cells(SPACE) if cell != make_cell(1, 1)]
    unknown, exact, noisy = (
        confidence(after(make_request(), *(replace(each, error_ratio=error) for each in known)))
        for error in (None, 0.0, 0.05)
    )
    assert unknown == exact == 1.0
    assert noisy is not None
    assert 0.5 < noisy < 0.9


def one_peak(cell: Configuration) -> float:
    """`saturating`, but 8 GPUs are slow: the optimum is on 4."""
    return (saturating(cell) or 0) * (0.3 if cell.gpu_count == 8 else 1.0)


def test_the_best_of_an_earlier_round_comes_first_and_the_round_makes_sure() -> None:
    """The old best, measured again, is no surer than in a first round: other hardware may favour another one."""
    prior = Prior(cells=tuple(PriorCell(configuration=cell, loss=-one_peak(cell)) for cell in cells(SPACE)))
    first = propose(make_request(prior=prior))
    assert first == make_cell(4, 1024)
    trial = measured(first, -2 * one_peak(first))
    cold, warm = (confidence(after(make_request(prior=each), trial)) for each in (None, prior))
    assert cold is not None
    assert warm == cold < 1.0


def test_bounds_of_an_earlier_round_are_not_its_best() -> None:
    """What was raced out was at most this fast: it neither comes first nor shapes the surface."""
    exact = tuple(PriorCell(configuration=cell, loss=-one_peak(cell)) for cell in cells(SPACE) if cell.gpu_count < 8)
    bound = PriorCell(configuration=make_cell(8, 1024), loss=-1000.0, is_bound=True)
    told, plain = (
        make_request(prior=Prior(cells=(*exact, each)))
        for each in (bound, PriorCell(configuration=bound.configuration))
    )
    assert propose(told) == make_cell(4, 1024)
    assert list(outlook(told).expected) == list(outlook(plain).expected)


@pytest.mark.parametrize("engine", ["vllm", "hf-pipeline"])
def test_a_size_far_beyond_the_published_models_counts_as_the_nearest_of_them(engine: str) -> None:
    """The slope by model size is not extrapolated: for a toy model batch size 1 would become the most promising."""

    def proposed(parameters: int) -> Configuration | None:
        facts = replace(FACTS, engine=engine, parameters=parameters, gpu_model=None)  # so that only the size differs
        return propose(after(make_request(facts=facts), measured(make_cell(1, 16), -188.0)))

    assert proposed(500_000) == proposed(1_300_000_000)
    assert proposed(5_000_000_000_000) == proposed(34_000_000_000)
