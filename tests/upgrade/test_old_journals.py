"""What an earlier version wrote on a cluster is read completely, and the study continues as if nothing had happened."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from adapters.kube.api_server import ApiServer, api_server
from factories.runs import make_finished, make_started
from infpop_operator.adapters.journal import Header, decode_line, encode_entry, encode_line
from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.journal_store import JournalStore
from infpop_operator.api.status import to_status
from infpop_operator.api.status_context import StatusContext
from infpop_operator.api.status_rows import published_row
from infpop_operator.cluster.resolve import owner_of
from infpop_operator.core.decide import decide
from infpop_operator.core.decision import Decision, Verdict
from infpop_operator.core.history import trials_of
from infpop_operator.core.model import EndedRun, Finished, Hardware, Lost, Missing, TrialState
from infpop_operator.core.publication import with_publication
from upgrade.old_data import (
    CLUSTER_STUDIES,
    NODES,
    NODES_WITH_ANOTHER_DRIVER,
    config_maps,
    history_of,
    holds,
    journal_lines,
    resolved,
    status_of,
    study_body,
)


def decision_of(name: str, *, are_nodes_there: bool = True) -> Decision:
    """Return the decision on an old study after the upgrade, without new observations of its runs."""
    history = history_of(name)
    study = resolved(name, history, NODES if are_nodes_there else ()).study
    return decide(study, history, {}, last_instant(name))


def last_instant(name: str) -> datetime:
    """Return the time of the old version's last decision, to within a minute."""
    history = history_of(name)
    ends = [entry.observation.ended_at for entry in history.ended]
    return max([*ends, *(entry.started_at for entry in history.active)]) + timedelta(seconds=1)


@pytest.mark.parametrize("name", CLUSTER_STUDIES)
def test_every_step_is_read_whole_and_written_as_it_was(name: str) -> None:
    """The format did not change: the earlier version can read what this one writes."""
    for line in journal_lines(name):
        entry = decode_line(line)
        assert (encode_line(entry) if isinstance(entry, Header) else encode_entry(entry)) == line


def test_answers_of_other_sources_are_read() -> None:
    """Metric values, reasons for missing ones, the source of a number, and sources without one."""
    history = history_of("succeeded")
    assert [(entry.pool, entry.number, entry.hardware) for entry in history.rounds] == [
        ("a100", 1, None),
        ("v100", 1, None),
        ("a100", 2, None),
        ("v100", 2, None),
    ]
    ends = [entry.observation for entry in history.ended if isinstance(entry.observation, Finished)]
    assert (len(history.ended), len(ends), history.active) == (16, 16, ())
    assert ends[0].extra_metrics == {0: {"power": 764.0, "cpu": 1.25}}
    assert (ends[0].sources, ends[0].missing_sources) == ({0: "Prometheus"}, {})
    assert ends[-1].missing_sources == {"PodMetrics": "PodGone"}
    trials = trials_of(history, "v100", 2)
    by_cell = {(trial.configuration.gpu_count, trial.configuration.batch_size): trial for trial in trials}
    assert by_cell[2, 8].extra_metrics == {"power": Missing(reason="Stale"), "cpu": 1.25}
    assert by_cell[1, 64].state is TrialState.INFEASIBLE
    assert by_cell[1, 64].detail == "CUDA out of memory"


def test_losses_are_read() -> None:
    """They come from a study that used up its failure budget and has one live run."""
    lost = [entry.observation for entry in history_of("stalled").ended if isinstance(entry.observation, Lost)]
    assert {(loss.reason, loss.detail, loss.counts) for loss in lost} == {("NodeLost", "node n1 is gone", True)}
    (live,) = history_of("running").active
    assert (live.run.name, live.run.round, live.run.gpu_count) == ("running-34cc50eb00", 2, 8)


def test_the_names_of_the_code_are_read_as_well() -> None:
    """A journal with the field names of the code means the same."""
    entry = make_finished(make_started())
    line = encode_entry(entry)
    renamed = line.replace('"unanswered"', '"missing_sources"').replace('"figures"', '"extra_metrics"')
    assert renamed != line
    assert decode_line(renamed) == decode_line(line) == entry


@pytest.mark.parametrize("name", CLUSTER_STUDIES)
@pytest.mark.parametrize("are_nodes_there", [True, False])
def test_an_old_study_continues_where_it_was(name: str, are_nodes_there: bool) -> None:  # noqa: FBT001 - a case
    """No round opens, no run stops, and an ended study stays ended, with or without its Nodes."""
    before, after = history_of(name), decision_of(name, are_nodes_there=are_nodes_there)
    assert [(entry.pool, entry.number) for entry in after.history.rounds] == [
        (entry.pool, entry.number) for entry in before.rounds
    ]
    assert (after.stop, after.start, after.history.active) == ((), (), before.active)
    ends = {"succeeded": Verdict.SUCCEEDED, "running": Verdict.RUNNING, "stalled": Verdict.STALLED}
    assert after.verdict is ends[name]


