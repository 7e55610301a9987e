"""ResultStale says what changed from what to what, since when, and what the operator does about it."""

from datetime import timedelta, timezone

import pytest

from factories.studies import START
from infpop_operator.api.staleness import stale_state
from infpop_operator.api.status_model import Best, PoolChange, PoolStatus, RoundRow

BEST = Best(
    pool="a100", round=2, gpu_count=1, batch_size=1, throughput="1", throughput_per_gpu="1", spread="0", run="r"
)
GPU = "GPU Tesla-V100-SXM2-32GB -> NVIDIA-A100-SXM4-40GB"
MIDNIGHT = "2026-01-01 00:00:00 UTC"
HARDWARE = PoolChange(reason="HardwareChanged", what=[GPU], since=START, retunes_at=START + timedelta(minutes=10))
MANUAL = "spec.retune.policy is Manual, set the annotation infpop.io/retune to a new value to tune again"
SPEC = PoolChange(reason="SpecChanged", what=["image a -> b"], since=START, held_by=MANUAL)


def pool(name: str = "a100", number: int | None = 2, change: PoolChange | None = None) -> PoolStatus:
    """Return the row of a pool whose newest round has this number."""
    return PoolStatus(name=name, round=number, change=change)


@pytest.mark.parametrize(
    ("best", "newest", "holds", "reason"),
    [
        (None, None, False, "NoResult"),
        (None, 3, False, "NoResult"),
        (BEST, None, False, "Current"),
        (BEST, 2, False, "Current"),
        (BEST, 3, True, "NewerRound"),
        (BEST, 1, True, "NewerRound"),
    ],
)
def test_a_best_of_another_round_than_the_newest_is_stale(
    best: Best | None,
    newest: int | None,
    holds: bool,  # noqa: FBT001 - both ways of it
    reason: str,
) -> None:
    """A round that continues because its hardware came back may be the newest with a lower number."""
    state = stale_state(best, [pool(number=newest)], [])
    assert (state.holds, state.reason) == (holds, reason)
    if holds:
        assert state.message == f"the best is from round 2 of pool a100; round {newest} has none yet"


def test_a_newer_round_says_why_it_began() -> None:
    """The user learns what changed, also after the new round has begun."""
    opened = RoundRow(pool="a100", round=3, opened_at=START, cause=[GPU])
    others = [RoundRow(pool="a100", round=2, cause=["old"]), RoundRow(pool="v100", round=3, cause=["other"])]
    state = stale_state(BEST, [pool("v100", 3), pool(number=3)], [*others, opened])
    assert state.message == (
        f"the best is from round 2 of pool a100; round 3 has none yet. Round 3 began at {MIDNIGHT}: {GPU}"
    )
    unknown = opened.model_copy(update={"opened_at": None})
    assert stale_state(BEST, [pool(number=3)], [unknown]).message.endswith(f". Round 3 began: {GPU}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            HARDWARE,
            f"pool a100: {GPU} since {MIDNIGHT}; a new round starts at 2026-01-01 00:10:00 UTC if it lasts",
        ),
        (SPEC, f"pool a100: image a -> b since {MIDNIGHT}; {MANUAL}"),
        (
            HARDWARE.model_copy(update={"retunes_at": None}),
            f"pool a100: {GPU} since {MIDNIGHT}; no new round starts now",
        ),
    ],
)
def test_a_change_without_a_round_makes_the_result_stale(change: PoolChange, message: str) -> None:
    """The reason says whether hardware or spec changed; the message says from what to what, and what comes next."""
    state = stale_state(BEST, [pool(change=change)], [])
    assert (state.holds, state.reason, state.message) == (True, change.reason, message)
    assert stale_state(None, [pool(change=change)], []).reason == "NoResult"


def test_a_request_that_is_held_makes_no_result_stale() -> None:
    """Nothing changed: the best is what the user would measure again."""
    requested = PoolChange(reason="Requested", held_by="the deadline has passed")
    assert stale_state(BEST, [pool(change=requested)], []).reason == "Current"


def test_changes_of_several_pools_are_all_reported() -> None:
    """A changed pool that is not the one of the best counts too: the pools are compared with each other."""
    state = stale_state(BEST, [pool(), pool("v100", 1, SPEC), pool("h100", 1, HARDWARE)], [])
    assert (state.holds, state.reason) == (True, "HardwareChanged")
    first, second = state.message.split(". ")
    assert (first.startswith("pool v100: image a -> b"), second.startswith(f"pool h100: {GPU}")) == (True, True)
    assert stale_state(BEST, [pool("v100", 1, SPEC), pool("h100", 1, SPEC)], []).reason == "SpecChanged"


def test_many_changes_are_counted() -> None:
    """The message stays short: four pools, two facts of each, and how many more there are."""
    many = SPEC.model_copy(update={"what": [f"fact {number}" for number in range(5)], "held_by": "held"})
    message = stale_state(BEST, [pool(f"p{number}", 1, many) for number in range(6)], []).message
    assert message.count("fact 0, fact 1, and more since") == 4
    assert message.endswith(". 2 more pools changed")


def test_times_are_in_utc() -> None:
    """A message is read by people in several zones, and the operator's own zone means nothing to them."""
    east = timezone(timedelta(hours=2))
    change = HARDWARE.model_copy(update={"since": START.astimezone(east), "held_by": "held"})
    assert "since 2026-01-01 00:00:00 UTC" in stale_state(BEST, [pool(change=change)], []).message
