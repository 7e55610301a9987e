"""Which Events a study gets (each transition once, and nothing else), and the contents of an Event."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from adapters.kube.api_server import ApiServer, api_server
from factories.events import transitions
from factories.kube_objects import OWNER
from factories.runs import make_finished, make_lost, make_started
from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.api.status_model import PoolStatus, StudyStatus, TrialRow
from infpop_operator.cluster.events import Recorder, StudyEvent, runs_lacking_metrics
from infpop_operator.core.model import EndedRun, Finished

NOW = datetime(2026, 3, 4, 5, 6, 7, 890_000, tzinfo=UTC)
STUDY = {
    "metadata": {
        "name": OWNER.name,
        "namespace": OWNER.namespace,
        "uid": OWNER.uid,
        "generation": 3,
        "resourceVersion": "17",
    }
}
EVENT = StudyEvent(type="Warning", reason="RunBroken", message="run study-1: NodeLost")


def make_row(index: int = 1, state: str = "Measured", **changes: object) -> TrialRow:
    """Return the row of a trial."""
    row = TrialRow(
        pool="a100",
        round=2,
        index=index,
        gpu_count=4,
        batch_size=8,
        state=state,
        throughput="12.5" if state == "Measured" else None,
        attempts=1,
        run=f"study-{index}",
    )
    return row.model_copy(update=changes)


def events_between(before: TrialRow | None, after: TrialRow) -> list[tuple[str, str, str]]:
    """Return the Events between two statuses with these rows: type, reason and message."""
    old, new = (StudyStatus(trials=[] if row is None else [row]) for row in (before, after))
    return [(event.type, event.reason, event.message) for event in transitions(old, new)]


def test_a_trial_is_reported_when_it_has_ended() -> None:
    """It is reported once: its row does not change afterwards, and earlier trials are not repeated."""
    before, after = (StudyStatus(trials=[make_row(index) for index in range(count)]) for count in (1, 2))
    (event,) = transitions(before, after)
    message = "trial 2 of pool a100: 4 GPUs, batch size 8: 12.5 tokens/s (run study-1)"
    assert event == StudyEvent(type="Normal", reason="TrialMeasured", message=message)
    assert transitions(after, after) == ()


@pytest.mark.parametrize(
    ("row", "reason", "outcome"),
    [
        (make_row(), "TrialMeasured", "12.5 tokens/s"),
        (make_row(state="RacedOut", throughput_at_most="8.5"), "TrialRacedOut",
         "slower than the best, at most 8.5 tokens/s"),
        (make_row(state="Infeasible", reason="GpuOutOfMemory", message="of 40 GiB"), "TrialInfeasible",
         "GpuOutOfMemory: of 40 GiB"),
        (make_row(state="Invalid", reason="UnstableRepeats"), "TrialInvalid", "UnstableRepeats"),
    ],
)  # fmt: skip
def test_every_outcome_of_a_trial_has_its_event(row: TrialRow, reason: str, outcome: str) -> None:
    """The Event has the number, or the reason and its explanation."""
    message = f"trial 2 of pool a100: 4 GPUs, batch size 8: {outcome} (run study-1)"
    assert events_between(make_row(state="Running"), row) == [("Normal", reason, message)]


@pytest.mark.parametrize("state", ["Running", "Broken"])
def test_a_trial_without_a_result_has_no_event(state: str) -> None:
    """The broken run has its own Event."""
    assert events_between(None, make_row(state=state)) == []


def test_a_second_invalid_result_of_a_trial_is_reported() -> None:
    """It comes from another run, although state and reason are the same."""
    first = make_row(state="Invalid", reason="UnstableRepeats")
    second = first.model_copy(update={"run": "study-5", "attempts": 2})
    ((_, reason, message),) = events_between(first, second)
    assert (reason, message.endswith("UnstableRepeats (run study-5)")) == ("TrialInvalid", True)


def test_a_result_of_the_same_run_is_reported_once_more_only_if_it_changes() -> None:
    """A late number replaces an invalid result; a new message for the same result is not reported."""
    invalid = make_row(state="Invalid", reason="UnstableRepeats")
    assert [reason for _, reason, _ in events_between(invalid, make_row())] == ["TrialMeasured"]
    assert events_between(invalid, invalid.model_copy(update={"message": "more"})) == []


@pytest.mark.parametrize("changes", [{"pool": "v100"}, {"round": 3}, {"index": 2}], ids=str)
def test_trials_are_distinguished_by_pool_round_and_index(changes: dict[str, object]) -> None:
    """The same cell of another pool or round is another trial, even in the same run."""
    assert len(events_between(make_row(), make_row().model_copy(update=changes))) == 1


def test_a_trial_on_one_gpu_is_not_on_one_gpus() -> None:
    """The message is correct English."""
    ((_, _, message),) = events_between(None, make_row(gpu_count=1))
    assert ": 1 GPU, batch size 8: " in message


def test_a_status_that_cannot_be_read_reports_no_trial_again() -> None:
    """After an upgrade, hundreds of studies would report hundreds of trials each; only rounds are reported again."""
    pool = PoolStatus(name="a100", round=1)
    after = StudyStatus(pools=[pool], trials=[make_row(index) for index in range(500)])
    assert [event.reason for event in transitions(None, after)] == ["RoundStarted"]


def test_a_new_round_is_reported_once() -> None:
    """The Event names the hardware; a pool without a round has none, and each pool reports its own rounds."""
    first = PoolStatus(name="a100", round=1, gpu="A100", image="runner:1")
    second = first.model_copy(update={"round": 2, "gpu": None, "image": None})
    other = PoolStatus(name="v100", round=1, gpu="V100", image="runner:2")
    waiting = PoolStatus(name="h100")
    before, after = StudyStatus(pools=[first, waiting]), StudyStatus(pools=[second, other, waiting])
    assert [(event.type, event.reason, event.message) for event in transitions(before, after)] == [
        ("Normal", "RoundStarted", "pool a100: round 2 began on its nodes (no image)"),
        ("Normal", "RoundStarted", "pool v100: round 1 began on V100 (runner:2)"),
    ]
    assert transitions(after, after) == ()


def test_a_run_whose_numbers_come_from_another_source_is_reported() -> None:
    """The Event says which source had no number and why, and which one counts; complete or empty runs have none."""
    ended = make_finished(make_started())
    assert isinstance(ended.observation, Finished)

    def with_sources(sources: dict[int, str], missing: dict[str, str]) -> EndedRun:
        return replace(ended, observation=replace(ended.observation, sources=sources, missing_sources=missing))

    entries = [
        with_sources({0: "PodMetrics", 1: "PodMetrics"}, {"Prometheus": "Empty"}),
        with_sources({0: "Prometheus", 1: "PodMetrics"}, {"Prometheus": "Empty"}),
        with_sources({}, {"Prometheus": "TimedOut", "PodMetrics": "PodGone"}),
        with_sources({0: "Prometheus"}, {}),
        make_lost(make_started()),
    ]
    run = "run study-1 on pool a100: no number from"
    assert runs_lacking_metrics(entries) == (
        StudyEvent(
            type="Normal",
            reason="MetricsMissing",
            message=f"{run} Prometheus: Empty; using the numbers from PodMetrics",
        ),
        StudyEvent(
            type="Normal",
            reason="MetricsMissing",
            message=f"{run} Prometheus: Empty; using the numbers from PodMetrics, Prometheus",
        ),
        StudyEvent(
            type="Normal",
            reason="MetricsMissing",
            message=f"{run} Prometheus: TimedOut, PodMetrics: PodGone; using the numbers from the run's own result",
        ),
    )


def played(scenario: Callable[[ApiServer, Recorder], Awaitable[None]]) -> None:
    """Run a scenario with an API server and a recorder."""

    async def play() -> None:
        async with api_server() as server, KubeClient(server.connection()) as client:
            await scenario(server, Recorder(client, lambda: NOW))

    asyncio.run(play())


def test_an_event_is_about_the_study() -> None:
    """The Event names the whole object: `kubectl describe` finds it by the study's uid."""

    async def scenario(server: ApiServer, recorder: Recorder) -> None:
        await recorder.record(STUDY, [EVENT])
        (event,) = server.events
        name = event["metadata"].pop("name")
        assert name.startswith("study.")
        assert len(name) == len("study.") + 16
        assert event == {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": "serving"},
            "involvedObject": {
                "apiVersion": "infpop.io/v1alpha1",
                "kind": "ThroughputStudy",
                "name": "study",
                "namespace": "serving",
                "uid": OWNER.uid,
                "resourceVersion": "17",
            },
            "type": "Warning",
            "reason": "RunBroken",
            "message": "run study-1: NodeLost",
            "source": {"component": "infpop"},
            "reportingComponent": "infpop.io/infpop",
            "reportingInstance": "infpop",
            "firstTimestamp": "2026-03-04T05:06:07Z",
            "lastTimestamp": "2026-03-04T05:06:07Z",
            "count": 1,
        }

    played(scenario)


