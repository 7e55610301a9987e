"""Companions: what else is worth measuring while an engine is loaded."""

from dataclasses import replace

from factories.search_requests import FACTS, after, make_request, measured
from factories.studies import make_cell
from infpop_operator.core.search import companions
from infpop_operator.core.study import Configuration


def found(first: Configuration, **facts: object) -> int:
    """Return how many companions a cell has on a Hugging Face pipeline, where the best batch size is uncertain."""
    request = make_request(facts=replace(FACTS, engine="hf-pipeline", adaptive=True, **facts))
    return len(companions(request, first, 7))


def test_the_longer_a_load_takes_the_more_companions_share_it() -> None:
    """A load of an hour is used for several batch sizes; one that takes no time is not worth one of them."""
    counts = [found(make_cell(1, 16), load_seconds=seconds) for seconds in (0.01, 60.0, 3600.0)]
    assert counts[0] <= counts[1] <= counts[2]
    assert counts[0] < counts[2]


def test_a_companion_may_need_a_good_load() -> None:
    """On a load that is probably a bad one, more is worth it only if its first trial turns out well."""
    request = make_request(facts=replace(FACTS, load_seconds=600.0))
    best = [measured(make_cell(4, size), -400.0) for size in (64, 512)]
    known = after(request, *best, measured(make_cell(8, 64), -390.0))
    needs = [each.needs_loss for each in companions(known, make_cell(2, 128), 7)]
    assert all(need is None or need < 0 for need in needs)


def test_what_needs_a_good_load_waits_for_a_loss_that_can_say_so() -> None:
    """Before its first cost the search cannot say how good a load must be, and adds only what is worth it anyway."""
    first, facts = make_cell(2, 16), replace(FACTS, engine="hf-pipeline", adaptive=True, load_seconds=600.0)
    throughput, cost = (
        companions(make_request(facts=replace(facts, losses_are_throughput=known)), first, 7) for known in (True, False)
    )
    assert any(each.needs_loss is not None for each in throughput)
    assert cost == tuple(each for each in throughput if each.needs_loss is None)


def test_nothing_is_worth_it_where_everything_is_known() -> None:
    """A cell without open neighbours on its load has no companions."""
    request = make_request()
    known = after(request, *(measured(cell, -1.0) for cell in request.open_cells if cell != make_cell(1, 1)))
    assert companions(known, make_cell(1, 1), 7) == ()


def test_other_algorithms_have_none() -> None:
    """Only a search that knows what a load is worth can say."""
    assert companions(make_request(algorithm="tpe"), make_cell(1, 1), 7) == ()
