"""The status of a locally tuned study: written when something changed, and shown as its page."""

from dataclasses import replace
from datetime import timedelta
from functools import cache

from factories.fake_executor import play_landscape
from infpop_operator.core.model import Finished, Phase, Running
from infpop_operator.core.study import Algorithm, SearchSpace
from infpop_operator.local.prepare import Prepared
from infpop_operator.local.snapshot import Snapshot, as_resumed, with_partial_results
from infpop_operator.local.status_keeper import StatusKeeper
from infpop_operator.report.status_page import Outcome
from infpop_runner.contract import Broken, RunResult
from report.local_pages import DIRECTORY, document_of
from report.played_studies import snapshots


@cache
def shown() -> list[Snapshot]:
    """Return every instant of a study whose four trials share two loads."""
    return snapshots(
        play_landscape(lambda gpus, batch: float(1000 * gpus * batch)),
        space=SearchSpace(gpu_counts=(1, 2), batch_sizes=(1, 8)),
        algorithm=Algorithm(name="grid", trials_per_run=2),
    )


def at_work() -> tuple[Snapshot, RunResult]:
    """Return an instant at which the second load is live, and the results that it will have at its end."""
    live = next(each for each in shown() if each.decision.history.active and each.decision.history.ended)
    observation = shown()[-1].decision.history.ended[-1].observation
    assert isinstance(observation, Finished)
    return live, observation.result


def make_keeper(saved: list[object], previous: object = None) -> StatusKeeper:
    """Return a keeper that saves to a list."""
    study = shown()[0].study
    prepared = Prepared(study=study, document=document_of(study), text="", gpus=(), needs_tiny_model=False)
    return StatusKeeper(prepared, DIRECTORY, previous=previous, save=saved.append)


def test_a_status_is_written_when_something_changed_and_only_then() -> None:
    """Passing time alone changes nothing; a run's phase does, and so does why a changed pool gets no new round."""
    saved: list[object] = []
    keeper, (live, _) = make_keeper(saved), at_work()
    for instant in (live, replace(live, now=live.now + timedelta(seconds=9))):
        keeper.save(instant)
    assert len(saved) == 1
    (entry,) = live.decision.history.active
    keeper.save(replace(live, observations={entry.run.name: Running(phase=Phase.LOADING)}))
    assert len(saved) == 2
    assert keeper.status == saved[-1]
    pool = live.study.pools[0].name
    keeper.save(replace(live, decision=replace(live.decision, held_changes={pool: "the deadline has passed"})))
    assert len(saved) == 3


def test_conditions_keep_their_time_over_a_restart() -> None:
    """A process that resumes the study reads the earlier status; an unreadable status is ignored."""
    saved: list[object] = []
    end = shown()[-1]
    make_keeper(saved).save(end)
    later = replace(end, now=end.now + timedelta(hours=1))
    make_keeper(saved, saved[0]).save(later)
    assert saved[1] == saved[0]
    make_keeper(saved, {"conditions": "none"}).save(later)
    assert saved[2] != saved[0]


def test_a_page_follows_what_a_live_run_finds() -> None:
    """The page shows each number as soon as it exists; the written status waits for the end of the run."""
    saved: list[object] = []
    keeper, (live, whole) = make_keeper(saved), at_work()
    first = whole.model_copy(update={"trials": whole.trials[:1], "ended_at": None})
    keeper.save(live)
    pages = [keeper.page(live, partial) for partial in ({}, {whole.run: first}, {whole.run: whole}, {})]
    assert [page.picture.trials_done for page in pages] == [2, 3, 4, 2]
    assert [[run.what for run in page.picture.runs] for page in pages][1] == ["1 GPU, batch size 8"]
    assert len(saved) == 1


def test_partial_results_make_two_runs_of_a_live_one() -> None:
    """Trials with a result count as ended, and not as broken by the missing ones; the rest stays live unchanged."""
    live, whole = at_work()
    (entry,) = live.decision.history.active
    first = whole.model_copy(update={"trials": whole.trials[:1]})
    crashing = first.model_copy(update={"broken": Broken(reason="EngineCrash")})
    history = with_partial_results(live, {whole.run: crashing}).history
    assert history.ended[:-1] == live.decision.history.ended
    assert history.ended[-1].run.trials == entry.run.trials[:1]
    assert history.ended[-1].observation == Finished(result=first, ended_at=live.now)
    assert history.active == (replace(entry, run=replace(entry.run, trials=entry.run.trials[1:])),)
    assert with_partial_results(live, {}) == live.decision


def test_a_page_as_resumed_shows_what_an_earlier_process_left() -> None:
    """Runs that ended in the earlier process are shown, runs that ended since then are not; the study continues."""
    end = replace(shown()[-1], earlier=1)
    assert [entry.run.name for entry in as_resumed(end).history.ended] == [end.decision.history.ended[0].run.name]
    page = make_keeper([]).page_as_resumed(end)
    assert (page.picture.trials_done, page.picture.runs, page.outcome) == (2, (), Outcome.OPEN)
