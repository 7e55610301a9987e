"""What a page needs in addition to the numbers: how they were measured, ties with the best, and earlier failures."""

from dataclasses import replace
from datetime import timedelta

import pytest

from api.status_samples import decision_of, run_of
from factories.studies import START, make_cell, make_measured, make_pool, make_study
from infpop_operator.api.landscapes import described_study
from infpop_operator.api.status import to_status
from infpop_operator.api.status_context import StatusContext
from infpop_operator.api.status_model import Best, StudyStatus, Tie, TrialRow
from infpop_operator.core.model import (
    EndedRun,
    Finished,
    History,
    Lost,
    Observation,
    Phase,
    PlannedTrial,
    Round,
    Run,
    Running,
    StartedRun,
    Waiting,
)
from infpop_operator.core.study import Configuration, Study
from infpop_runner.contract import Infeasible, Invalid, ModelFacts, Provenance, RunResult, TrialResult
from report.local_pages import document_of

STUDY = make_study(baseline=make_cell(1, 8))
ROUND = Round(pool="a100", number=1, identity="i1", baseline=None)


def ended(index: int, cell: Configuration, result: TrialResult, *, model: ModelFacts | None = None) -> EndedRun:
    """Return a run of one trial with this result, on an engine that was loaded for 612 tokens."""
    run = replace(run_of(index, 1), trials=(PlannedTrial(index=index, configuration=cell),))
    found = RunResult(
        run=run.name,
        trials=(result,),
        load_seconds=1.0,
        provenance=Provenance(engine="vllm", engine_args={"max_model_len": 612 + index}),
        model=model,
        started_at=START,
        ended_at=START,
    )
    return EndedRun(run=run, started_at=START, observation=Finished(result=found, ended_at=START))


def measured(index: int, cell: Configuration, throughput: float, *, repeats: int = 3) -> EndedRun:
    """Return a run that measured one trial."""
    result = make_measured(throughput, index=index, batch_size=cell.batch_size, spread_ratio=0.0, repeats=repeats)
    return ended(index, cell, result)


def status_of(*runs: EndedRun, study: Study = STUDY, active: tuple[StartedRun, ...] = ()) -> StudyStatus:
    """Return the status of a study with these runs."""
    return to_status(study, decision_of(History(started_at=START, rounds=(ROUND,), ended=runs, active=active)), START)


def best_of(*runs: EndedRun) -> Best:
    """Return the best of a study with these runs; it is also the best of its pool."""
    status = status_of(*runs)
    assert status.best is not None
    assert status.best == status.pools[0].best
    return status.best


def test_a_best_says_how_it_was_measured() -> None:
    """It has the number of repeats, and the context length of the run that measured it and no other."""
    runs = (measured(0, make_cell(1, 8), 10.0, repeats=7), measured(1, make_cell(2, 8), 30.0, repeats=5))
    best = best_of(*runs, measured(2, make_cell(4, 8), 20.0))
    assert (best.repeats, best.max_model_len) == (5, 613)


@pytest.mark.parametrize("arguments", [{}, {"max_model_len": "auto"}])
def test_a_context_length_that_a_run_does_not_say_is_left_out(arguments: dict[str, str]) -> None:
    """No value is invented for an engine that has no such argument."""
    run = measured(0, make_cell(1, 8), 10.0)
    assert isinstance(run.observation, Finished)
    provenance = Provenance(engine="hf-pipeline", engine_args=dict(arguments))
    result = run.observation.result.model_copy(update={"provenance": provenance})
    assert best_of(replace(run, observation=replace(run.observation, result=result))).max_model_len is None


def test_a_context_length_that_a_short_result_left_out_is_that_of_the_round() -> None:
    """All runs of a round have the same prompts, so another run of it knows; one of another round may not."""
    run, other = measured(0, make_cell(1, 8), 10.0), measured(1, make_cell(2, 8), 5.0)
    assert isinstance(run.observation, Finished)
    provenance = Provenance(engine="vllm", engine_args={"omitted": True})
    result = run.observation.result.model_copy(update={"provenance": provenance})
    short = replace(run, observation=replace(run.observation, result=result))
    assert best_of(short, other).max_model_len == 613
    elsewhere = replace(other, run=replace(other.run, round=2))
    assert best_of(short, elsewhere).max_model_len is None


def test_a_best_names_the_configuration_that_it_ties_with() -> None:
    """It is the highest eligible one; if the best itself is the highest, it names none."""
    runs = (measured(0, make_cell(1, 8), 1000.0), measured(1, make_cell(4, 16, mode="x" * 70), 1004.0))
    study = replace(STUDY, space=replace(STUDY.space, extra=()))
    assert best_of(*runs[:1]).tied_with is None
    tied = best_of(runs[0], measured(1, make_cell(4, 16), 1004.0), measured(2, make_cell(2, 16), 1003.0)).tied_with
    assert tied == Tie(gpu_count=4, batch_size=16, throughput="1004")
    outside = status_of(*runs, study=study).best
    assert outside is not None
    assert outside.tied_with is None
    assert best_of(runs[0], measured(1, make_cell(4, 16), 2000.0)).tied_with is None


