"""The history of rounds in a status, the comparison with the baseline, and a change that has no round yet."""

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from api.status_samples import TWO_POOLS, decision_of
from factories.runs import Outcome, make_ended, make_finish, make_round, make_run
from factories.studies import START, at, make_cell, make_study
from infpop_operator.api.status import to_status
from infpop_operator.api.status_model import (
    Baseline,
    PoolChange,
    PoolStatus,
    RoundBest,
    RoundPublished,
    RoundRow,
    StudyStatus,
)
from infpop_operator.api.status_rounds import MAX_ROUND_ROWS
from infpop_operator.api.status_size import size_bytes
from infpop_operator.core.decision import Decision, Verdict
from infpop_operator.core.model import POOL_CHANGED, EndedRun, Hardware, History, Published, Round
from infpop_operator.core.model import PoolChange as Change
from infpop_operator.core.study import Configuration, Constraint, Objective

PAGE = (Path(__file__).parents[2] / "docs" / "retuning.md").read_text()
STATUS_BLOCKS = re.findall(r"```\n((?:rounds|conditions):.*?)```", PAGE, flags=re.DOTALL)
GPU = "GPU V100 → A100"
IN_USE, BETTER = make_cell(8, 64), make_cell(8, 128)
V100 = Hardware(fingerprint="f0", gpu_model="V100", device_count=8)
A100 = Hardware(fingerprint="f1", gpu_model="A100", device_count=8)
FIRST = make_round(hardware=V100, opened_at=START, subject=(("software", "runner:1"),))
SECOND = make_round(
    number=2,
    identity="id-2",
    baseline=IN_USE,
    hardware=A100,
    opened_at=at(3600.75),
    cause=(GPU,),
    trigger=POOL_CHANGED,
    subject=(("GPU", "A100"), ("software", "runner:2")),
)


def measured(entry: Round, index: int, cell: Configuration, outcome: Outcome) -> EndedRun:
    """Return a run of one trial in a round: one minute on the cell's GPUs."""
    run = make_run(f"study-{entry.pool}-{entry.number}-{index}", index=index, cells=(cell,), round=entry.number)
    run = replace(run, pool=entry.pool)
    return make_ended(run, make_finish(run, [outcome]))


def decided(*rounds: Round, ended: tuple[EndedRun, ...] = (), **changes: object) -> Decision:
    """Return a decision on these rounds."""
    return decision_of(History(started_at=START, rounds=rounds, ended=ended), **changes)


def rows_of(decision: Decision, **study: object) -> list[RoundRow]:
    """Return the history of the rounds in a status, read back as a client reads it."""
    status = to_status(make_study(**study), decision, START)
    return type(status).model_validate_json(status.model_dump_json(by_alias=True)).rounds


def pool_of(decision: Decision, **study: object) -> PoolStatus:
    """Return the row of the first pool."""
    return to_status(make_study(**study), decision, START).pools[0]


def test_each_round_keeps_what_it_found_on_its_own_hardware() -> None:
    """The old best is shown with the old GPU; the improvement is over the baseline as measured in the new round."""
    ended = (
        measured(FIRST, 0, IN_USE, 500.0),
        measured(FIRST, 1, make_cell(1, 1), 20.0),
        measured(SECOND, 0, IN_USE, 800.0),
        measured(SECOND, 1, BETTER, 1000.0),
    )
    published = Published(
        index=1, configuration=BETTER, at=at(7200.5), reason="Better", detail="by more than the noise"
    )
    first, second = rows_of(decided(FIRST, replace(SECOND, published=published), ended=ended))
    assert first == RoundRow(
        pool="a100",
        round=1,
        opened_at=START,
        reason="FirstRound",
        gpu="V100",
        image="runner:1",
        best=RoundBest(gpu_count=8, batch_size=64, throughput="500"),
        improvement_reason="NoBaseline",
        trials=2,
        gpu_hours="0.15",
    )
    assert second == RoundRow(
        pool="a100",
        round=2,
        opened_at=at(3600),
        reason="HardwareChanged",
        cause=[GPU],
        gpu="A100",
        image="runner:2",
        baseline=Baseline(gpu_count=8, batch_size=64, throughput="800"),
        best=RoundBest(gpu_count=8, batch_size=128, throughput="1000"),
        improvement_percent="25.0",
        published=RoundPublished(at=at(7200), reason="Better", gpu_count=8, batch_size=128),
        trials=2,
        gpu_hours="0.266667",
    )


@pytest.mark.parametrize(
    ("outcomes", "improvement", "why", "reason"),
    [
        ([], None, "BaselineNotMeasured", None),
        ([(IN_USE, 800.0)], "0.0", None, None),
        ([(IN_USE, "GpuOutOfMemory"), (make_cell(8, 8), 300.0)], None, "BaselineInfeasible", "GpuOutOfMemory"),
        ([(IN_USE, "UnstableRepeats"), (make_cell(8, 8), 300.0)], None, "BaselineNotMeasured", "UnstableRepeats"),
    ],
)
def test_an_improvement_is_over_a_baseline_of_the_same_hardware_or_has_a_reason(
    outcomes: list[tuple[Configuration, Outcome]], improvement: str | None, why: str | None, reason: str | None
) -> None:
    """What was in use and cannot work here is the strongest reason to tune again; the gain is then over nothing."""
    ended = tuple(measured(SECOND, index, cell, outcome) for index, (cell, outcome) in enumerate(outcomes))
    decision = decided(FIRST, SECOND, ended=(measured(FIRST, 0, IN_USE, 500.0), *ended))
    pool, row = pool_of(decision), rows_of(decision)[-1]
    for found in (pool, row):
        assert (found.improvement_percent, found.improvement_reason) == (improvement, why)
        assert found.baseline is not None
        assert (found.baseline.gpu_count, found.baseline.batch_size, found.baseline.reason) == (8, 64, reason)


