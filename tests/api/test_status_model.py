"""The keys of a status, each field under its own, and what is dropped first from a status that is too large."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from infpop_operator.api import status_size
from infpop_operator.api.status_model import (
    Baseline,
    Best,
    Condition,
    LiveRun,
    ParetoRow,
    PoolChange,
    PoolStatus,
    RoundBest,
    RoundPublished,
    RoundRow,
    StudyStatus,
    TrialCounts,
    TrialRow,
)

BEST = Best(
    pool="best-pool",
    round=2,
    gpu_count=3,
    batch_size=4,
    extra={"block_size": "32"},
    throughput="5.5",
    throughput_per_gpu="6.5",
    spread="0.07",
    cost_per_million_tokens="8.5",
    engine_args=["--a=1", "--b=2"],
    metrics={"power": "9.5"},
    tokens_per_joule="10.5",
    seconds_per_output_token="0.011",  # noqa: S106 - no password
    run="best-run",
)
BEST_JSON: dict[str, Any] = {
    "pool": "best-pool",
    "round": 2,
    "gpuCount": 3,
    "batchSize": 4,
    "extra": {"block_size": "32"},
    "throughput": "5.5",
    "throughputPerGPU": "6.5",
    "spread": "0.07",
    "costPerMillionTokens": "8.5",
    "engineArgs": ["--a=1", "--b=2"],
    "metrics": {"power": "9.5"},
    "tokensPerJoule": "10.5",
    "secondsPerOutputToken": "0.011",
    "run": "best-run",
}


def row(index: int, round_number: int, *, message: str | None = "m" * 40, **metrics: str) -> TrialRow:
    """Return a row with a value in every field."""
    return TrialRow(
        pool="best-pool",
        round=round_number,
        index=index,
        gpu_count=12,
        batch_size=13,
        extra={"block_size": "16"},
        state="Measured",
        reason="Why",
        message=message,
        throughput="14.5",
        spread="0.15",
        attempts=16,
        run="row-run",
        source="Prometheus",
        metrics=metrics or {"power": "17.5"},
    )


STATUS = StudyStatus(
    observed_generation=21,
    simulated=True,
    conditions=[
        Condition(
            type="Ready",
            status="Unknown",
            observed_generation=22,
            reason="Reason",
            message="message",
            last_transition_time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        )
    ],
    progress="23/24",
    best=BEST,
    pareto=[
        ParetoRow(
            pool="front-pool",
            round=71,
            gpu_count=72,
            batch_size=73,
            value="74.5",
            second_value="75.5",
            overall=False,
            run="front-run",
        )
    ],
    pareto_dropped=76,
    pools=[
        PoolStatus(
            name="best-pool",
            gpu="A100",
            nodes=31,
            gpus_per_node=32,
            image="image",
            fingerprint="fingerprint",
            reason="PoolReason",
            message="pool message",
            round=33,
            identity="identity",
            best=BEST,
            baseline=Baseline(gpu_count=34, batch_size=35, throughput="36.5"),
            improvement_percent="37.5",
            improvement_reason="NoReason",
            change=PoolChange(
                reason="HardwareChanged",
                what=["GPU A -> B"],
                since=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
                retunes_at=datetime(2026, 3, 4, 5, 16, 7, tzinfo=UTC),
                held_by="budget",
            ),
            trials=TrialCounts(total=41, measured=42, infeasible=43, invalid=44, broken=45, running=46),
            gpu_hours="38.5",
            ended="Converged",
        )
    ],
    runs=[
        LiveRun(
            name="live-run",
            pool="live-pool",
            gpu_count=51,
            batch_sizes=[52, 53],
            state="Measuring",
            message="live message",
            since=datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
        )
    ],
    trials=[row(11, 10)],
    rounds=[
        RoundRow(
            pool="round-pool",
            round=61,
            opened_at=datetime(2026, 4, 5, 6, 7, 8, tzinfo=UTC),
            resumed_at=datetime(2026, 4, 6, 6, 7, 8, tzinfo=UTC),
            reason="SpecChanged",
            cause=["image a -> b"],
            gpu="V100",
            image="round image",
            baseline=Baseline(gpu_count=62, batch_size=63, reason="GpuOutOfMemory", message="of 32 GiB"),
            best=RoundBest(gpu_count=64, batch_size=65, extra={"block_size": "8"}, throughput="66.5"),
            improvement_percent="67.5",
            improvement_reason="BaselineInfeasible",
            published=RoundPublished(
                at=datetime(2026, 4, 7, 6, 7, 8, tzinfo=UTC), reason="Better", gpu_count=68, batch_size=69
            ),
            trials=70,
            gpu_hours="71.5",
        )
    ],
    gpu_hours="25.5",
)
STATUS_JSON: dict[str, Any] = {
    "observedGeneration": 21,
    "simulated": True,
    "conditions": [
        {
            "type": "Ready",
            "status": "Unknown",
            "observedGeneration": 22,
            "reason": "Reason",
            "message": "message",
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        }
    ],
    "progress": "23/24",
    "best": BEST_JSON,
    "pareto": [
        {
            "pool": "front-pool",
            "round": 71,
            "gpuCount": 72,
            "batchSize": 73,
            "value": "74.5",
            "secondValue": "75.5",
            "overall": False,
            "run": "front-run",
        }
    ],
    "paretoDropped": 76,
    "pools": [
        {
            "name": "best-pool",
            "gpu": "A100",
            "nodes": 31,
            "gpusPerNode": 32,
            "image": "image",
            "fingerprint": "fingerprint",
            "reason": "PoolReason",
            "message": "pool message",
            "round": 33,
            "identity": "identity",
            "best": BEST_JSON,
            "baseline": {"gpuCount": 34, "batchSize": 35, "throughput": "36.5"},
            "improvementPercent": "37.5",
            "improvementReason": "NoReason",
            "change": {
                "reason": "HardwareChanged",
                "what": ["GPU A -> B"],
                "since": "2026-03-04T05:06:07Z",
                "retunesAt": "2026-03-04T05:16:07Z",
                "heldBy": "budget",
            },
            "trials": {"total": 41, "measured": 42, "infeasible": 43, "invalid": 44, "broken": 45, "running": 46},
            "gpuHours": "38.5",
            "ended": "Converged",
        }
    ],
    "runs": [
        {
            "name": "live-run",
            "pool": "live-pool",
            "gpuCount": 51,
            "batchSizes": [52, 53],
            "state": "Measuring",
            "message": "live message",
            "since": "2026-02-03T04:05:06Z",
        }
    ],
    "trials": [
        {
            "pool": "best-pool",
            "round": 10,
            "index": 11,
            "gpuCount": 12,
            "batchSize": 13,
            "extra": {"block_size": "16"},
            "state": "Measured",
            "reason": "Why",
            "message": "m" * 40,
            "throughput": "14.5",
            "spread": "0.15",
            "attempts": 16,
            "run": "row-run",
            "source": "Prometheus",
            "metrics": {"power": "17.5"},
        }
    ],
    "rounds": [
        {
            "pool": "round-pool",
            "round": 61,
            "openedAt": "2026-04-05T06:07:08Z",
            "resumedAt": "2026-04-06T06:07:08Z",
            "reason": "SpecChanged",
            "cause": ["image a -> b"],
            "gpu": "V100",
            "image": "round image",
            "baseline": {"gpuCount": 62, "batchSize": 63, "reason": "GpuOutOfMemory", "message": "of 32 GiB"},
            "best": {"gpuCount": 64, "batchSize": 65, "extra": {"block_size": "8"}, "throughput": "66.5"},
            "improvementPercent": "67.5",
            "improvementReason": "BaselineInfeasible",
            "published": {"at": "2026-04-07T06:07:08Z", "reason": "Better", "gpuCount": 68, "batchSize": 69},
            "trials": 70,
            "gpuHours": "71.5",
        }
    ],
    "gpuHours": "25.5",
}


def test_every_field_of_a_status_has_its_key() -> None:
    """A written status is read back unchanged, by this version and by every other that knows these keys."""
    assert STATUS.model_dump(mode="json", by_alias=True, exclude_none=True) == STATUS_JSON
    assert StudyStatus.model_validate(STATUS_JSON) == STATUS
    assert StudyStatus.model_validate_json(json.dumps(STATUS_JSON)) == STATUS


def cut(status: StudyStatus, **changes: object) -> StudyStatus:
    """Return a status with fields replaced."""
    return status.model_copy(update=changes)


LARGE = cut(
    STATUS,
    pools=[STATUS.pools[0].model_copy(update={"round": 3})],
    trials=[row(0, 1, power="1"), row(1, 2, power="2"), row(2, 3, power="3"), row(3, 3, power="4")],
    rounds=[RoundRow(pool="best-pool", round=number) for number in range(1, 12)],
)
SILENT = cut(LARGE, trials=[each.model_copy(update={"message": None}) for each in LARGE.trials])
NEWEST = cut(
    SILENT,
    trials=[*(each.model_copy(update={"metrics": None}) for each in SILENT.trials[:2]), *SILENT.trials[2:]],
)
POOL = NEWEST.pools[0]
BARE = cut(NEWEST, pools=[POOL.model_copy(update={"best": BEST.model_copy(update={"engine_args": []})})])
UNBEATEN = cut(BARE, pareto=None, pareto_dropped=77)
FORGETFUL = cut(UNBEATEN, rounds=UNBEATEN.rounds[3:])
SHORT = cut(FORGETFUL, trials=FORGETFUL.trials[1:])


@pytest.mark.parametrize(
    ("form", "shorter"),
    [
        (LARGE, SILENT),
        (SILENT, NEWEST),
        (NEWEST, BARE),
        (BARE, UNBEATEN),
        (UNBEATEN, FORGETFUL),
        (FORGETFUL, SHORT),
        (SHORT, None),
    ],
)
def test_a_status_is_cut_no_more_than_its_limit_asks_for(
    monkeypatch: pytest.MonkeyPatch, form: StudyStatus, shorter: StudyStatus | None
) -> None:
    """Messages go first, then older rounds' metrics, pools' arguments, beaten rows, older rounds, the oldest rows."""
    room = 1 if form in (SHORT, FORGETFUL) else 0  # every row is counted with a comma, also the first
    size = status_size.size_bytes(form)
    monkeypatch.setattr(status_size, "LIMIT_BYTES", size + room)
    assert status_size.fit(LARGE) == form
    monkeypatch.setattr(status_size, "LIMIT_BYTES", size - 1)
    if shorter is not None:
        assert status_size.fit(LARGE) == shorter
    assert len(status_size.fit(LARGE).trials) <= len(form.trials)


def test_nothing_fits_where_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best and the conditions are never dropped."""
    monkeypatch.setattr(status_size, "LIMIT_BYTES", 1)
    fitted = status_size.fit(LARGE)
    assert (fitted.trials, fitted.best, fitted.conditions) == ([], LARGE.best, LARGE.conditions)


def test_a_status_is_measured_as_it_is_stored() -> None:
    """The limit counts bytes, including the escapes that Go's JSON writes."""
    plain = status_size.size_bytes(StudyStatus(progress="abc"))
    assert [status_size.size_bytes(StudyStatus(progress=text)) - plain for text in ("abcd", "ab<", "ab&>", "abé")] == [
        1,
        5,
        11,
        1,
    ]
