"""What an earlier round tells the newest one: a prior for the search, and configurations that need no trial."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from core.planning import GRID
from factories.runs import Outcome, make_ended, make_finish, make_history, make_round, make_run, make_started
from factories.studies import make_cell, make_load_failure, make_measured, make_pool, make_study
from infpop_operator.core.decision import SetAside
from infpop_operator.core.load_failures import load_outlook
from infpop_operator.core.model import REQUESTED, EndedRun, Hardware, History, Round
from infpop_operator.core.plan import plan_pool
from infpop_operator.core.prior import INHERITED, inherited, is_inherited, prior_of
from infpop_operator.core.search import Prior, PriorCell
from infpop_operator.core.study import Configuration, Constraint, Objective, Pool, SearchSpace, Study

SPACE = SearchSpace(gpu_counts=(1, 2), batch_sizes=(8, 16, 32, 64))
SUBJECT = (("model", "m"), ("model.dtype", "auto"), ("engine.name", "vllm"), ("workload", "w"), ("software", "v1"))
OOM = "GpuOutOfMemory"


def make_earlier(memory: int | None = 32768, **changes: object) -> Round:
    """Return the pool's first round."""
    hardware = Hardware(fingerprint="f0", gpu_memory_mib=memory)
    return make_round(**({"hardware": hardware, "subject": SUBJECT} | changes))


def make_newest(**changes: object) -> Round:
    """Return the pool's second round."""
    return make_round(**({"number": 2, "identity": "id-2", "subject": SUBJECT} | changes))


def ended_run(name: str, number: int, index: int, cell: Configuration, outcome: Outcome) -> EndedRun:
    """Return a run of one trial."""
    run = make_run(name, round=number, index=index, cells=[cell])
    return make_ended(run, make_finish(run, [outcome]))


def make_landscape(outcomes: Sequence[tuple[int, int, Outcome]], number: int = 1) -> tuple[EndedRun, ...]:
    """Return a run of a round for each (GPU count, batch size, outcome)."""
    return tuple(
        ended_run(f"r{number}-{index}", number, index, make_cell(gpus, batch), outcome)
        for index, (gpus, batch, outcome) in enumerate(outcomes)
    )


def make_two_rounds(
    *outcomes: tuple[int, int, Outcome], earlier: Round | None = None, newest: Round | None = None
) -> History:
    """Return a history whose first round has these outcomes; nothing was measured in the second one."""
    rounds = (earlier or make_earlier(), newest or make_newest())
    return make_history(rounds=rounds, ended=make_landscape(outcomes))


def prior(study: Study, history: History) -> Prior | None:
    """Return the prior of the newest round of the study's only pool."""
    return prior_of(study, study.pools[0], history, history.rounds[-1])


def test_a_first_round_has_no_prior() -> None:
    """Neither has a round after one that measured nothing."""
    study = make_study()
    assert prior(study, make_history(rounds=(make_earlier(),), ended=make_landscape([(1, 8, 100.0)]))) is None
    assert prior(study, make_two_rounds()) is None
    assert prior(study, make_two_rounds((1, 8, OOM))) is None


def test_a_prior_has_the_losses_of_now_and_what_could_not_be_used() -> None:
    """The objective and the constraints are those of the study as it is; broken and invalid trials say nothing."""
    bounds = (Constraint(metric="batchSecondsP95", maximum=1.0), Constraint(metric="throughputPerGPU", minimum=20.0))
    study = make_study(objective=Objective(metric="throughputPerGPU", constraints=bounds))
    slow = make_measured(900.0, index=3, batch_size=64, batch_seconds_p95=2.0)
    history = make_two_rounds(
        (1, 8, 100.0), (2, 16, 300.0), (2, 64, OOM), (1, 64, slow), (2, 8, 10.0), (1, 16, "UnstableRepeats")
    )
    assert prior(study, history) == Prior(
        cells=(
            PriorCell(configuration=make_cell(1, 8), loss=-100.0),
            PriorCell(configuration=make_cell(2, 16), loss=-150.0),
            PriorCell(configuration=make_cell(2, 64), is_usable=False, too_large=True),
            PriorCell(configuration=make_cell(1, 64), loss=-900.0, is_usable=False, too_large=True),
            PriorCell(configuration=make_cell(2, 8), loss=-5.0, is_usable=False),
        ),
    )


def test_a_prior_has_the_loads_that_did_not_fit() -> None:
    """Such a failure says nothing of its batch size."""
    found = prior(make_study(), make_two_rounds((1, 8, make_load_failure(8)), (2, 8, 100.0)))
    assert found is not None
    assert found.cells[0] == PriorCell(configuration=make_cell(1, 8), is_usable=False, while_loading=True)


