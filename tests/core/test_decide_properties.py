"""What `decide` guarantees for every study in every world, whatever breaks and in whatever order results arrive."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factories.studies import make_pool, make_study
from infpop_operator.core import objective
from infpop_operator.core.counting import counting_trials
from infpop_operator.core.decide import BUDGET_LOWERED, decide
from infpop_operator.core.decision import Verdict
from infpop_operator.core.history import active_gpus, failures, gpu_seconds, trials_of
from infpop_operator.core.load_failures import free_failures, load_outlook
from infpop_operator.core.load_memory import postponed, while_loading
from infpop_operator.core.model import (
    HAS_WORKED,
    EndedRun,
    Finished,
    History,
    Lost,
    PlannedTrial,
    Run,
    StartedRun,
    Trial,
    TrialState,
)
from infpop_operator.core.recommend import best_of_pool
from infpop_operator.core.scope import baseline_of
from infpop_operator.core.search import SearchRequest, SearchTrial, propose
from infpop_operator.core.space import cells, ruled_out
from infpop_operator.core.study import AUTO, Algorithm, Budget, SearchSpace, Study
from infpop_runner.contract import MOST_TRIALS, Measured, RacedOut
from simulation.strategies import stories, studies, worlds
from simulation.world import Story, World, drive, remember

# A story takes about 50 ms, which Hypothesis would report as slow.
CERTAIN = (*HAS_WORKED, TrialState.INFEASIBLE)
MOST_PARALLEL = 4  # runs of a drawn study
properties = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@properties
@given(stories())
def test_a_round_never_has_more_trials_than_the_budget(story: Story) -> None:
    """`maxTrials` holds at every moment, for each pool and round."""
    for step in story.steps:
        for entry in step.after.rounds:
            assert len(trials_of(step.after, entry.pool, entry.number)) <= story.study.budget.max_trials


@properties
@given(stories())
def test_nothing_starts_once_the_failure_budget_is_spent(story: Story) -> None:
    """After more than `maxFailedTrials` failures, only runs that are already live may still fail."""
    limit = story.study.budget.max_failed_trials
    for step in story.steps:
        assert not (step.decision.start and _spent_failures(story.study, step.decision.history) > limit)
    assert _spent_failures(story.study, story.history) <= max(limit, 3 * _loads(story.study)) + MOST_PARALLEL


@properties
@given(stories())
def test_gpu_hours_and_deadline_are_never_exceeded(story: Story) -> None:
    """When the GPU-hours are spent or the deadline has passed, every run is stopped in that decision."""
    budget = story.study.budget
    for step in story.steps:
        if budget.max_gpu_hours is not None:
            assert gpu_seconds(step.after, step.now) <= budget.max_gpu_hours * 3600 * (1 + 1e-9) + 1e-3
        if budget.deadline is not None and step.now >= step.after.started_at + budget.deadline:
            assert all(started.stopping for started in step.after.active)


@properties
@given(stories())
def test_live_runs_fit_the_budget_and_the_pool(story: Story) -> None:
    """Parallel runs, their GPUs and the GPUs of one pool never exceed their limits."""
    budget = story.study.budget
    for step in story.steps:
        active = step.after.active
        assert len(active) <= budget.parallel_trials
        assert active_gpus(active) <= budget.max_concurrent_gpus
        for pool in story.study.pools:
            held = active_gpus(tuple(started for started in active if started.run.pool == pool.name))
            assert pool.total_device_count is None or held <= pool.total_device_count


@properties
@given(stories(), st.integers(1, 8))
def test_a_lowered_limit_holds_for_the_runs_that_are_wanted(story: Story, gpus: int) -> None:
    """Whenever it is lowered: the decision stops what is above it, no more than needed, and nothing starts beyond."""
    budget = replace(story.study.budget, max_concurrent_gpus=gpus)
    lowered = replace(story.study, budget=budget)
    for step in story.steps:
        decision = decide(lowered, step.before, step.observations, step.now)
        wanted = tuple(started for started in decision.history.active if started.stopping is None)
        assert active_gpus(wanted) <= gpus
        for entry in decision.stop:
            if entry.stopping == BUDGET_LOWERED:
                assert active_gpus(wanted) + entry.run.gpu_count > gpus
        if decision.start:
            live = (*decision.history.active, *(StartedRun(run=run, started_at=step.now) for run in decision.start))
            assert active_gpus(live) <= gpus


@properties
@given(stories())
def test_a_run_holds_up_to_trials_per_run_of_one_engine_load(story: Story) -> None:
    """All trials of a run share GPU count and load-time parameters, and no two runs have one name."""
    runs, wanted = list(_started(story)), story.study.algorithm.trials_per_run
    for run in runs:
        assert len({trial.configuration.load_key for trial in run.trials}) == 1
        assert 1 <= len(run.trials) <= (MOST_TRIALS if wanted == AUTO else wanted)
        assert run.sequence[0].needs_tokens_per_second is None
    assert len({run.name for run in runs}) == len(runs)


@properties
@given(stories())
def test_a_configuration_has_one_trial_and_one_trial_one_configuration(story: Story) -> None:
    """No configuration is proposed twice in a round, whatever its outcome."""
    planned = {(run.pool, run.round, trial.index, trial.configuration) for run, trial in _planned(story)}
    assert len({entry[:3] for entry in planned}) == len(planned)
    reached = {
        (entry.pool, entry.number, trial.index)
        for entry in story.history.rounds
        for trial in trials_of(story.history, entry.pool, entry.number)
    }
    tried = [(pool, number, cell) for pool, number, index, cell in planned if (pool, number, index) in reached]
    assert len(set(tried)) == len(tried)


@properties
@given(stories())
def test_what_is_known_is_never_measured_again(story: Story) -> None:
    """No run is started for a trial that is running or has a result, nor a third time after invalid results.

    Only the best of a search that has ended is measured again, on purpose.
    """
    for step in story.steps:
        for run in (run for run in step.decision.start if not run.confirms):
            states = {trial.index: trial for trial in trials_of(step.decision.history, run.pool, run.round)}
            for trial in (states[planned.index] for planned in run.trials if planned.index in states):
                assert trial.state in (TrialState.BROKEN, TrialState.INVALID)
                assert trial.invalid_results <= 1


@properties
@given(stories())
def test_after_out_of_memory_no_larger_batch_starts_at_that_gpu_count(story: Story) -> None:
    """Neither a new trial nor a retry asks for more than what is known not to fit."""
    for step in story.steps:
        for run in step.decision.start:
            limit = _smallest_too_large(step.decision.history, run)
            assert all(limit is None or trial.configuration.batch_size < limit for trial in run.trials)


@properties
@given(stories())
def test_a_load_that_runs_out_of_memory_costs_three_of_its_batch_sizes_at_most(story: Story) -> None:
    """One run at a time: the first, and the two smallest; and one that works with a smaller batch one more for each."""
    if story.study.budget.parallel_trials > 1 or story.study.algorithm.trials_per_run != 1:
        return
    for entry in story.history.rounds:
        trials = trials_of(story.history, entry.pool, entry.number)
        own = {cell.load_key: [trial for trial in trials if trial.configuration.load_key == cell.load_key]
               for cell in cells(story.study.space)}  # fmt: skip
        for tried in own.values():
            failed = [trial for trial in tried if while_loading(trial)]
            works = any(trial.state in (*HAS_WORKED, TrialState.INVALID) for trial in tried)
            assert works or len(failed) <= 3


@properties
@given(stories())
def test_an_incompatible_gpu_ends_its_pool(story: Story) -> None:
    """Once one trial has shown that the build lacks kernels for the pool's GPUs, nothing new is tried there.

    Another value of an extra parameter may use other kernels, and what has worked may be measured again.
    """
    for step in story.steps:
        for run in (run for run in step.decision.start if not run.confirms):
            trials = trials_of(step.decision.history, run.pool, run.round)
            extra = run.trials[0].configuration.extra
            same = (trial for trial in trials if trial.configuration.extra == extra)
            assert not any(trial.reason == "IncompatibleGPU" for trial in same)


@properties
@given(stories())
def test_the_same_inputs_give_the_same_decision(story: Story) -> None:
    """`decide` has no memory and draws no random numbers of its own."""
    for step in story.steps[::3]:
        assert decide(story.study, step.before, step.observations, step.now) == step.decision


@properties
@given(stories())
def test_without_news_there_is_nothing_more_to_do(story: Story) -> None:
    """A second decision after everything was carried out starts nothing and learns nothing."""
    for step in story.steps:
        again = decide(story.study, step.after, {}, step.now)
        assert (again.start, again.history) == ((), step.after)


@properties
@given(stories(), st.data())
def test_from_any_prefix_of_the_journal_the_story_ends_the_same(story: Story, data: st.DataObject) -> None:
    """A study that is killed after any journal entry and restarted continues as if nothing had happened."""
    cut = data.draw(st.integers(0, len(story.journal) - 1))
    kept = story.journal[:cut]
    now = story.journal[cut][0]
    rest = drive(story.study, story.world, history=remember([entry for _, entry in kept]), now=now)
    assert kept + rest.journal == story.journal
    assert rest.end == story.end


@properties
@given(stories(), st.data())
def test_an_interrupted_study_loses_no_result(story: Story, data: st.DataObject) -> None:
    """A study that its user interrupts after any decision and restarts keeps each number and measures none again."""
    after = data.draw(st.integers(0, len(story.steps) - 1))
    first = drive(story.study, story.world, interrupted_after=after)
    history = remember([entry for _, entry in first.journal])
    assert history.active == ()
    rest = drive(story.study, story.world, history=history, now=first.journal[-1][0])
    for pool in history.rounds:
        measured = {trial.index for trial in trials_of(history, pool.pool, pool.number) if trial.state in CERTAIN}
        again = {trial.index for run, trial in _planned(rest) if (run.pool, run.round) == (pool.pool, pool.number)}
        assert not measured & again


@properties
@given(studies(), worlds)
def test_a_broken_run_gives_the_search_nothing(study: Study, world: World) -> None:
    """The search proposes the same as it would without the runs that were lost and then retried."""
    budget = replace(study.budget, max_gpu_hours=None, deadline=None, max_failed_trials=1000)
    story = drive(replace(study, budget=budget), replace(world, lost=0.3, preempted=0.0))
    for step in story.steps:
        later = step.now + timedelta(days=1)  # after every back-off pause
        history = step.decision.history
        with_losses = decide(story.study, history, {}, later)
        without = decide(story.study, _without_made_up_losses(history), {}, later)
        assert _contents(without.start) == _contents(with_losses.start)


@properties
@given(studies(), worlds)
def test_the_search_gets_only_numbers_failures_and_pending_trials(study: Study, world: World) -> None:
    """The next run is what the search answers without any record of broken and invalid trials.

    Not so while no load has worked, or for the last attempt of a load that has not, or while cells are set aside.
    """
    budget = replace(study.budget, max_gpu_hours=None, deadline=None, max_failed_trials=1000)
    algorithm = replace(study.algorithm, trials_per_run=1)
    study = replace(study, budget=budget, algorithm=algorithm, baseline=None, pools=(make_pool(),))
    for step in drive(study, world).steps:
        history = step.decision.history
        loads = load_outlook(study, study.pools[0], history.rounds[-1], history)
        chosen_freely = (loads.any_loaded or not loads.failed) and not step.decision.set_aside
        for run in step.decision.start[:1]:
            if (
                run.attempt == 1
                and not run.confirms
                and chosen_freely
                and run.trials[0].configuration.load_key not in loads.failed
            ):
                assert run.trials[0].configuration == propose(_question(study, history, run))


@pytest.mark.parametrize(("invalid", "attempts"), [(1.0, 2), (0.0, 1)])
def test_an_invalid_result_is_measured_once_more_and_longer(invalid: float, attempts: int) -> None:
    """Where every result is invalid, each trial has two runs, and the second one is longer."""
    space = SearchSpace(gpu_counts=(8,), batch_sizes=(1, 2, 4, 8))
    study = make_study(space=space, budget=Budget(max_trials=4), algorithm=Algorithm(name="grid"))
    story = drive(study, World(invalid=invalid))
    assert Counter(trial.index for _, trial in _planned(story)) == dict.fromkeys(range(4), attempts)
    assert [run.longer for run in _started(story)] == [False, True][:attempts] * 4


def test_a_trial_that_a_retry_did_not_reach_uses_no_budget() -> None:
    """A shared run breaks and its retry runs out of memory at its first batch: the larger batches are not trials."""
    space = SearchSpace(gpu_counts=(8,), batch_sizes=(1, 2, 4, 8, 16))
    study = make_study(space=space, budget=Budget(max_trials=8), algorithm=Algorithm(name="grid", trials_per_run=4))
    seed = next(seed for seed in range(100) if _first_run_is_lost_and_the_second_is_not(study, seed))
    history = drive(study, World(seed=seed, memory=0, lost=0.3)).steps[2].decision.history
    assert [(trial.index, trial.reason) for trial in trials_of(history, "a100", 1)] == [(0, "GpuOutOfMemory")]


@properties
@given(stories())
def test_every_story_ends_with_a_verdict_that_its_trials_support(story: Story) -> None:
    """A succeeded study has a best, and an ended study always has a reason and a message."""
    end, study = story.end, story.study
    assert end.verdict in (Verdict.SUCCEEDED, Verdict.STALLED)
    assert end.reason
    assert end.message
    best = [
        objective.best(study, pool, trials_of(end.history, pool.name, entry.number))
        for pool in study.pools
        for entry in end.history.rounds
        if entry.pool == pool.name
    ]
    if end.verdict is Verdict.SUCCEEDED:
        assert any(trial is not None for trial in best)
    elif end.reason != "TooManyFailures":
        assert not any(trial is not None for trial in best)


@properties
@given(studies(), worlds, st.data())
def test_changed_hardware_starts_a_round_that_measures_the_old_best_first(
    study: Study, world: World, data: st.DataObject
) -> None:
    """Runs on the old hardware are stopped, rounds are never mixed, and the baseline is the new round's first trial."""
    study = replace(study, budget=replace(study.budget, deadline=None, max_gpu_hours=None), pools=(make_pool(),))
    story = drive(study, world)
    step = data.draw(st.sampled_from(story.steps))
    changed = replace(study, pools=(make_pool(fingerprint="new"),))
    second = drive(changed, world, history=step.after, now=step.now)
    first = second.steps[0]
    assert {stopping.run.name for stopping in first.decision.stop} == {
        started.run.name for started in step.after.active
    }
    assert all(run.round == 2 for run in _started(second))
    best = best_of_pool(study, study.pools[0], step.after)
    expected = best.configuration if best is not None else study.baseline
    assert baseline_of(changed, second.history.rounds[-1]) == expected
    starts = list(_started(second))
    if starts and expected is not None and expected.gpu_count <= study.budget.max_concurrent_gpus:
        assert starts[0].trials[0] == PlannedTrial(index=0, configuration=expected)


