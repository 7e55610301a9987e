"""Trial numbers come from Prometheus over real connections, or with a reason why they are missing."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from aiohttp import web

from adapters.prometheus.api import (
    END,
    RUN,
    START,
    Behaviour,
    Scene,
    body,
    failure,
    hang,
    hang_up,
    never_end,
    number,
    play,
    series,
    success,
    throughputs,
)
from infpop_operator.core.extra_metrics import ExtraMetric
from infpop_operator.core.model import Missing, Sample, Value

BOTH = throughputs(series((299, "12.5")), series((200, "25"), (230, "25"), trial="1"))
NUMBERS: dict[int, Sample] = {0: Value(tokens_per_second=12.5), 1: Value(tokens_per_second=25.0)}
ALIVE = success("vector", [number("1")])
WINDOWS = {0: (START + timedelta(seconds=60), START + timedelta(seconds=90)), 1: (START, END)}
POWER = ExtraMetric(name="power", query='sum(power{namespace="$namespace",pod="$pod"}[$window])', unit="watts")
SHARE = ExtraMetric(name="share", query="share", unit="ratio")


def missing(reason: str) -> dict[int, Sample]:
    """Return the expected result if both trials lack their number."""
    return dict.fromkeys(RUN.trials, Missing(reason=reason))


def test_throughputs_come_with_one_question() -> None:
    """One query covers all trials of a run, at the end of the run plus a margin."""

    async def scenario(scene: Scene) -> None:
        scene.api.answers = [BOTH]
        assert await scene.source.samples(RUN) == NUMBERS
        (form,) = scene.api.questions
        assert form == {
            "query": 'infpop_trial_throughput_tokens_per_second{namespace="serving",study="study",run="study-1"}[305s]',
            "time": f"{END.timestamp() + 5:.3f}",
            "timeout": "20s",
        }
        assert (scene.counted, scene.source.name, scene.source.outage) == (["ok"], "Prometheus", None)

    play(scenario)


def test_a_trial_without_a_number_is_not_queried() -> None:
    """A run without measured trials causes no query."""

    async def scenario(scene: Scene) -> None:
        assert await scene.source.samples(replace(RUN, trials=())) == {}
        assert scene.api.questions == []

    play(scenario)


def test_what_was_scraped_is_there_a_moment_later() -> None:
    """An incomplete answer is asked for again shortly after the end of the run."""

    async def scenario(scene: Scene) -> None:
        scene.api.answers = [throughputs(), throughputs(series((299, "12.5"))), throughputs(series((-9, "9"))), BOTH]
        assert await scene.source.samples(RUN) == NUMBERS
        assert (len(scene.api.questions), scene.clock.seconds) == (4, 0.25 + 0.5 + 1.0)

    play(scenario)


def test_what_never_comes_is_not_waited_for_longer_than_the_patience() -> None:
    """An empty answer stays empty, and is not an outage."""

    async def scenario(scene: Scene) -> None:
        scene.api.answers = [throughputs()]
        assert await scene.source.samples(RUN) == missing("Empty")
        assert 8.0 < scene.clock.seconds <= 10.0
        assert scene.source.outage is None

    play(scenario)


def test_what_is_long_past_is_not_waited_for() -> None:
    """After a long time without an operator, missing data will not appear any more."""

    async def scenario(scene: Scene) -> None:
        scene.clock.seconds = 3600.0
        scene.api.answers = [throughputs(series((299, "12.5")))]
        assert await scene.source.samples(RUN) == NUMBERS | {1: Missing(reason="Empty")}
        assert len(scene.api.questions) == 1

    play(scenario)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (throughputs(series((-1, "5")), series((-1, "5"), trial="1")), "Stale"),
        (throughputs(series((1, "5"), (9, "6")), series((1, "5"), (9, "6"), trial="1")), "Ambiguous"),
        (throughputs(*(series((1, "5"), trial=trial, job=job) for trial in "01" for job in "ab")), "TwoSeries"),
        (throughputs(series((1, "NaN")), series((1, "+Inf"), trial="1")), "NotANumber"),
        (throughputs(series((1, "0")), series((1, "-5"), trial="1")), "NotPositive"),
        (throughputs(series((1, "5"), study="other")), "BadAnswer"),
        (success("scalar", [END.timestamp(), "5"]), "BadAnswer"),
    ],
)
def test_what_cannot_be_believed_has_a_reason(answer: Behaviour, reason: str) -> None:
    """A complete answer of a working Prometheus without a usable number is not reported as an outage."""

    async def scenario(scene: Scene) -> None:
        scene.api.answers = [answer]
        assert await scene.source.samples(RUN) == missing(reason)
        assert scene.source.outage is None

    play(scenario)


PASSING: Sequence[tuple[Behaviour, str]] = [
    (failure(503, text="no healthy upstream"), "PrometheusUnreachable"),
    (failure(500, error_type="internal", text="oops"), "PrometheusUnreachable"),
    (failure(429), "PrometheusUnreachable"),
    (failure(503, error_type="timeout", text="query timed out"), "TimedOut"),
    (hang, "TimedOut"),
    (hang_up, "PrometheusUnreachable"),
    (body(b"<!DOCTYPE html><title>Sign in</title>"), "BadAnswer"),
    (body(b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{'), "BadAnswer"),
    (failure(302), "BadAnswer"),
    (failure(404, text="404 page not found"), "BadAnswer"),
]
LASTING: Sequence[tuple[Behaviour, str]] = [
    (body(b"\x1f\x8b", Content_Encoding="br"), "BadAnswer"),
    (never_end, "BadAnswer"),
    (failure(401, text="Unauthorized"), "PrometheusRefused"),
    (failure(403, text="Forbidden"), "PrometheusRefused"),
]


def time_out_for(answer: Behaviour, *, answers_later: bool = False) -> float:
    """Return a short time-out only where it is waited for: a busy machine may be slow to answer."""
    if answer is not hang:
        return 20.0
    return 3.0 if answers_later else 0.3


@pytest.mark.parametrize(("answer", "reason"), [*PASSING, *LASTING])
def test_an_outage_is_a_reason_and_never_a_number(answer: Behaviour, reason: str) -> None:
    """Errors, HTML pages, truncated answers, silence: each trial has a reason, and the outage has start and cause."""

    async def scenario(scene: Scene) -> None:
        scene.api.answers = [answer]
        assert await scene.source.samples(RUN) == missing(reason)
        assert scene.source.outage is not None
        assert f" UTC: {reason} (" in scene.source.outage
        assert set(scene.counted) == {reason}
        assert scene.clock.seconds <= 10.0

    play(scenario, timeout_seconds=time_out_for(answer), patience_seconds=1.0)


@pytest.mark.parametrize(("answer", "reason"), PASSING)
def test_a_failure_that_passes_costs_nothing(answer: Behaviour, reason: str) -> None:
    """The next attempt returns the numbers."""

    async def scenario(scene: Scene) -> None:
        scene.api.answers = [answer, BOTH]
        assert await scene.source.samples(RUN) == NUMBERS
        assert scene.counted == [reason, "ok"]

    play(scenario, timeout_seconds=time_out_for(answer, answers_later=True))


@pytest.mark.parametrize(("answer", "reason"), LASTING)
def test_what_asking_again_does_not_change_is_asked_once(answer: Behaviour, reason: str) -> None:
    """A refused query is not repeated, and an oversized answer does not shrink."""

    async def scenario(scene: Scene) -> None:
        scene.api.answers = [answer, BOTH]
        assert await scene.source.samples(RUN) == missing(reason)
        assert len(scene.api.queries) == 1

    play(scenario)


def test_where_nothing_listens_there_is_no_number() -> None:
    """The address is wrong, or Prometheus was stopped."""

    async def scenario(scene: Scene) -> None:
        assert await scene.source.samples(RUN) == missing("PrometheusUnreachable")
        assert scene.source.outage is not None
        assert "ConnectError" in scene.source.outage

    play(scenario, url="http://127.0.0.1:1")


def test_an_outage_delays_no_caller() -> None:
    """During an outage, callers get an answer immediately; at most one probe is sent every few seconds."""

    async def scenario(scene: Scene) -> None:
        scene.api.answers = [failure(503)]
        await scene.source.samples(RUN)
        asked, began, told = len(scene.api.questions), scene.clock.seconds, scene.source.outage
        for _ in range(200):
            assert await scene.source.samples(RUN) == missing("PrometheusUnreachable")
        assert (len(scene.api.questions), scene.clock.seconds) == (asked, began)
        await scene.clock.sleep(5.0)
        await asyncio.gather(*(scene.source.samples(RUN) for _ in range(200)))
        assert len(scene.api.questions) == asked + 1
        assert scene.source.outage == told

    play(scenario)


def test_a_probe_finds_that_prometheus_is_back() -> None:
    """The outage ends and numbers arrive again."""

    async def scenario(scene: Scene) -> None:
        scene.api.answers = [failure(503)]
        await scene.source.probe()
        assert scene.source.outage is not None
        scene.api.answers = [ALIVE, BOTH]
        await scene.source.probe()
        assert scene.source.outage is None
        assert await scene.source.samples(RUN) == NUMBERS

    play(scenario)


def test_a_question_finds_that_prometheus_is_back() -> None:
    """A few seconds after the last probe a query is sent, and its run gets its numbers."""

    async def scenario(scene: Scene) -> None:
        scene.api.answers = [failure(503)]
        await scene.source.probe()
        scene.api.answers = [ALIVE, BOTH]
        assert await scene.source.samples(RUN) == missing("PrometheusUnreachable")
        await scene.clock.sleep(5.0)
        assert await scene.source.samples(RUN) == NUMBERS

    play(scenario)


def test_an_outage_is_reported_before_a_run_ends() -> None:
    """A probe alone finds the outage; its duration counts from its start, whatever else fails in it."""

    async def scenario(scene: Scene) -> None:
        scene.api.answers = [failure(503)]
        await scene.source.probe()
        first = scene.source.outage
        assert first is not None
        assert first.endswith("UTC: PrometheusUnreachable (HTTP 503)")
        scene.api.answers = [failure(502)]
        await scene.source.probe()
        assert scene.source.outage == first
        scene.api.answers = [failure(401)]
        await scene.source.probe()
        assert scene.source.outage == first.replace("PrometheusUnreachable (HTTP 503)", "PrometheusRefused (HTTP 401)")

    play(scenario)


def test_a_hiccup_is_not_an_outage() -> None:
    """A probe is as patient as a query."""

    async def scenario(scene: Scene) -> None:
        scene.api.answers = [failure(503), failure(503), ALIVE]
        await scene.source.probe()
        assert scene.source.outage is None

    play(scenario)


def test_metrics_come_by_trial_and_name() -> None:
    """Each value is taken at the end of its trial's window, from no older samples."""

    async def scenario(scene: Scene) -> None:
        scene.api.answers = [success("vector", [number("310")])]
        extra_metrics = await scene.source.extra_metrics(RUN, {1: WINDOWS[1]}, (POWER,))
        assert extra_metrics == {1: {"power": 310.0}}
        (form,) = scene.api.questions
        assert form == {
            "query": 'sum(power{namespace="serving",pod="study-1-x7f"}[300s])',
            "time": f"{END.timestamp():.3f}",
            "lookback_delta": "300s",
            "timeout": "20s",
        }

    play(scenario)


