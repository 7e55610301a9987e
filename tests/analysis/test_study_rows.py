"""Rows of a study's history: the numbers that count, what a run costs, and what a round was measured with."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from core.confirming import Load, Play, make_confirming_study, searched
from factories.runs import make_ended, make_finish, make_history, make_round, make_run
from factories.studies import START, make_cell, make_measured, make_study
from infpop_operator.analysis.journal_rows import journal_rows
from infpop_operator.analysis.rows import RoundResultRow, TrialResultRow
from infpop_operator.analysis.study_rows import study_table
from infpop_operator.api.status import to_status
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.api.study_object import StudyObject, parse_study_object
from infpop_operator.core.model import Hardware, History, Origin
from infpop_operator.core.study import Study
from infpop_runner.contract import ModelFacts, Provenance
from report.study_objects import ended

FOUND = StudyObject(name="study", engine="vllm", model="org/model", document=None, status=StudyStatus())


def rows_of(
    history: History, study: Study | None = None
) -> tuple[tuple[TrialResultRow, ...], tuple[RoundResultRow, ...]]:
    """Return the rows of a history."""
    return journal_rows(FOUND, study or make_study(), history, "out")


def confirmed(*rates: float, loads: Mapping[int, Sequence[Load]]) -> tuple[TrialResultRow, ...]:
    """Return the trials of a study whose best was measured again."""
    study = make_confirming_study()
    play = Play(study=study, history=searched(study, *rates), loads=loads)
    play.to_end()
    return rows_of(play.history, study)[0]


def test_a_confirmed_best_has_the_mean_of_its_loads() -> None:
    """Its run, its load and its cost stay those of the search, which tried the configuration."""
    trials = confirmed(50.0, 80.0, 100.0, loads={2: [97, 95]})
    best = trials[2]
    assert (best.throughput_tokens_per_second, best.confirmed_loads, best.is_best) == (96.0, 2, True)
    assert best.interval_tokens_per_second is not None
    assert best.run == "search-2"
    assert [row.confirmed_loads for row in trials[:2]] == [None, None]


def test_a_status_tells_how_the_number_of_a_confirmed_best_was_measured() -> None:
    """The search measured it adaptively, the loads that confirmed it in full; the number is theirs."""
    cell = {"pool": "a100", "round": 1, "gpuCount": 1, "batchSize": 8, "run": "search"}
    trial = cell | {"index": 0, "state": "Measured", "throughput": "98", "mode": "Adaptive", "attempts": 1}
    number = {"throughput": "96", "throughputPerGPU": "96", "spread": "0.01", "repeats": 6, "confirmed": {"loads": 2}}
    status = StudyStatus.model_validate({"trials": [trial], "best": cell | number})
    (row,) = study_table(replace(FOUND, status=status), None, "status.json").trials
    assert (row.throughput_tokens_per_second, row.confirmed_loads, row.mode) == (96.0, 2, "full")


def test_without_its_spec_a_confirmed_best_has_the_number_that_its_status_has() -> None:
    """Nothing is judged again without a spec: an export gives the number that `infpop show` gives."""
    study = make_confirming_study()
    play = Play(study=study, history=searched(study, 50.0, 80.0, 100.0), loads={2: [97, 95]})
    status = to_status(study, play.to_end(), play.now)
    trials, (summary,) = journal_rows(replace(FOUND, status=status), None, play.history, "out")
    (best,) = (row for row in trials if row.is_best)
    assert (best.throughput_tokens_per_second, best.confirmed_loads) == (96.0, 2)
    assert best.interval_tokens_per_second is not None
    assert summary.best_tokens_per_second == 96.0
    assert [row.throughput_tokens_per_second for row in trials[:2]] == [50.0, 80.0]


def test_a_trial_that_a_fresh_load_has_lost_says_why() -> None:
    """Its number was measured, but it cannot be the best."""
    trials = confirmed(50.0, 90.0, 100.0, loads={1: [89, 91], 2: ["GpuOutOfMemory"]})
    assert (trials[2].throughput_tokens_per_second, trials[2].reason) == (100.0, "GpuOutOfMemory")
    assert [row.is_best for row in trials] == [False, True, False]


def test_what_was_challenged_has_the_number_of_its_fresh_loads() -> None:
    """The winner of the choice was lucky in its search: its two fresh loads count, not that luck."""
    trials = confirmed(50.0, 240.0, 298.0, loads={1: [235, 229, 231], 2: [79, 79]})
    assert [row.throughput_tokens_per_second for row in trials] == [50.0, 230.0, 79.0]
    assert [row.is_best for row in trials] == [False, True, False]


def test_the_trials_of_a_run_share_its_cost_and_its_load() -> None:
    """So GPU-seconds may be summed over trials, and load seconds may not."""
    run = make_run(cells=(make_cell(2, 8), make_cell(2, 16)))
    facts = {"load_seconds": 12.5, "model": ModelFacts(parameters=7_000_000_000)}
    provenance = Provenance(engine="vllm", engine_version="0.32.0", driver_version="570.1", node="n1")
    finish = make_finish(run, [100.0, 150.0], ended=60, provenance=provenance, **facts)
    trials, (found,) = rows_of(make_history(ended=(make_ended(run, finish),)))
    assert [row.gpu_seconds for row in trials] == [60.0, 60.0]
    assert found.gpu_hours == pytest.approx(sum(row.gpu_seconds or 0 for row in trials) / 3600)
    assert [(row.load_seconds, row.parameters) for row in trials] == [(12.5, 7_000_000_000)] * 2
    assert (trials[0].engine_version, trials[0].gpu_driver, trials[0].node) == ("0.32.0", "570.1", "n1")


def test_a_reused_trial_was_measured_when_the_other_study_did() -> None:
    """It is taken over an hour later, which is no time of its measurement, and cost this study nothing."""
    run = make_run(cells=(make_cell(2, 8),))
    taken = replace(
        make_ended(run, make_finish(run, [100.0], ended=60), began=3600),
        held_since=START + timedelta(seconds=60),
        reused_from=Origin(study="other", run="their-run"),
    )
    ((row,), _) = rows_of(make_history(ended=(taken,)))
    assert (row.started_at, row.ended_at) == (START, START + timedelta(seconds=60))
    assert (row.reused_from, row.run, row.gpu_seconds) == ("other", "their-run", 0.0)


def test_the_time_of_a_token_is_that_of_a_sequence_over_its_tokens() -> None:
    """A round keeps the length with which it was measured; an engine without times of sequences has none."""
    run = make_run(cells=(make_cell(1, 8),))
    measured = make_measured(100.0, batch_size=8, batch_seconds_p50=3.2, window_seconds=(1.0, 5.0))
    history = make_history(ended=(make_ended(run, make_finish(run, [measured])),))
    with_length = replace(history, rounds=(make_round(subject=(("workload.maxNewTokens", "64"),)),))
    ((row,), _) = rows_of(with_length)
    assert row.seconds_per_output_token == 0.05
    assert (row.started_at, row.ended_at) == (START + timedelta(seconds=1), START + timedelta(seconds=5))
    ((unknown,), _) = rows_of(history)
    assert unknown.seconds_per_output_token is None


def test_a_round_knows_the_hardware_of_the_one_before() -> None:
    """Also of the third round it is the second."""
    models = ("V100", "A100", "H100")
    rounds = tuple(
        make_round(number=number, hardware=Hardware(fingerprint=model, gpu_model=model))
        for number, model in enumerate(models, start=1)
    )
    found = rows_of(make_history(rounds=rounds))[1]
    assert [row.gpu_model for row in found] == list(models)
    assert [row.previous_gpu_model for row in found] == [None, "V100", "A100"]


@pytest.mark.parametrize(
    ("recorded", "workload"),
    [
        ("builtin code-infilling-v1 (contents 6b85e74a)", "builtin code-infilling-v1, 8 prompts, 5 new tokens each"),
        ("file /home/me/p.jsonl text (contents ab12)", "prompts with contents ab12, 8 prompts, 5 new tokens each"),
    ],
)
def test_a_workload_is_known_by_its_contents(recorded: str, workload: str) -> None:
    """The same file in another directory is the same workload; another file of the same name is not."""
    subject = (("workload", recorded), ("workload.samples", "8"), ("workload.maxNewTokens", "5"))
    run = make_run(cells=(make_cell(1, 8),))
    history = make_history(rounds=(make_round(subject=subject),), ended=(make_ended(run),))
    ((row,), _) = rows_of(history)
    assert row.workload == workload


@pytest.mark.parametrize(
    ("recorded", "model"),
    [
        ("org/old (contents 12ab)", "org/old"),
        (f"{'x' * 120}… (12ab34cd)", "org/model"),
        ("", "org/model"),
    ],
)
def test_a_round_keeps_its_model(recorded: str, model: str) -> None:
    """A name that the journal had to cut, or does not have, is that of the study as it is now."""
    run = make_run(cells=(make_cell(1, 8),))
    subject = (("model", recorded),) if recorded else ()
    history = make_history(rounds=(make_round(subject=subject),), ended=(make_ended(run),))
    ((row,), _) = rows_of(history)
    assert row.model == model


def test_a_study_with_a_newer_spec_has_not_ended() -> None:
    """Its status is about another spec."""
    study = parse_study_object(ended())
    assert study_table(study, None, "study/serving/codellama").in_progress == ()
    newer = replace(study, generation=2)
    assert study_table(newer, None, "study/serving/codellama").in_progress == ("study/serving/codellama",)
