"""The weighted loss of two metrics: its weights, its order, and which searches learn that it is weighted."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.planning import SPACE, each_measured, make_small_study, measured
from factories.runs import Outcome, make_ended, make_finish, make_history, make_round, make_run
from factories.studies import make_cell, make_measured, make_pool, make_study, make_trial, make_trials
from infpop_operator.core.model import EndedRun, Missing
from infpop_operator.core.plan_companions import companion_trials
from infpop_operator.core.plan_request import search_request, weight_now
from infpop_operator.core.plan_view import View, view_of
from infpop_operator.core.scalarised import scalarised_losses, second_weight
from infpop_operator.core.space import cells
from infpop_operator.core.study import Algorithm, Objective

BOTH = Objective(second_metric="throughputPerGPU")
STUDY = make_study(objective=BOTH)
POOL = make_pool()


def losses_of(weight: float, *entries: tuple[int, float]) -> list[float]:
    """Return the losses of trials with a GPU count and tokens/s."""
    trials = make_trials([(make_cell(gpus, 8 + place), rate) for place, (gpus, rate) in enumerate(entries)])
    found = scalarised_losses(STUDY, POOL, trials, weight)
    return [found[trial.index] for trial in trials]


def test_every_other_run_is_for_the_objective_alone() -> None:
    """The others have a weight of the second metric that follows from the study's seed; without one there is none."""
    weights = [second_weight(STUDY, index) for index in range(40)]
    assert weights[::2] == [None] * 20
    told = [weight for weight in weights[1::2] if weight is not None]
    assert len(told) == 20
    assert all(0 < weight < 1 for weight in told)
    assert [second_weight(STUDY, index) for index in range(40)] == weights
    other = replace(STUDY, algorithm=Algorithm(seed=7))
    assert [second_weight(other, index) for index in range(40)] != weights
    assert {second_weight(make_study(), index) for index in range(40)} == {None}


@pytest.mark.parametrize("seed", range(20))
def test_a_few_weights_cover_all_there_are(seed: int) -> None:
    """Of eight consecutive ones each quarter has one: a short search looks everywhere."""
    study = replace(STUDY, algorithm=Algorithm(seed=seed))
    told = [weight for index in range(16) if (weight := second_weight(study, index)) is not None]
    assert {int(weight * 4) for weight in told} == {0, 1, 2, 3}


@given(
    st.floats(0.01, 0.99),
    st.lists(st.tuples(st.sampled_from([1, 2, 4, 8]), st.floats(1.0, 1e4)), min_size=2, max_size=8),
)
def test_what_another_trial_beats_in_both_metrics_has_the_larger_loss(
    weight: float, entries: list[tuple[int, float]]
) -> None:
    """Whatever the weight is; all losses are below 0, so that they have ratios."""
    losses = losses_of(weight, *entries)
    assert all(loss < 0 for loss in losses)
    for (gpus, rate), loss in zip(entries, losses, strict=True):
        for (other_gpus, other_rate), other_loss in zip(entries, losses, strict=True):
            if rate > other_rate * 1.001 and rate / gpus > other_rate / other_gpus * 1.001:
                assert loss < other_loss


def test_the_weight_says_which_metric_counts() -> None:
    """The fastest wins with little weight of the second metric, the most efficient with much, and else the third."""
    entries = [(8, 1000.0), (2, 700.0), (1, 400.0)]
    winners = [min(range(3), key=losses_of(weight, *entries).__getitem__) for weight in (0.05, 0.5, 0.95)]
    assert winners == [0, 1, 2]


def test_only_trials_with_both_metrics_have_a_loss() -> None:
    """A trial without a number, or without the second metric, has none; with no trial at all there is none."""
    missing = {"batch_seconds_p50": "NoTimes", "gpu_memory_peak_bytes": "NoDevice", "pad_ratio": "NotPadded"}
    timeless = make_measured(100.0, batch_seconds_p50=None, missing=missing)
    trials = make_trials([(make_cell(1, 8), timeless), (make_cell(2, 8), "GpuOutOfMemory"), (make_cell(4, 8), 100.0)])
    study = make_study(objective=Objective(second_metric="secondsPerOutputToken"))
    assert set(scalarised_losses(study, POOL, trials, 0.5)) == {2}
    assert scalarised_losses(study, POOL, trials[:2], 0.5) == {}


def test_metrics_that_are_0_have_a_loss_too() -> None:
    """A metric of the study's own may be 0, where no ratio exists; what is missing is left out."""
    wanted = Objective(metric="queue", goal="Minimize", second_metric="throughputPerGPU")
    trials = [
        replace(make_trial(make_cell(1, 8 * (index + 1)), 100.0, index=index), extra_metrics={"queue": queue})
        for index, queue in enumerate((0.0, 3.0, 1.0, Missing(reason="Stale")))
    ]
    losses = scalarised_losses(make_study(objective=wanted), POOL, trials, 0.5)
    assert sorted(losses, key=losses.__getitem__) == [0, 2, 1]


