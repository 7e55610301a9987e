"""Runs whose end is certain while their pods still hold devices."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from infpop_operator.adapters.kube.records import ContainerRecord, JobEnd, JobRecord, PodRecord
from infpop_operator.cluster.ending import TERMINATING, Ending, Endings, hold_devices
from infpop_operator.cluster.step import as_told, leftovers, plan_step
from infpop_operator.core.decide import decide
from infpop_operator.core.model import (
    Configuration,
    Decision,
    EndedRun,
    Finished,
    History,
    Lost,
    Observation,
    Phase,
    PlannedTrial,
    Run,
    Running,
    StartedRun,
    Verdict,
    Waiting,
)
from infpop_runner.contract import Broken, Provenance, RunResult
from simulation.factories import START, make_measured, make_study

RUN = "study-1"
LATER = START + timedelta(seconds=20)
LOST = Lost(reason="ImagePull", ended_at=START)
POD = PodRecord(
    namespace="ns",
    name="pod",
    uid="p",
    resource_version="1",
    job_uid="j",
    study="study",
    run=RUN,
    created_at=START,
    node="n1",
    phase="Running",
    container=ContainerRecord(started_at=START),
)
EXITED = replace(POD, container=ContainerRecord(started_at=START, exit_code=0))


def make_endings() -> Endings:
    """Return endings with two minutes of patience."""
    return Endings(patience=timedelta(minutes=2))


def make_partial() -> Finished:
    """Return what a runner leaves that was told to stop after its first trial."""
    result = RunResult(
        run=RUN,
        trials=(make_measured(100.0),),
        broken=Broken(reason="Stopped"),
        provenance=Provenance(engine="vllm"),
        started_at=START,
        ended_at=LATER,
    )
    return Finished(result=result, ended_at=LATER)


def make_history(*, active: bool = True) -> History:
    """Return a history with one run."""
    trial = PlannedTrial(index=0, configuration=Configuration(gpu_count=8, batch_size=1))
    run = Run(name=RUN, pool="a100", round=1, attempt=1, trials=(trial,))
    started = StartedRun(run=run, started_at=START)
    return History(started_at=START, active=(started,) if active else ())


def test_a_pod_holds_devices_from_its_node_to_its_end() -> None:
    """Neither a pod that waits for a node nor one whose container exited keeps anybody from a GPU."""
    assert hold_devices([POD])
    assert not hold_devices([replace(POD, node=None)])
    assert not hold_devices([EXITED])
    assert not hold_devices([replace(POD, container=None, phase="Failed")])
    assert not hold_devices([])


def test_a_lost_run_terminates_until_its_pod_is_gone() -> None:
    """A run whose time is over is not over before its GPUs are free, and then for the reason that it had."""
    endings = make_endings()
    seen = endings.observe(RUN, LOST, [POD], START)
    assert isinstance(seen, Waiting)
    assert (seen.reason, "ImagePull" in seen.detail) == (TERMINATING, True)
    assert RUN in endings.names()
    assert endings.observe(RUN, Lost(reason="Deleted", ended_at=LATER), [], LATER) == LOST


def test_a_last_word_with_a_measurement_is_heard() -> None:
    """What the runner measured before it was ended is kept, whatever the reason of its end."""
    endings = make_endings()
    endings.observe(RUN, LOST, [POD], START)
    assert endings.observe(RUN, make_partial(), [EXITED], LATER) == make_partial()


def test_a_stopped_run_ends_for_the_reason_of_its_stop() -> None:
    """However a run looks that the study ended itself, its end costs no failure and names that reason."""
    endings = make_endings()
    endings.begin(RUN, Ending(seen=Lost(reason="Suspended", ended_at=START), stopped="Suspended", since=START))
    assert isinstance(endings.observe(RUN, Running(phase=Phase.MEASURING), [POD], START), Waiting)
    end = endings.observe(RUN, Lost(reason="RunnerError", ended_at=LATER), [], LATER)
    assert end == Lost(reason="Suspended", ended_at=START, counts=False)
    entry = EndedRun(run=make_history().active[0].run, started_at=START, observation=LOST)
    assert endings.with_reason(entry).stopped == "Suspended"


def test_a_pod_that_never_goes_away_is_given_up() -> None:
    """A dead node keeps a study waiting for two minutes, not for ever."""
    endings = make_endings()
    endings.observe(RUN, LOST, [POD], START)
    assert endings.observe(RUN, LOST, [POD], START + timedelta(minutes=3)) == LOST


def test_a_run_that_ended_by_itself_is_over_at_once() -> None:
    """The next Job waits for no pod that has exited."""
    assert make_endings().observe(RUN, make_partial(), [EXITED], LATER) == make_partial()


def decision_with(observations: Mapping[str, Observation], history: History, **changes: object) -> Decision:
    """Return what the core decides on a study, changed."""
    return decide(make_study(**changes), history, observations, LATER)


def test_nothing_is_started_and_no_end_remembered_while_a_run_ends() -> None:
    """A stopped run keeps its place until its pod is gone: neither its end nor a start is remembered before."""
    before = decide(make_study(), make_history(), {}, START).history
    decision = decision_with({}, before, suspended=True)
    assert decision.stop
    held = {stop.run for stop in decision.stop}
    step = plan_step(before, decision, held, any_ending=True)
    assert (step.ended, step.start) == ((), ())
    over = plan_step(before, decision, set(), any_ending=False)
    assert [entry.run.name for entry in over.ended] == [RUN]


def test_a_study_does_not_succeed_before_its_last_run_has_spoken() -> None:
    """While a run is ending, the end of the search is not told and nothing is published."""
    history = make_history()
    done = Decision(
        history=history, verdict=Verdict.SUCCEEDED, reason="DeadlineReached", message="the deadline is over"
    )
    told = as_told(done, history, any_ending=True)
    assert (told.verdict, told.reason) == (Verdict.WORKING, TERMINATING)
    assert as_told(done, history, any_ending=False).verdict is Verdict.SUCCEEDED


def test_only_jobs_of_ended_runs_are_left_over() -> None:
    """A Job goes when its run has ended and it still lives, gets its TTL when it has ended, and else is left alone."""
    job = JobRecord(
        namespace="ns",
        name=RUN,
        uid="j",
        resource_version="1",
        study="study",
        study_uid="u",
        run=RUN,
        created_at=START,
    )
    ended = replace(job, end=JobEnd(complete=True, reason="", message="", at=LATER))
    over, live = make_history(active=False), make_history()
    assert leftovers((job,), live, frozenset()) == ((), ())
    assert leftovers((job,), over, frozenset()) == ((job,), ())
    assert leftovers((job,), over, frozenset({"j"})) == ((), ())
    assert leftovers((ended,), over, frozenset()) == ((), (ended,))
    assert leftovers((replace(ended, ttl_seconds=60),), over, frozenset()) == ((), ())
