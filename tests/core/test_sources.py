"""Merging what several metrics sources report of a run."""

import math
from dataclasses import replace
from datetime import timedelta

import pytest

from factories.studies import START, make_measured
from infpop_operator.adapters.journal import decode_line, encode_entry
from infpop_operator.core.model import EndedRun, Finished, Missing, Run, Sample, Value
from infpop_operator.core.sources import merge_sources, windows_of, with_extra_metrics
from infpop_runner.contract import Infeasible, Invalid, Measured, Provenance, RunResult, TrialResult

OOM = Infeasible(index=1, batch_size=2, reason="GpuOutOfMemory")


def make_finished(*trials: TrialResult) -> Finished:
    """Return a run with these results."""
    end = START + timedelta(minutes=5)
    provenance = Provenance(engine="vllm")
    result = RunResult(run="study-1", trials=trials, provenance=provenance, started_at=START, ended_at=end)
    return Finished(result=result, ended_at=end)


def test_a_number_that_a_source_confirms_names_the_source() -> None:
    """A trial row names the source of its number."""
    gathered = merge_sources(make_finished(make_measured(100.0)), [("PodMetrics", {0: Value(tokens_per_second=100.5)})])
    (trial,) = gathered.result.trials
    assert isinstance(trial, Measured)
    assert (trial.throughput_tokens_per_second, gathered.sources) == (100.5, {0: "PodMetrics"})


@pytest.mark.parametrize("sample", [None, Missing(reason="Unreachable")])
def test_what_no_source_knows_keeps_the_number_of_the_result(sample: Sample | None) -> None:
    """A missing measurement is never a number, and never removes one."""
    found = {} if sample is None else {0: sample}
    finished = make_finished(make_measured(100.0))
    gathered = merge_sources(finished, [("PodMetrics", found)])
    assert (gathered.result, gathered.sources) == (finished.result, {})


def test_why_a_source_has_no_number_is_kept() -> None:
    """A source without a number for a measured trial gives its reason; one that returned nothing has none."""
    sources = [("A", {0: Missing(reason="Stale"), 1: Missing(reason="Empty")}), ("B", {})]
    assert merge_sources(make_finished(make_measured(100.0), OOM), sources).missing_sources == {"A": "Stale"}


def test_trials_were_measured_when_their_repeats_ran() -> None:
    """The window of a trial is absolute, and a result of an older runner has none."""
    measured = make_measured(100.0).model_copy(update={"window_seconds": (1.5, 31.0)})
    windows = windows_of(make_finished(measured, OOM))
    assert windows == {0: (START + timedelta(seconds=1.5), START + timedelta(seconds=31))}
    assert windows_of(make_finished(make_measured(100.0))) == {}


@pytest.mark.parametrize("seconds", [306.0, 1e13, 1e300])
def test_no_trial_was_measured_after_its_run(seconds: float) -> None:
    """This holds whatever a runner says: later the devices may serve other Pods, and a timestamp may overflow."""
    measured = make_measured(100.0).model_copy(update={"window_seconds": (1.5, seconds)})
    assert windows_of(make_finished(measured)) == {}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_metric_that_cannot_be_written_down_is_missing(number: float) -> None:
    """This holds whatever a source says: a journal with such a value could never be read again."""
    run = Run(name="study-1", pool="a100", round=1, attempt=1, trials=())
    finished = with_extra_metrics(make_finished(make_measured(100.0)), {0: {"power": number, "load": 0.5}})
    assert finished.extra_metrics == {0: {"power": Missing(reason="NotANumber"), "load": 0.5}}
    ended = EndedRun(run=run, started_at=START, observation=finished)
    assert decode_line(encode_entry(ended)) == ended


def test_the_extra_metrics_of_a_run_are_those_that_were_gathered_last() -> None:
    """Each trial keeps its own values; the reason for a missing number stays; nothing else of the run changes."""
    before = replace(make_finished(make_measured(100.0)), extra_metrics={0: {"old": 1.0}}, sources={0: "A"})
    gathered = {0: {"power": Missing(reason="Stale"), "load": 0.0}, 1: {"power": -5.0}}
    after = with_extra_metrics(before, gathered)
    assert after == replace(before, extra_metrics=gathered)