def test_every_metric_is_there_or_says_why_not() -> None:
    """All metrics of all trials have a number or a reason."""

    async def scenario(scene: Scene) -> None:
        scene.api.answers = [success("vector", [number("0.5")])]
        metrics = (POWER, SHARE)
        assert await scene.source.extra_metrics(replace(RUN, pod=None), WINDOWS, metrics) == {
            0: {"power": Missing(reason="NoPod"), "share": Missing(reason="Stale")},
            1: {"power": Missing(reason="NoPod"), "share": 0.5},
        }
        assert await scene.source.extra_metrics(RUN, {}, metrics) == {}
        assert await scene.source.extra_metrics(RUN, WINDOWS, ()) == {0: {}, 1: {}}

    play(scenario)


def test_a_metric_of_gpus_is_of_all_gpus_of_the_run() -> None:
    """The run has four, two answer: their sum is no value of the run."""

    async def scenario(scene: Scene) -> None:
        power = replace(POWER, across_gpus="sum")
        scene.api.answers = [success("vector", [number("300"), number("312.5")])]
        found = [
            await scene.source.extra_metrics(replace(RUN, gpu_count=count), {1: WINDOWS[1]}, (power,))
            for count in (2, 4)
        ]
        assert found == [{1: {"power": 612.5}}, {1: {"power": Missing(reason="FewerGPUs")}}]

    play(scenario)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (failure(400, error_type="bad_data", text="parse error"), "QueryRejected"),
        (failure(422, error_type="execution", text="many-to-many"), "QueryRejected"),
        (failure(503, error_type="timeout", text="query timed out"), "TimedOut"),
        (hang, "TimedOut"),
        (never_end, "BadAnswer"),
        (failure(504, text="gateway timeout"), "PrometheusUnreachable"),
        (success("vector", []), "Empty"),
        (success("vector", [number("1"), number("2")]), "TwoSeries"),
        (success("vector", [number("NaN")]), "NotANumber"),
        (success("vector", [number("87")]), "WrongUnit"),
        (success("matrix", [{"metric": {}, "values": [[END.timestamp(), "1"]]}]), "QueryRejected"),
    ],
)
def test_a_failing_query_of_a_study_blocks_no_other_study(answer: Behaviour, reason: str) -> None:
    """A refused or too heavy query is at fault itself while Prometheus answers others."""

    async def scenario(scene: Scene) -> None:
        scene.api.answers, scene.api.probe = [answer], ALIVE
        assert await scene.source.extra_metrics(RUN, {1: WINDOWS[1]}, (SHARE,)) == {
            1: {"share": Missing(reason=reason)}
        }
        assert scene.source.outage is None

    play(scenario, timeout_seconds=time_out_for(answer), patience_seconds=1.0)