def test_a_round_without_a_best_says_so() -> None:
    """Nothing that was measured meets the constraints."""
    strict = Objective(constraints=(Constraint(metric="throughputPerGPU", minimum=900.0),))
    (row,) = rows_of(decided(SECOND, ended=(measured(SECOND, 0, IN_USE, 800.0),)), objective=strict)
    assert (row.best, row.improvement_reason) == (None, "NoBest")


def test_the_rounds_of_a_removed_pool_keep_their_facts() -> None:
    """Nothing is judged there: the pool's price is gone with it."""
    other = replace(FIRST, pool="gone")
    (row,) = rows_of(decided(other, ended=(measured(other, 0, IN_USE, 500.0),)))
    assert (row.pool, row.gpu, row.trials, row.best, row.improvement_reason) == (
        "gone",
        "V100",
        1,
        None,
        "PoolNotInSpec",
    )


def test_the_newest_rounds_are_kept() -> None:
    """A round that was resumed counts as the newest; what the oldest ones cost stays in the study's GPU-hours."""
    many = [make_round(number=number, identity=f"id-{number}") for number in range(1, MAX_ROUND_ROWS + 6)]
    back = replace(many.pop(0), resumed=1, resumed_at=at(60.5), trigger=POOL_CHANGED)
    rows = rows_of(decided(*many, back))
    assert [row.round for row in rows] == [*range(7, MAX_ROUND_ROWS + 6), 1]
    assert (rows[-1].resumed_at, rows[-1].reason) == (at(60), "HardwareChanged")


def test_a_long_history_leaves_room_for_500_trials() -> None:
    """Whatever the texts are, all trials fit beside some rounds, and the whole stays below the limit of etcd."""
    long = "<" * 400
    many = [
        make_round(number=number, identity=f"id-{number}", cause=(long,) * 9, subject=(("software", long),))
        for number in range(1, 41)
    ]
    ended = tuple(measured(many[-1], index, make_cell(8, index + 1), 100.0 + index) for index in range(520))
    study = make_study(space=replace(make_study().space, gpu_counts=(8,), batch_sizes=tuple(range(1, 521))))
    status = to_status(study, decided(*many, ended=ended), START)
    assert size_bytes(status) < 240_000
    assert (len(status.trials), len(status.rounds) >= 8) == (500, True)
    assert [len(row.cause or ()) for row in status.rounds] == [5] * len(status.rounds)
    assert (status.rounds[-1].cause or [""])[-1] == "and more"


NOTED = Change(identity="id-3", hardware="f2", what=("GPU A100 → H100", "GPU memory 40 → 80"), since=at(10.9))


@pytest.mark.parametrize(
    ("hardware", "retunes_at", "held", "reason"),
    [
        ("f2", at(600.25), None, "HardwareChanged"),
        ("f1", None, "policy", "SpecChanged"),
        ("f2", at(600.25), "twice today", "HardwareChanged"),
    ],
)
def test_a_change_says_what_and_what_comes_next(
    hardware: str, retunes_at: datetime | None, held: str | None, reason: str
) -> None:
    """The pool has its change until a round answers it."""
    decision = decided(
        replace(SECOND, change=replace(NOTED, hardware=hardware)),
        ended=(measured(SECOND, 0, IN_USE, 800.0),),
        verdict=Verdict.SUCCEEDED,
        retunes_at={} if retunes_at is None else {"a100": retunes_at},
        held_changes={} if held is None else {"a100": held},
    )
    assert pool_of(decision).change == PoolChange(
        reason=reason,
        what=list(NOTED.what),
        since=at(10),
        retunes_at=None if retunes_at is None else at(600),
        held_by=held,
    )
    stale = next(each for each in to_status(make_study(), decision, START).conditions if each.type == "ResultStale")
    assert (stale.status, stale.reason) == ("True", reason)
    assert "GPU A100 → H100, GPU memory 40 → 80 since 2026-01-01 00:00:10 UTC" in stale.message


def test_a_request_that_is_held_is_shown_without_a_change() -> None:
    """A user who set the annotation learns why nothing happens; a pool without either has no such key."""
    waiting = decided(SECOND, held_changes={"a100": "the deadline has passed"})
    assert pool_of(waiting).change == PoolChange(reason="Requested", held_by="the deadline has passed")
    assert pool_of(decided(SECOND)).change is None


def test_each_pool_has_its_own_history() -> None:
    """Rounds are listed in the order in which they began, whatever their pools are."""
    other = replace(FIRST, pool="v100")
    rows = rows_of(decided(FIRST, other, SECOND), pools=TWO_POOLS)
    assert [(row.pool, row.round) for row in rows] == [("a100", 1), ("v100", 1), ("a100", 2)]


@pytest.mark.parametrize("block", STATUS_BLOCKS)
def test_a_status_in_the_documentation_has_the_fields_of_a_status(block: str) -> None:
    """What docs/retuning.md shows is read back unchanged."""
    shown = yaml.safe_load(block)
    read = StudyStatus.model_validate(shown).model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert [_folded(each) for each in read.values()] == [_folded(each) for each in shown.values()]


def _folded(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return the rows without the line breaks of long YAML strings."""
    return [{key: value.strip() if isinstance(value, str) else value for key, value in row.items()} for row in rows]