def _question(study: Study, history: History, run: Run) -> SearchRequest:
    """Return the request that the search should receive for the first new trial of `run`."""
    told: list[SearchTrial] = []
    counting = {trial.index for trial in counting_trials(study, study.pools[0], history, history.rounds[-1])}
    # What was raced out is open again once what was better than it counts no longer.
    trials = [
        trial
        for trial in trials_of(history, run.pool, run.round)
        if trial.state is not TrialState.RACED_OUT or trial.index in counting
    ]
    for trial in trials:
        cell = trial.configuration
        if isinstance(trial.result, Measured):
            told += _told_of_number(study, trial, trial.result)
        elif isinstance(trial.result, RacedOut):
            bound = trial.result.at_most_tokens_per_second
            bound /= cell.gpu_count if study.objective.metric == "throughputPerGPU" else 1
            told.append(SearchTrial(configuration=cell, state="bounded", loss=-bound))
        elif trial.state in (TrialState.INFEASIBLE, TrialState.RUNNING):
            state = "failed" if trial.state is TrialState.INFEASIBLE else "pending"
            told.append(SearchTrial(configuration=cell, state=state))
    closed = {trial.configuration for trial in trials} | set(ruled_out(study, study.pools[0], trials, None))
    opened = [
        cell for cell in cells(study.space) if cell not in closed and cell.gpu_count <= study.budget.max_concurrent_gpus
    ]
    waiting = postponed(trials, opened)
    return SearchRequest(
        space=study.space,
        trials=tuple(told),
        open_cells=tuple(cell for cell in opened if cell not in waiting),
        index=run.trials[0].index,
        seed=study.algorithm.seed,
        algorithm=study.algorithm.name,
        max_trials=study.budget.max_trials,
    )