def test_the_last_round_with_enough_cells_is_the_prior() -> None:
    """A round that was soon superseded gives way to an older one that knows more; an equal one does not."""
    many = [(1, batch, 10.0) for batch in range(1, 9)]
    study, third = make_study(), make_newest(number=3)

    def counts(*rounds: int) -> int:
        sizes = [make_landscape(many[:size], number) for number, size in enumerate(rounds, start=1)]
        entries = (make_earlier(), make_newest(), third)[: len(rounds)]
        ended = tuple(run for runs in sizes for run in runs)
        found = prior(study, make_history(rounds=(*entries, make_newest(number=9)), ended=ended))
        return 0 if found is None else len(found.cells)

    assert counts(8, 3) == 8
    assert counts(3, 2, 1) == 3
    assert counts(2, 8) == 8
    assert counts(8, 7, 0) == 8
    ended = (*make_landscape([(1, 8, 1.0)] * 8), *make_landscape([(1, batch, 2.0) for batch in range(1, 9)], 2))
    found = prior(study, make_history(rounds=(make_earlier(), make_newest(), third), ended=ended))
    assert found is not None
    assert {cell.loss for cell in found.cells} == {-2.0}


def test_another_pools_landscape_is_no_prior() -> None:
    """Each pool has rounds of its own."""
    other = make_round(pool="v100", subject=SUBJECT)
    history = make_history(rounds=(make_earlier(), other), ended=make_landscape([(1, 8, 100.0)]))
    assert prior_of(make_study(), make_pool(name="v100"), history, other) is None


@pytest.mark.parametrize(
    ("subject", "same"),
    [
        (SUBJECT, True),
        ((*SUBJECT[1:], ("model", "other")), False),
        ((*SUBJECT, ("model.revision", "r2")), False),
        ((*SUBJECT[:-1], ("software", "v2")), True),
        ((), False),
    ],
)
def test_a_prior_says_whether_the_model_is_the_same(subject: tuple[tuple[str, str], ...], *, same: bool) -> None:
    """A round whose model is unknown counts as one of another model."""
    found = prior(make_study(), make_two_rounds((1, 8, 100.0), newest=make_newest(subject=subject)))
    assert found is not None
    assert found.same_model is same


def aside(pool: Pool, history: History) -> list[tuple[int, int | None]]:
    """Return the inherited GPU counts, each with its smallest batch size."""
    return [(each.gpu_count, each.min_batch_size) for each in inherited(pool, history, history.rounds[-1])]


@pytest.mark.parametrize(
    ("memory", "before", "expected"),
    [
        (32768, 32768, True),
        (16384, 32768, True),
        (32769, 32768, False),
        (40960, 32768, False),
        (None, 32768, False),
        (32768, None, False),
    ],
)
def test_out_of_memory_is_inherited_only_without_more_memory(
    memory: int | None, before: int | None, *, expected: bool
) -> None:
    """With more memory, or if it is unknown, the batch size is tried again."""
    history = make_two_rounds((1, 8, 100.0), (1, 32, OOM), earlier=make_earlier(before))
    assert aside(make_pool(gpu_memory_mib=memory), history) == ([(1, 32)] if expected else [])


@pytest.mark.parametrize(
    ("fact", "expected"),
    [
        (("model", "other"), False),
        (("model.dtype", "float16"), False),
        (("engine.gpuMemoryUtilization", "0.9"), False),
        (("workload.samples", "9"), False),
        (("software", "v2"), False),
        (("GPU", "other"), True),
        (("seed", "1"), True),
    ],
)
def test_out_of_memory_is_inherited_only_for_the_same_model_engine_and_workload(
    fact: tuple[str, str], *, expected: bool
) -> None:
    """Whatever decides what fits must be the same; a round that does not say so passes nothing on."""
    subject = (*(entry for entry in SUBJECT if entry[0] != fact[0]), fact)
    pool = make_pool(gpu_memory_mib=32768)
    assert bool(aside(pool, make_two_rounds((1, 32, OOM), newest=make_newest(subject=subject)))) is expected
    unknown = make_two_rounds((1, 32, OOM), earlier=make_earlier(subject=()), newest=make_newest(subject=()))
    assert aside(pool, unknown) == []


def test_a_requested_round_inherits_nothing() -> None:
    """Its user may have mended the cause, and wants every number again."""
    requested = make_newest(trigger=REQUESTED)
    assert aside(make_pool(gpu_memory_mib=32768), make_two_rounds((1, 32, OOM), newest=requested)) == []


def test_only_what_is_larger_than_everything_that_worked_is_inherited() -> None:
    """Of each engine load that is the smallest such batch; no other reason and no other GPU count is passed on."""
    history = make_two_rounds(
        (1, 8, OOM), (1, 16, 5.0), (1, 64, OOM), (1, 32, OOM), (2, 64, "RejectedArguments"), (2, 32, 7.0)
    )
    assert aside(make_pool(gpu_memory_mib=100), history) == [(1, 32)]


def test_all_earlier_rounds_with_enough_memory_are_asked() -> None:
    """What ran out of memory on the larger GPUs of any earlier round does so now; the smallest batch counts."""
    rounds = (make_earlier(32768), make_earlier(16384, number=2), make_newest(number=3))
    ended = (*make_landscape([(1, 32, OOM), (2, 16, OOM)]), *make_landscape([(1, 16, OOM), (2, 8, OOM)], 2))
    history = make_history(rounds=rounds, ended=ended)
    assert sorted(aside(make_pool(gpu_memory_mib=16000), history)) == [(1, 16), (2, 8)]
    assert sorted(aside(make_pool(gpu_memory_mib=20000), history)) == [(1, 32), (2, 16)]


