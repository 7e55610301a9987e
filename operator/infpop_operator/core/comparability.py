"""Reject results that must not be compared with the earlier results of their round.

A measurement identity is built from names: of an image, a prompt file, node labels. What a name refers to can change
during a round. Every result therefore records what it was measured with, and all results of a round must match the
first one that has a trial. A value that a result does not record is not compared: the runner may be older, or the
message may have been shortened.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from infpop_operator.core.model import EndedRun, Finished, Lost, Run
from infpop_runner.contract import SHORTENED_NAME, Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fact:
    """One fact that all results of a round share; `what` starts the message about a mismatch."""

    reason: str
    of: Callable[[Provenance], str | None]
    what: str


_FACTS = (
    _Fact(
        reason="WorkloadChanged",
        of=lambda provenance: provenance.workload_hash,
        what="prompts changed: workload hash",
    ),
    _Fact(
        reason="SoftwareChanged",
        of=lambda provenance: provenance.engine_version,
        what="engine changed: version",
    ),
    _Fact(
        reason="SoftwareChanged",
        of=lambda provenance: provenance.torch_version,
        what="PyTorch changed: version",
    ),
    _Fact(
        reason="GpuChanged",
        # A result that was shortened to fit its size limit holds only the start of the name.
        of=lambda provenance: provenance.gpu_model and provenance.gpu_model[:SHORTENED_NAME],
        what="GPU changed:",
    ),
)
INCOMPARABLE = frozenset(fact.reason for fact in _FACTS)  # reasons of runs that ran, and must not be compared


def reject_incomparable(run: Run, observation: Finished | Lost, ended: Sequence[EndedRun]) -> Finished | Lost:
    """Return the observation, or a loss if its trials must not be compared with the earlier trials of its round.

    Args:
        run: the run that ended.
        observation: how it ended.
        ended: the runs that ended earlier, of all rounds and pools.
    """
    if not isinstance(observation, Finished) or not observation.result.trials:
        return observation
    own, earlier = observation.result.provenance, tuple(_of_round(run, ended))
    for fact in _FACTS:
        is_now, was = fact.of(own), _first(fact, earlier)
        if None not in (is_now, was) and is_now != was:
            detail = f"{fact.what} {is_now}, but this round started with {was}"
            return Lost(reason=fact.reason, detail=detail, ended_at=observation.ended_at)
    return observation


def _of_round(run: Run, ended: Sequence[EndedRun]) -> Iterable[Provenance]:
    for entry in ended:
        same_round = (entry.run.pool, entry.run.round) == (run.pool, run.round)
        if same_round and isinstance(entry.observation, Finished) and entry.observation.result.trials:
            yield entry.observation.result.provenance


def _first(fact: _Fact, provenances: Sequence[Provenance]) -> str | None:
    return next((known for provenance in provenances if (known := fact.of(provenance)) is not None), None)