@pytest.mark.parametrize("name", CLUSTER_STUDIES)
def test_an_old_study_learns_its_hardware_once(name: str) -> None:
    """Afterwards the hardware is in the journal, and the status is no longer read for it."""
    decision = decision_of(name)
    newest = {entry.pool: entry for entry in decision.history.rounds}
    assert newest["a100"].hardware == Hardware(
        fingerprint="0234365c5fc77564",
        gpu_model="NVIDIA-A100-SXM4-40GB",
        device_count=8,
        gpu_memory_mib=40960,
        compute_capability="8.0",
        driver_major="570",
    )
    assert newest["v100"].hardware == Hardware(
        fingerprint="b1224a7465c25355",
        gpu_model="Tesla-V100-SXM2-32GB",
        device_count=4,
        gpu_memory_mib=32768,
        compute_capability="7.0",
        driver_major="570",
    )
    again = decide(resolved(name, decision.history).study, decision.history, {}, last_instant(name))
    assert again.history == decision.history


@pytest.mark.parametrize("name", CLUSTER_STUDIES)
def test_an_old_study_notices_a_later_driver(name: str) -> None:
    """Its identity was made without the driver: the first version that is observed counts as that of its round."""
    learned = decision_of(name).history
    before = resolved(name, learned).study.pools
    after = resolved(name, learned, NODES_WITH_ANOTHER_DRIVER).study.pools
    assert all(one.fingerprint != other.fingerprint for one, other in zip(before, after, strict=True))
    assert [pool.known_as for pool in after] == [None, None]
    unlearned = resolved(name, history_of(name), NODES_WITH_ANOTHER_DRIVER).study.pools
    assert [pool.fingerprint for pool in unlearned] == [pool.fingerprint for pool in before]


@pytest.mark.parametrize("name", CLUSTER_STUDIES)
def test_an_old_status_is_read_and_nothing_of_it_gets_lost(name: str) -> None:
    """Every key keeps its value."""
    old = study_body(name)["status"]
    assert holds(status_of(name).model_dump(mode="json", by_alias=True, exclude_none=True), old)


@pytest.mark.parametrize("name", CLUSTER_STUDIES)
def test_an_old_study_keeps_its_best_and_its_conditions(name: str) -> None:
    """Arguments that the journal lacks are omitted; the others have the measured context as well."""
    old, decision = status_of(name), decision_of(name)
    study = resolved(name, history_of(name))
    status_context = StatusContext(generation=old.observed_generation, pool_nodes=study.pool_nodes)
    new = to_status(study.study, decision, last_instant(name), previous=old, context=status_context)
    assert old.best is not None
    known = old.best.model_dump(by_alias=True, exclude_none=True)
    if name == "running":
        known["engineArgs"] = []
    else:
        known["engineArgs"].insert(3, "--max-model-len=4096")
    assert new.best is not None
    assert holds(new.best.model_dump(by_alias=True, exclude_none=True), known)
    assert [(one.type, one.status, one.last_transition_time) for one in new.conditions] == [
        (one.type, one.status, one.last_transition_time) for one in old.conditions
    ]


def test_an_upgrade_publishes_what_was_published() -> None:
    """An earlier version recorded nothing: the first record is of the best that its status shows."""
    old, decision = status_of("succeeded").best, decision_of("succeeded")
    study = replace(resolved("succeeded", history_of("succeeded")).study, publishes=True)
    row = published_row(study, with_publication(study, decision, last_instant("succeeded")).history)
    assert old is not None
    assert row is not None
    shown = ("pool", "round", "gpu_count", "batch_size", "extra", "throughput", "run")
    assert [getattr(row, name) for name in shown] == [getattr(old, name) for name in shown]


def test_a_journal_of_two_versions_is_one_journal() -> None:
    """Steps appended after the upgrade are read back together with the earlier ones."""
    body, before = study_body("running"), history_of("running")
    owner = owner_of(body)
    decision = decision_of("running")
    (live,) = before.active
    found = make_finished(make_started(live.run.name)).observation
    ended = EndedRun(run=live.run, started_at=live.started_at, observation=found)
    learned = tuple(entry for entry in decision.history.rounds if entry not in before.rounds)

    async def append(server: ApiServer, open_store: Callable[[], JournalStore]) -> None:
        for config_map in config_maps("running"):
            server.config_maps[config_map["metadata"]["name"]] = config_map
        assert await open_store().load(owner, before.started_at) == before
        await open_store().record(owner, (*learned, ended), before.started_at)
        after = await open_store().load(owner, before.started_at)
        assert after == replace(before, rounds=decision.history.rounds, ended=(*before.ended, ended), active=())

    _played(append)
    assert len(learned) == 2


def _played(scenario: Callable[[ApiServer, Callable[[], JournalStore]], Awaitable[None]]) -> None:
    async def play() -> None:
        async with api_server() as server, KubeClient(server.connection()) as client:
            await scenario(server, lambda: JournalStore(client))

    asyncio.run(play())