def test_a_baseline_of_an_earlier_round_has_its_extra_arguments() -> None:
    """Without them a user could not start the baseline configuration."""
    second = Round(pool="a100", number=2, identity="i2", baseline=make_cell(1, 8, mode="fast"))
    status = to_status(STUDY, decision_of(History(started_at=START, rounds=(ROUND, second))), START)
    assert status.pools[0].baseline is not None
    assert status.pools[0].baseline.extra == {"mode": "fast"}


def killed(detail: str = "") -> EndedRun:
    """Return a killed run of trial 0."""
    lost = Lost(reason="Killed", detail=detail, ended_at=START)
    return EndedRun(run=run_of(0, 1), started_at=START, observation=lost)


def again(run: Run) -> StartedRun:
    """Return the second attempt of a run."""
    return StartedRun(run=replace(run, name=f"{run.name}-2", attempt=2), started_at=START)


def row_of(*runs: EndedRun, is_running: bool) -> TrialRow:
    """Return the row of a trial after these runs, while it runs again or not."""
    active = (again(runs[-1].run),) if is_running else ()
    (row,) = status_of(*runs, active=active).trials
    return row


def test_a_trial_that_runs_again_says_why_its_last_attempt_failed() -> None:
    """The user sees the failure before the retry ends; a running row has no reason of its own."""
    row = row_of(killed("exit code 137"), is_running=True)
    assert (row.state, row.attempts, row.last_failure) == ("Running", 2, "Killed: exit code 137")
    assert (row.reason, row.message) == (None, None)
    unstable = ended(0, make_cell(8, 1), Invalid(index=0, batch_size=1, reason="UnstableRepeats"))
    assert row_of(unstable, is_running=True).last_failure == "UnstableRepeats"


def test_a_trial_that_does_not_run_has_no_last_failure() -> None:
    """Its reason already says it; a first attempt has no earlier failure."""
    assert row_of(killed("exit code 137"), is_running=False).last_failure is None
    other = replace(killed(), run=run_of(1, 1))
    rows = status_of(killed(), other, active=(again(other.run),)).trials
    assert [row.last_failure for row in rows] == [None, "Killed"]
    first = StartedRun(run=run_of(0, 1), started_at=START)
    (row,) = status_of(active=(first,)).trials
    assert (row.attempts, row.last_failure) == (1, None)


def test_the_message_of_a_broken_trial_is_longer_than_that_of_others() -> None:
    """A crash takes a sentence or two to explain, so 256 bytes are kept; measured trials keep 120."""
    detail = "word " * 100
    broken = row_of(killed(detail), is_running=False).message
    refused = ended(0, make_cell(8, 1), Infeasible(index=0, batch_size=1, reason="GpuOutOfMemory", detail=detail))
    infeasible = row_of(refused, is_running=False).message
    assert broken is not None
    assert infeasible is not None
    assert 250 < len(broken.encode()) <= 256
    assert 114 < len(infeasible.encode()) <= 120
    assert len((row_of(killed(detail), is_running=True).last_failure or "").encode()) <= 256


@pytest.mark.parametrize(
    ("trials", "seen", "expected"),
    [
        (2, Running(phase=Phase.MEASURING, trial_index=1), 2),
        (2, Running(phase=Phase.MEASURING, trial_index=0), 1),
        (2, Running(phase=Phase.LOADING), None),
        (2, Running(phase=Phase.MEASURING, trial_index=7), None),
        (2, Waiting(reason="Queued"), None),
        (1, Running(phase=Phase.MEASURING, trial_index=0), None),
    ],
)
def test_a_shared_load_says_which_batch_size_it_works_on(trials: int, seen: Observation, expected: int | None) -> None:
    """A run of one trial names no batch size."""
    planned = tuple(PlannedTrial(index=index, configuration=make_cell(8, index + 1)) for index in range(trials))
    run = replace(run_of(0, 1), trials=planned)
    history = History(started_at=START, rounds=(ROUND,), active=(StartedRun(run=run, started_at=START),))
    status_context = StatusContext(observations={run.name: seen})
    (row,) = to_status(STUDY, decision_of(history), START + timedelta(minutes=1), context=status_context).runs
    assert row.batch_size == expected


def test_the_attention_heads_are_those_that_a_run_reported() -> None:
    """Before the first run the value comes from the model's files, and a client rules out the same GPU counts."""
    declared = replace(STUDY, model_facts=ModelFacts(attention_heads=40))
    run = ended(0, make_cell(1, 8), make_measured(1.0, batch_size=8), model=ModelFacts(attention_heads=32))
    assert [status_of(study=study).attention_heads for study in (STUDY, declared)] == [None, 40]
    status = status_of(run, study=declared)
    assert status.attention_heads == 32
    assert described_study(document_of(STUDY), status).model_facts == ModelFacts(attention_heads=32)


def test_the_pool_of_a_status_is_the_one_of_a_described_study() -> None:
    """The pool in the status rules out the same GPU counts on a page."""
    status = status_of(study=replace(STUDY, pools=(make_pool(device_count=4),)))
    (pool,) = described_study(document_of(STUDY), status).pools
    assert (pool.device_count, pool.price_per_gpu_hour, pool.gpu_model) == (4, 3.6, "A100")