def test_an_event_that_is_written_twice_is_one() -> None:
    """After a crash the same transition has the same name; another study, spec, reason or message has another name."""

    async def scenario(server: ApiServer, recorder: Recorder) -> None:
        await recorder.record(STUDY, [EVENT, EVENT])
        await recorder.record(STUDY, [EVENT])
        assert len(server.events) == 1
        for change in ({"uid": "another"}, {"generation": 4}):
            await recorder.record({"metadata": STUDY["metadata"] | change}, [EVENT])
        await recorder.record(STUDY, [replace(EVENT, reason="Other"), replace(EVENT, message="other")])
        assert len({event["metadata"]["name"] for event in server.events}) == 5

    played(scenario)


@pytest.mark.parametrize(("length", "kept"), [(999, 999), (1000, 1000), (1001, 1000)])
def test_a_long_message_is_cut(length: int, kept: int) -> None:
    """The API server refuses more than 1,024 characters."""

    async def scenario(server: ApiServer, recorder: Recorder) -> None:
        await recorder.record(STUDY, [replace(EVENT, message="x" * length)])
        assert server.events[0]["message"] == "x" * kept

    played(scenario)


def test_an_event_that_is_refused_keeps_no_other_from_being_written(caplog: pytest.LogCaptureFixture) -> None:
    """The failure is logged, and the operator continues."""

    async def scenario(server: ApiServer, recorder: Recorder) -> None:
        server.events_refused = "exceeded quota"
        await recorder.record(STUDY, [EVENT, replace(EVENT, message="second")])
        assert server.requests == ["POST", "POST"]

    played(scenario)
    assert len([record for record in caplog.records if "not written" in record.message]) == 2


def test_a_namespace_that_is_being_deleted_takes_no_events(caplog: pytest.LogCaptureFixture) -> None:
    """After one refusal the other Events are not tried, and no error is logged."""

    async def scenario(server: ApiServer, recorder: Recorder) -> None:
        server.events_refused = "unable to create new content in namespace x because it is being terminated"
        await recorder.record(STUDY, [EVENT, replace(EVENT, message="second")])
        assert server.requests == ["POST"]

    played(scenario)
    assert [record for record in caplog.records if "not written" in record.message] == []