def test_a_query_that_is_not_text_is_refused() -> None:
    """An unpaired surrogate cannot be sent; no query is made."""

    async def scenario(scene: Scene) -> None:
        extra_metrics = await scene.source.extra_metrics(RUN, {1: WINDOWS[1]}, (replace(SHARE, query="share\ud800"),))
        assert extra_metrics == {1: {"share": Missing(reason="QueryRejected")}}
        assert (scene.api.questions, scene.source.outage) == ([], None)

    play(scenario)


def test_all_metrics_of_a_run_have_one_patience() -> None:
    """48 slow queries do not delay a study 48 times as long."""

    async def scenario(scene: Scene) -> None:
        async def take_long(request: web.Request) -> web.StreamResponse:
            await scene.clock.sleep(5.0)
            return await failure(504)(request)

        scene.api.answers, scene.api.probe = [take_long], ALIVE
        metrics = [replace(SHARE, name=f"metric{number}") for number in range(6)]
        extra_metrics = await scene.source.extra_metrics(RUN, dict.fromkeys(range(8), WINDOWS[1]), metrics)
        found = [figure for row in extra_metrics.values() for figure in row.values()]
        assert len(found) == 48
        assert set(found) == {Missing(reason="PrometheusUnreachable"), Missing(reason="TimedOut")}
        assert len(scene.api.queries) <= 8

    play(scenario)


def test_metrics_of_an_outage_cost_nothing() -> None:
    """They have the outage as their reason, without a single query."""

    async def scenario(scene: Scene) -> None:
        scene.api.answers = [failure(503)]
        await scene.source.probe()
        extra_metrics = await scene.source.extra_metrics(RUN, WINDOWS, (POWER, SHARE))
        assert {figure for row in extra_metrics.values() for figure in row.values()} == {
            Missing(reason="PrometheusUnreachable")
        }
        assert scene.api.queries == []

    play(scenario)


def test_a_refused_query_is_explained_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The log names the study, the query and the complaint of Prometheus."""

    async def scenario(scene: Scene) -> None:
        scene.api.answers = [failure(400, error_type="bad_data", text="unexpected right brace")]
        await scene.source.extra_metrics(RUN, WINDOWS, (SHARE,))

    play(scenario)
    assert (
        "metric share of study serving/study: Prometheus rejected the query 'share': HTTP 400, unexpected right brace"
        in caplog.text
    )
