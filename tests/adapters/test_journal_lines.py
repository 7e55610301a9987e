"""A journal step is one line and is read back to the last field; steps add up to one history."""

import dataclasses
import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from pydantic import BaseModel, ValidationError

from factories.results import make_whole_result
from factories.runs import ENGINE, ROUND, make_finished, make_lost, make_run, make_started
from factories.studies import START
from infpop_operator.adapters.journal import (
    VERSION,
    Entry,
    Header,
    decode_line,
    encode_entry,
    encode_line,
    fold,
)
from infpop_operator.core.model import (
    EndedRun,
    Finished,
    Hardware,
    History,
    Lost,
    Missing,
    Origin,
    PlannedTrial,
    PoolChange,
    Published,
    Round,
    Run,
    StartedRun,
)
from infpop_operator.core.study import Configuration

RUN = Run(
    name="study-run",
    pool="pool-of-run",
    round=3,
    attempt=4,
    trials=(
        PlannedTrial(index=5, configuration=Configuration(gpu_count=6, batch_size=7, extra=(("a", 1), ("b", 0.5)))),
        PlannedTrial(
            index=8,
            configuration=Configuration(gpu_count=6, batch_size=9, extra=(("a", True), ("b", "x"))),
            needs_tokens_per_second=120.5,
        ),
    ),
    longer=True,
    in_order=True,
    confirms=True,
    to_beat_tokens_per_second=900.5,
)
FINISHED = Finished(
    result=make_whole_result(),
    ended_at=START + timedelta(seconds=77),
    sources={5: "Prometheus", 8: "PodMetrics"},
    missing_sources={"PodMetrics": "PodGone"},
    extra_metrics={5: {"power": 812.5, "cores": Missing(reason="Stale")}},
)
LOST = Lost(
    reason="Killed", detail="detail \u2028 ü", ended_at=START + timedelta(seconds=78), counts=False, node="gpu-7"
)
ENTRIES: tuple[Entry, ...] = (
    Round(
        pool="a100",
        number=2,
        identity="identity",
        baseline=Configuration(gpu_count=1, batch_size=8),
        hardware=Hardware(
            fingerprint="f1",
            gpu_model="A100",
            device_count=8,
            gpu_memory_mib=40960,
            compute_capability="8.0",
            driver_major="570",
            mig="1g.5gb",
        ),
        engine=ENGINE,
        before="identity before",
        opened_at=START + timedelta(seconds=10),
        cause=("GPU V100 → A100", "model.revision a → b"),
        subject=(("GPU", "A100"), ("model.revision", "b")),
        change=PoolChange(
            identity="next", hardware="f2", what=("GPU A100 → H100",), since=START + timedelta(seconds=11)
        ),
        resumed=3,
        resumed_at=START + timedelta(seconds=12),
        runs_before_return=7,
        requested="2026-01-01",
        trigger="PoolChanged",
        pool_changes=(START + timedelta(seconds=13), START + timedelta(seconds=12)),
        confirms=True,
        published=Published(
            index=4,
            configuration=Configuration(gpu_count=2, batch_size=16),
            at=START + timedelta(seconds=14),
            reason="Better",
            detail="by 12 %",
        ),
    ),
    StartedRun(
        run=RUN,
        started_at=START + timedelta(seconds=1),
        held_since=START + timedelta(seconds=5),
        stopping="Superseded",
        stopping_since=START + timedelta(seconds=6),
    ),
    EndedRun(
        run=RUN,
        started_at=START + timedelta(seconds=2),
        held_since=START + timedelta(seconds=4),
        observation=FINISHED,
        stopped="DeadlineReached",
    ),
    EndedRun(
        run=RUN,
        started_at=START + timedelta(seconds=3),
        observation=LOST,
        stopped="MaxGPUHoursReached",
        reused_from=Origin(study="other", run="other-run"),
    ),
)
HEADER = Header(namespace="serving", study="study", started_at=START)


