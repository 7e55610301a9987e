"""No decision depends on the status: if another client deletes or forges it, the study continues unchanged."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from factories.kube_objects import OWNER, make_node
from factories.resolved import resolve_study
from factories.studies import START
from factories.study_documents import make_study_document
from infpop_operator.adapters.journal import Header, decode_line, encode_entry, fold
from infpop_operator.adapters.kube.records import NodeRecord
from infpop_operator.api.status import to_status, waiting_status
from infpop_operator.api.status_context import StatusContext
from infpop_operator.api.status_model import Condition, PoolStatus, StudyStatus
from infpop_operator.cluster.resolve import ResolvedStudy
from infpop_operator.core.decide import decide
from infpop_operator.core.decision import Decision, Verdict
from infpop_operator.core.history_diff import apply, changes
from infpop_operator.core.model import Finished, History, Lost, Observation, StartedRun
from infpop_operator.settings import Settings
from simulation.world import World, observe

SETTINGS = Settings(runner_image="example.org/runner:1")
GFD = {"nvidia.com/gpu.memory": "40960", "nvidia.com/gpu.compute.major": "8", "nvidia.com/gpu.compute.minor": "0"}
NODES = (make_node(labels=GFD), make_node("n2", product="Tesla-V100-SXM2-32GB", gpus=4, labels=GFD))
JUST_JOINED = (make_node("n3", label="cloud.google.com/gke-accelerator", product="nvidia-tesla-a100"),)
WORLD, BROKEN = World(best=(4, 64)), World(lost=1.0)
SPEC: Mapping[str, Any] = {
    "algorithm": {"name": "grid", "trialsPerRun": 1},
    "searchSpace": {"gpuCount": [1, 4, 8], "batchSize": [8, 64]},
    "budget": {"maxTrials": 3, "maxFailedTrials": 1, "parallelTrials": 2, "maxConcurrentGPUs": 16},
    "nodePools": [{"name": "a100", "gpuProduct": "A100"}, {"name": "v100", "gpuProduct": "V100"}],
}
EDITED = {**SPEC, "engine": {"name": "vllm", "args": {"kv_cache_dtype": "fp8"}}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of a study's life; it lasts until `until`, or for two reconcile passes."""

    name: str
    nodes: Sequence[NodeRecord] = NODES
    spec: Mapping[str, Any] = field(default_factory=lambda: SPEC)
    generation: int = 1
    world: World = WORLD
    until: Verdict | None = None