def test_the_search_is_told_the_weighted_losses_of_every_other_trial() -> None:
    """After an even number of runs, and where the objective is asked for alone, it learns those of the objective."""
    study = make_small_study(objective=BOTH, algorithm=Algorithm(name="tpe"))
    even, odd = (100.0, 200.0), (100.0, 200.0, "GpuOutOfMemory")

    def told(*outcomes: Outcome, alone: bool = False) -> list[float | None]:
        view = view_of(study, study.pools[0], make_history(ended=each_measured(*outcomes)))
        request = search_request(view, open_cells=view.open_cells, index=len(outcomes), alone=alone)
        assert request.facts.losses_are_throughput is (len(outcomes) % 2 == 0 or alone)
        return [trial.loss for trial in request.trials]

    weight = second_weight(study, 3)
    assert weight is not None
    trials = make_trials(list(zip(cells(SPACE), even, strict=False)))
    weighted = scalarised_losses(study, study.pools[0], trials, weight)
    assert told(*even) == [-100.0, -200.0]
    assert told(*odd, alone=True) == [-100.0, -200.0, None]
    assert told(*odd) == [weighted[0], weighted[1], None]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_both_searches_take_turns_however_many_trials_a_load_has(size: int) -> None:
    """Runs are counted, not trials; a retry is no turn, and neither is a run that confirms."""
    study = make_small_study(objective=BOTH, algorithm=Algorithm(name="grid", trials_per_run=size))
    every, ended, turns = cells(SPACE), list[EndedRun](), list[bool]()
    for number in range(0, len(every), size):
        view = view_of(study, study.pools[0], make_history(ended=ended))
        request = search_request(view, open_cells=view.open_cells, index=number)
        turns.append(request.facts.losses_are_throughput)
        ended.append(measured(every[number : number + size], *[100.0] * size, index=number))
        again = replace(ended[-1].run, name=f"again-{number}", attempt=2)
        confirming = replace(ended[-1].run, name=f"confirming-{number}", confirms=True)
        ended += [make_ended(run, make_finish(run, [100.0] * size)) for run in (again, confirming)]
    assert turns == [number % 2 == 0 for number in range(len(turns))]
    assert len(turns) > 1


def test_the_search_is_told_what_a_weighted_loss_follows_from() -> None:
    """Half of each metric is the throughput over the root of what the second one divides it by."""
    per_token = Objective(metric="throughputPerGPU", second_metric="secondsPerOutputToken")
    own = Objective(metric="queue", goal="Minimize", second_metric="throughputPerGPU")
    for wanted, first, second in ((BOTH, (0, 0), (1, 0)), (per_token, (1, 0), (0, 1)), (own, None, None)):
        study = make_small_study(objective=wanted)
        even, odd = (
            view_of(study, study.pools[0], make_history(ended=each_measured(*[100.0] * count))) for count in (2, 3)
        )
        weight = second_weight(study, 3)
        assert weight is not None
        powers = search_request(odd, open_cells=odd.open_cells, index=3).facts.divided_by
        assert search_request(even, open_cells=even.open_cells, index=2).facts.divided_by == first
        if first is None or second is None:
            assert powers is None
        else:
            mixed = [(1 - weight) * one + weight * other for one, other in zip(first, second, strict=True)]
            assert powers == pytest.approx(mixed)


def test_an_earlier_round_is_told_with_the_same_weight() -> None:
    """Its numbers are never compared with those of the newest round, only their ratios among each other."""
    study = make_small_study(objective=BOTH, algorithm=Algorithm(name="tpe"))
    rates = (100.0, 200.0, 300.0, 150.0)
    earlier = tuple(
        make_ended(run, make_finish(run, [rate]))
        for index, (cell, rate) in enumerate(zip(cells(SPACE), rates, strict=False))
        for run in [make_run(f"old-{index}", cells=[cell], index=index)]
    )
    history = make_history(rounds=(make_round(), make_round(number=2, identity="id-2")), ended=earlier)
    weight = second_weight(study, 1)
    assert weight is not None
    expected = scalarised_losses(
        study, study.pools[0], make_trials(list(zip(cells(SPACE), rates, strict=False))), weight
    )
    run = make_run("new", cells=[cells(SPACE)[0]], round=2)
    first = make_ended(run, make_finish(run, [100.0]))
    for own, losses in (((), [-rate for rate in rates]), ((first,), [expected[number] for number in range(4)])):
        view = view_of(study, study.pools[0], replace(history, ended=(*earlier, *own)))
        prior = search_request(view, open_cells=view.open_cells, index=len(own)).prior
        assert prior is not None
        assert [cell.loss for cell in prior.cells] == losses


def test_no_throughput_decides_about_the_companions_of_a_weighted_trial() -> None:
    """Only where the objective alone counts, an earlier trial of the load may make the next one not worthwhile."""
    study = make_small_study(objective=BOTH, algorithm=Algorithm(name="landscape", trials_per_run="auto"))
    view = view_of(study, study.pools[0], make_history(ended=each_measured(100.0, 150.0)))
    odd = view_of(study, study.pools[0], make_history(ended=each_measured(100.0)))
    first = next(cell for cell in view.open_cells if cell.gpu_count == 2)

    def needs(view: View, index: int) -> list[float | None]:
        request = search_request(view, open_cells=view.open_cells, index=index)
        weighted = weight_now(view) is not None
        found = companion_trials(study, study.pools[0], request, first, trials_left=6, weighted=weighted)
        return [trial.needs_tokens_per_second for trial in found]

    assert any(need is not None for index in range(2, 8, 2) for need in needs(view, index))
    assert {need for index in range(1, 20, 2) for need in needs(odd, index)} == {None}