def values_in(part: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield every leaf of a value with its path and its type."""
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        for field in dataclasses.fields(part):
            yield from values_in(getattr(part, field.name), f"{path}.{field.name}")
    elif isinstance(part, BaseModel):
        for name in type(part).model_fields:
            yield from values_in(getattr(part, name), f"{path}.{name}")
    elif isinstance(part, tuple):
        for number, element in enumerate(part):
            yield from values_in(element, f"{path}[{number}]")
    else:
        yield path, (type(part), part)


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_step_comes_back_to_the_last_field(entry: Entry) -> None:
    """This includes the type of each argument: 1, 1.0 and true are three values."""
    line = encode_entry(entry)
    back = decode_line(line)
    assert back == entry
    assert list(values_in(back)) == list(values_in(entry))
    assert "\n" not in line
    assert decode_line(line.encode()) == entry


def test_every_field_of_a_step_has_a_value_here() -> None:
    """A new field of a run, of its end or of a round must get a value here."""
    unset = {
        f"{type(part).__name__}.{field.name}"
        for part in (*ENTRIES, RUN, FINISHED, LOST)
        for field in dataclasses.fields(part)
        if field.default is not dataclasses.MISSING and getattr(part, field.name) == field.default
    }
    assert unset <= {"EndedRun.held_since", "EndedRun.reused_from"}  # each end sets one of the two


def test_a_header_comes_back() -> None:
    """It has the study, its start, and the version that wrote it."""
    assert decode_line(encode_line(HEADER)) == HEADER
    assert json.loads(encode_line(HEADER)) == {
        "kind": "journal",
        "version": VERSION,
        "namespace": "serving",
        "study": "study",
        "started_at": "2026-01-01T00:00:00Z",
    }


@pytest.mark.parametrize(("entry", "kind"), list(zip(ENTRIES, ("round", "started", "ended", "ended"), strict=True)))
def test_a_line_says_what_it_is(entry: Entry, kind: str) -> None:
    """One word gives its kind, and the content follows under that word."""
    tree = json.loads(encode_entry(entry))
    assert (tree["kind"], list(tree)) == (kind, ["kind", kind])


def test_what_a_newer_version_adds_is_passed_over() -> None:
    """An unknown key is not damage; an unknown kind is."""
    tree = json.loads(encode_entry(ENTRIES[1]))
    assert decode_line(json.dumps({**tree, "tomorrow": 1})) == ENTRIES[1]
    with pytest.raises(ValidationError):
        decode_line(json.dumps({**tree, "kind": "tomorrow"}))


def folded(*entries: Entry) -> History:
    """Return the history that the steps add up to."""
    return fold(HEADER, entries)


FIRST, SECOND = make_started("study-1"), make_started("study-2", index=2)
AGAIN = dataclasses.replace(FIRST, stopping="Suspended")
OTHER_ROUND = dataclasses.replace(ROUND, identity="another")


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ((), History(started_at=START)),
        ((ROUND, FIRST), History(started_at=START, rounds=(ROUND,), active=(FIRST,))),
        ((FIRST, AGAIN), History(started_at=START, active=(AGAIN,))),
        ((ROUND, OTHER_ROUND), History(started_at=START, rounds=(ROUND,))),
        ((FIRST, SECOND, make_lost(FIRST)), History(started_at=START, active=(SECOND,), ended=(make_lost(FIRST),))),
        ((make_lost(FIRST), FIRST), History(started_at=START, ended=(make_lost(FIRST),))),
        ((make_finished(FIRST), make_lost(FIRST)), History(started_at=START, ended=(make_finished(FIRST),))),
        (
            (make_lost(SECOND), make_lost(FIRST)),
            History(started_at=START, ended=(make_lost(SECOND), make_lost(FIRST))),
        ),
        (
            (dataclasses.replace(ROUND, number=2), dataclasses.replace(ROUND, pool="b"), ROUND),
            History(
                started_at=START,
                rounds=(dataclasses.replace(ROUND, number=2), dataclasses.replace(ROUND, pool="b"), ROUND),
            ),
        ),
    ],
)
def test_steps_add_up_in_one_way(entries: tuple[Entry, ...], expected: History) -> None:
    """A step recorded twice counts once; the newest record of a live run counts, and an ended run stays ended."""
    assert folded(*entries) == expected


def test_a_run_is_not_its_namesake_of_another_name() -> None:
    """Only the name identifies a run."""
    other = StartedRun(run=make_run("study-3"), started_at=START)
    assert folded(FIRST, other, make_lost(FIRST)).active == (other,)