def _told_of_number(study: Study, trial: Trial, measured: Measured) -> list[SearchTrial]:
    """Return a failure if the power bound is broken, and None if a required power was not observed."""
    cell, power = trial.configuration, trial.extra_metrics.get("power")
    if study.objective.metric in ("power", "tokensPerJoule") and not isinstance(power, float):
        return []
    if study.objective.metric == "power" and power > 800.0:
        return [SearchTrial(configuration=cell, state="failed")]
    loss = objective.loss(study.objective, measured, cell.gpu_count, None, trial.extra_metrics)
    return [SearchTrial(configuration=cell, state="measured", loss=loss)]


def _first_run_is_lost_and_the_second_is_not(study: Study, seed: int) -> bool:
    ended = drive(study, World(seed=seed, memory=0, lost=0.3)).history.ended
    return isinstance(ended[0].observation, Lost) and isinstance(ended[1].observation, Finished)


def _started(story: Story) -> Iterator[Run]:
    return (run for step in story.steps for run in step.decision.start)


def _planned(story: Story) -> Iterator[tuple[Run, PlannedTrial]]:
    return ((run, trial) for run in _started(story) if not run.confirms for trial in run.trials)


def _smallest_too_large(history: History, run: Run) -> int | None:
    """Return the smallest batch that is known to run out of memory with the engine load of `run`."""
    load = run.trials[0].configuration.load_key
    trials = [trial for trial in trials_of(history, run.pool, run.round) if trial.configuration.load_key == load]
    of_batch = (trial for trial in trials if trial.reason == "GpuOutOfMemory" and not while_loading(trial))
    return min((trial.configuration.batch_size for trial in of_batch), default=None)


def _spent_failures(study: Study, history: History) -> int:
    """Return how many broken runs use the failure budget: not those of a load that is set aside or may be."""
    return len({entry.run.name for entry in failures(history)} - free_failures(study, history))


def _loads(study: Study) -> int:
    """Return how many engine loads a study has; each may fail three times before it is known that all of them do."""
    return len({(pool.name, cell.load_key) for pool in study.pools for cell in cells(study.space)}) + 1


def _without_made_up_losses(history: History) -> History:
    """Drop the lost runs whose trials are all certain by now."""
    certain = {
        (entry.pool, entry.number, trial.index)
        for entry in history.rounds
        for trial in trials_of(history, entry.pool, entry.number)
        if trial.state in CERTAIN
    }

    def is_made_up_for(entry: EndedRun) -> bool:
        own = {(entry.run.pool, entry.run.round, trial.index) for trial in entry.run.trials}
        return isinstance(entry.observation, Lost) and not entry.run.confirms and own <= certain

    return replace(history, ended=tuple(entry for entry in history.ended if not is_made_up_for(entry)))


def _contents(runs: tuple[Run, ...]) -> list[tuple[str, int, tuple[PlannedTrial, ...]]]:
    return [(run.pool, run.round, run.trials) for run in runs]