def test_the_first_source_that_has_a_number_gives_it() -> None:
    """Sources are asked in order, and one without a number is skipped."""
    sources = [("A", {0: Missing(reason="Down")}), ("B", {0: Value(tokens_per_second=99.5)}), ("C", {})]
    assert merge_sources(make_finished(make_measured(100.0)), sources).sources == {0: "B"}


def test_sources_that_disagree_leave_no_number() -> None:
    """A disagreement above 1 % is always reported: the trial is invalid and both numbers are named."""
    sources = [("A", {0: Value(tokens_per_second=100.0)}), ("B", {0: Value(tokens_per_second=102.0)})]
    (trial,) = merge_sources(make_finished(make_measured(100.0)), sources).result.trials
    assert isinstance(trial, Invalid)
    assert trial.reason == "SourcesDisagree"
    assert "A 100, B 102, result 100" in trial.detail


@pytest.mark.parametrize(
    ("seen", "agrees"), [(98.9, False), (99.0, True), (100.0, True), (101.0, True), (101.1, False), (200.0, False)]
)
def test_sources_agree_within_one_percent_of_the_result(seen: float, *, agrees: bool) -> None:
    """One per cent in either direction is rounding; more is a disagreement."""
    gathered = merge_sources(make_finished(make_measured(100.0)), [("A", {0: Value(tokens_per_second=seen)})])
    (trial,) = gathered.result.trials
    assert isinstance(trial, Measured) is agrees
    assert gathered.sources == {0: "A"}


@pytest.mark.parametrize("seen", [(100.0, 102.0), (102.0, 100.0), (100.0, 98.0)])
def test_one_source_that_disagrees_is_enough(seen: tuple[float, float]) -> None:
    """InfPop cannot know which of them is right."""
    sources = [(name, {0: Value(tokens_per_second=number)}) for name, number in zip("AB", seen, strict=True)]
    (trial,) = merge_sources(make_finished(make_measured(100.0)), sources).result.trials
    assert isinstance(trial, Invalid)
    said = f"A {seen[0]:g}, B {seen[1]:g}, result 100"
    assert trial == Invalid(
        index=0,
        batch_size=1,
        reason="SourcesDisagree",
        detail=f"tokens/s differ by more than 1%: {said}",
    )


def test_each_trial_has_its_own_number_and_source() -> None:
    """Other fields of the trial's result stay, as do trials that no source knows."""
    trials = [make_measured(100.0 * number, index=number, batch_size=number) for number in (1, 2, 3)]
    sources = [
        ("A", {1: Value(tokens_per_second=100.5), 2: Missing(reason="Stale")}),
        ("B", {1: Value(tokens_per_second=99.5), 2: Value(tokens_per_second=201.0)}),
    ]
    finished = make_finished(*trials)
    gathered = merge_sources(finished, sources)
    assert gathered.result.trials == (
        trials[0].model_copy(update={"throughput_tokens_per_second": 100.5}),
        trials[1].model_copy(update={"throughput_tokens_per_second": 201.0}),
        trials[2],
    )
    assert gathered.sources == {1: "A", 2: "B"}
    assert gathered.missing_sources == {"A": "Stale"}
    assert (gathered.ended_at, gathered.result.run) == (finished.ended_at, "study-1")


def test_the_first_reason_of_a_source_is_kept() -> None:
    """A source is asked trial by trial and may fail in several ways; trials without a number are not asked about."""
    trials = (make_measured(1.0, index=0), OOM, make_measured(1.0, index=2), make_measured(1.0, index=3))
    reasons = {1: Missing(reason="Full"), 2: Missing(reason="Stale"), 3: Missing(reason="Empty")}
    assert merge_sources(make_finished(*trials), [("A", reasons)]).missing_sources == {"A": "Stale"}


@pytest.mark.parametrize(("seconds", "believed"), [(304.9, True), (305.0, True), (305.1, False)])
def test_a_clock_may_be_five_seconds_off(seconds: float, *, believed: bool) -> None:
    """A window that ends up to five seconds after the run of five minutes is accepted."""
    measured = make_measured(100.0).model_copy(update={"window_seconds": (1.5, seconds)})
    assert (windows_of(make_finished(measured)) != {}) is believed


def test_a_trial_without_a_number_gets_none() -> None:
    """A source's value for a trial that was not measured is ignored."""
    finished = make_finished(OOM)
    assert merge_sources(finished, [("PodMetrics", {1: Value(tokens_per_second=5.0)})]).result.trials == (OOM,)