LIFE = (
    Phase(name="new", nodes=()),
    Phase(name="running"),
    Phase(name="nodes away", nodes=()),
    Phase(name="nodes changing", nodes=JUST_JOINED),
    Phase(name="running again"),
    Phase(name="suspended", spec={**SPEC, "suspend": True}, generation=2),
    Phase(name="suspended without nodes", spec={**SPEC, "suspend": True}, generation=2, nodes=()),
    Phase(name="ending", generation=3, until=Verdict.SUCCEEDED),
    Phase(name="succeeded", generation=3),
    Phase(name="succeeded without nodes", generation=3, nodes=()),
    Phase(name="between rounds", spec=EDITED, generation=4, nodes=()),
    Phase(name="second round", spec=EDITED, generation=4),
    Phase(name="breaking", spec=EDITED, generation=4, world=BROKEN, until=Verdict.STALLED),
    Phase(name="stalled", spec=EDITED, generation=4, world=BROKEN),
    Phase(name="stalled without nodes", spec=EDITED, generation=4, world=BROKEN, nodes=()),
)
Tamper = Callable[[Phase, StudyStatus], StudyStatus | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What one reconcile pass decided and wrote; without a decision if no pool matched."""

    phase: Phase
    decision: Decision | None
    created: tuple[str, ...]
    status: StudyStatus


def told(_: Phase, status: StudyStatus) -> StudyStatus:
    """Leave the status as written."""
    return status


def wiped(_: Phase, __: StudyStatus) -> None:
    """Delete the status."""


def forged(_: Phase, status: StudyStatus) -> StudyStatus:
    """Write another final result, other hardware and another best into the status."""
    ended = Condition(type="Succeeded", status="True", reason="Forged", message="", last_transition_time=START)
    best = {
        "pool": "a100", "round": 99, "gpuCount": 1, "batchSize": 1, "throughput": "1e9", "throughputPerGPU": "1e9",
        "spread": "0", "engineArgs": ["--forged"], "run": "forged",
    }  # fmt: skip
    pools = [
        PoolStatus(name=name, gpu="Forged", fingerprint="forged", gpus_per_node=1, round=99, identity="forged")
        for name in ("a100", "v100", "forged")
    ]
    return StudyStatus.model_validate({"best": best, "pools": pools, "conditions": [ended], "runs": status.runs})


def swapped(_: Phase, status: StudyStatus) -> StudyStatus:
    """Swap the hardware of the two pools in the status."""
    swaps = dict(pairwise((*(row.name for row in status.pools), *(row.name for row in status.pools[:1]))))
    return status.model_copy(
        update={"pools": [row.model_copy(update={"name": swaps[row.name]}) for row in status.pools]}
    )


def now_and_then(phase: Phase, status: StudyStatus) -> StudyStatus:
    """Forge the status in every second phase, so that a genuine one follows a forged one."""
    return forged(phase, status) if LIFE.index(phase) % 2 == 0 else status


class Life:
    """A study that goes through all phases; between two passes only its journal and its Jobs persist."""

    def __init__(self, tamper: Tamper) -> None:
        self.tamper = tamper
        self.journal: list[str] = []
        self.jobs: list[str] = []
        self.status: StudyStatus | None = None
        self.now = START

    def passes(self) -> Iterator[Pass]:
        """Yield all reconcile passes of the study."""
        for phase in LIFE:
            for number in range(50):
                found = self._pass(phase)
                self.status = self.tamper(phase, found.status)
                self.now += timedelta(seconds=50)
                yield found
                verdict = None if found.decision is None else found.decision.verdict
                if number >= 1 if phase.until is None else verdict is phase.until:
                    break
            else:
                raise AssertionError(f"phase {phase.name} does not end")

    def _history(self) -> History:
        entries = tuple(entry for line in self.journal if not isinstance(entry := decode_line(line), Header))
        return fold(Header(namespace="", study="", started_at=START), entries)

    def _pass(self, phase: Phase) -> Pass:
        body = make_study_document(OWNER.name, OWNER.namespace, **phase.spec)
        body["metadata"] |= {"uid": OWNER.uid, "generation": phase.generation}
        history = self._history()
        resolved = resolve_study(body, phase.nodes, history, SETTINGS, previous=self.status)
        if not resolved.study.pools:
            status_context = StatusContext(generation=phase.generation, pool_problems=resolved.problems)
            status = waiting_status("NoMatchingNodes", "", self.now, context=status_context)
            return Pass(phase=phase, decision=None, created=(), status=status)
        stopped = {entry.run.name for entry in history.active if entry.stopping is not None}
        observations = observe(phase.world, history.active, self.now, stopped=stopped)
        decision = decide(resolved.study, history, observations, self.now)
        starts = [StartedRun(run=run, started_at=self.now, held_since=self.now) for run in decision.start]
        after = apply(decision.history, starts)
        self.journal += [encode_entry(entry) for entry in changes(history, after)]
        created = tuple(entry.run.name for entry in after.active if entry.run.name not in self.jobs)
        self.jobs += created
        status = self._written(phase, resolved, replace(decision, history=after), observations)
        return Pass(phase=phase, decision=decision, created=created, status=status)

    def _written(
        self, phase: Phase, resolved: ResolvedStudy, decision: Decision, observations: Mapping[str, Observation]
    ) -> StudyStatus:
        live = {run: seen for run, seen in observations.items() if not isinstance(seen, Finished | Lost)}
        status_context = StatusContext(
            generation=phase.generation,
            observations=live,
            pool_problems=resolved.problems,
            pool_nodes=resolved.pool_nodes,
            suspended=resolved.study.suspended,
        )
        return to_status(resolved.study, decision, self.now, previous=self.status, context=status_context)


def without_times(status: StudyStatus) -> StudyStatus:
    """Return the status without transition times, the only values taken from the previous status."""
    return status.model_copy(
        update={
            "conditions": [one.model_copy(update={"last_transition_time": START}) for one in status.conditions],
            "runs": [run.model_copy(update={"since": START}) for run in status.runs],
        }
    )


def shown(passes: Sequence[Pass]) -> list[tuple[str, Decision | None, tuple[str, ...], StudyStatus | None]]:
    """Return what must be equal in two lives."""
    return [
        (one.phase.name, one.decision, one.created, None if one.decision is None else without_times(one.status))
        for one in passes
    ]


@pytest.fixture(name="untouched", scope="module")
def untouched_passes() -> list[Pass]:
    """Return the passes of a life in which only the operator writes the status."""
    return list(Life(told).passes())


def test_the_life_that_is_compared_with_has_everything_in_it(untouched: list[Pass]) -> None:
    """Two rounds on two pools, Nodes that come and go, an older best, both endings; and no run is superseded."""
    by_phase = {one.phase.name: one for one in untouched if one.decision is not None}  # the last pass of each phase
    assert by_phase.keys() == {phase.name for phase in LIFE} - {"new"}
    last = decision_in(by_phase["stalled without nodes"])
    assert [(entry.pool, entry.number) for entry in last.history.rounds] == [
        ("a100", 1),
        ("v100", 1),
        ("a100", 2),
        ("v100", 2),
    ]
    assert {entry.stopped for entry in last.history.ended} == {None, "Suspended"}
    assert any(decision_in(one).history.active for one in untouched if one.phase.name == "nodes away")
    assert {row.reason for row in by_phase["nodes away"].status.pools} == {"NoMatchingNodes"}
    assert {row.reason for row in by_phase["nodes changing"].status.pools} >= {"NodesChanging"}
    assert by_phase["ending"].status.best is not None
    assert by_phase["between rounds"].status.best == by_phase["ending"].status.best
    assert decision_in(by_phase["succeeded without nodes"]).verdict is Verdict.SUCCEEDED
    assert last.verdict is Verdict.STALLED


@pytest.mark.parametrize("tamper", [wiped, forged, swapped, now_and_then])
def test_a_status_that_is_wiped_or_forged_changes_no_decision(tamper: Tamper, untouched: list[Pass]) -> None:
    """In every phase, decisions, rounds, Jobs and best stay the same; no run is superseded or started twice."""
    life = Life(tamper)
    assert shown(list(life.passes())) == shown(untouched)
    assert len(set(life.jobs)) == len(life.jobs)


def decision_in(one: Pass) -> Decision:
    """Return the decision of a pass that made one."""
    assert one.decision is not None
    return one.decision