def test_inherited_cells_are_said_and_cost_no_trial() -> None:
    """The plan never contains them, says why, and ends when everything else is measured."""
    study = make_study(space=SPACE, algorithm=GRID, pools=(make_pool(gpu_memory_mib=16384),))
    history = make_two_rounds((1, 8, 100.0), (1, 32, OOM), (2, 8, OOM))
    tried: list[tuple[int, int]] = []
    while (plan := plan_pool(study, study.pools[0], history, make_history().started_at)).next_run is not None:
        (trial,) = plan.next_run.trials
        tried.append((trial.configuration.gpu_count, trial.configuration.batch_size))
        run = ended_run(plan.next_run.name, 2, trial.index, trial.configuration, 50.0)
        history = replace(history, ended=(*history.ended, run))
    assert tried == [(1, 8), (1, 16)]
    assert plan.ended == "SpaceExhausted"
    assert [(each.reason, each.gpu_count, each.min_batch_size) for each in plan.set_aside] == [
        (INHERITED, 1, 32),
        (INHERITED, 2, 8),
    ]
    detail = "batch 32 ran out of memory in round 1 with 32768 MiB per GPU; now it is 16384 MiB"
    assert plan.set_aside[0].detail == detail


def test_an_inherited_trial_that_runs_already_is_not_retried() -> None:
    """A journal of an earlier version may have started it; its end counts, but nothing else of it is tried."""
    study = make_study(space=SPACE, pools=(make_pool(gpu_memory_mib=16384),))
    live = make_started(run=make_run("live", cells=[make_cell(1, 32)], round=2))
    history = replace(make_two_rounds((1, 8, 1.0), (1, 32, OOM)), active=(live,))
    view_plan = plan_pool(study, study.pools[0], history, make_history().started_at)
    assert is_inherited(view_plan.set_aside, make_cell(1, 32))
    assert is_inherited(view_plan.set_aside, make_cell(1, 64))
    assert not is_inherited(view_plan.set_aside, make_cell(1, 16))
    assert not is_inherited(view_plan.set_aside, make_cell(2, 64))


def test_a_set_aside_batch_size_covers_larger_ones_only() -> None:
    """Without a smallest batch size all of them are meant."""
    entry = SetAside(gpu_count=2, min_batch_size=16, reason=INHERITED, detail="", attempts=0)
    assert [entry.covers(make_cell(2, batch)) for batch in (8, 16, 32)] == [False, True, True]
    assert not entry.covers(make_cell(1, 16))
    assert replace(entry, min_batch_size=None).covers(make_cell(2, 8))


def test_a_round_that_is_resumed_knows_what_the_other_rounds_found() -> None:
    """Rounds count as earlier by their place in the history, whatever their numbers are."""
    rounds = (make_newest(hardware=Hardware(fingerprint="f1", gpu_memory_mib=100)), make_earlier())
    history = make_history(rounds=rounds, ended=make_landscape([(1, 8, 5.0), (1, 16, OOM)], 2))
    found = prior(make_study(), history)
    assert found is not None
    assert [cell.loss for cell in found.cells] == [-5.0, None]
    assert aside(make_pool(gpu_memory_mib=100), history) == [(1, 16)]


def test_a_bound_that_has_nothing_to_do_with_the_batch_size_is_no_limit() -> None:
    """An unsteady measurement says nothing about larger batches."""
    study = make_study(objective=Objective(constraints=(Constraint(metric="spread", maximum=0.1),)))
    unsteady = make_measured(100.0, batch_size=8, spread_ratio=0.2)
    found = prior(study, make_two_rounds((1, 8, unsteady)))
    assert found is not None
    assert found.cells == (PriorCell(configuration=make_cell(1, 8), loss=-100.0, is_usable=False),)


def test_a_load_of_which_all_is_inherited_is_no_other_load_to_yield_to() -> None:
    """The only load that may work is not set aside, however often it fails: the failure budget ends the study."""
    study = make_study(space=SPACE, algorithm=GRID, pools=(make_pool(gpu_memory_mib=16384),))
    history = make_two_rounds((1, 8, OOM))
    runs = [make_run(f"fails-{n}", round=2, index=n, cells=[make_cell(2, 8)]) for n in range(3)]
    failed = [make_ended(run, make_finish(run, [None], broken="EngineCrash", load_seconds=None)) for run in runs]
    history = replace(history, ended=(*history.ended, *failed))

    def set_aside(known: History) -> frozenset[object]:
        return frozenset(load_outlook(study, study.pools[0], known.rounds[-1], known).aside)

    assert set_aside(history) == frozenset()
    assert set_aside(replace(history, ended=tuple(failed))) == {(2, ())}
