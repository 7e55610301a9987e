"""Reject results that must not be compared with the earlier results of their round.

A measurement identity is built from names: of an image, a prompt file, node labels. What a name refers to can change
during a round. Every result therefore records what it was measured with, and all results of a round must match the
first one of the study's own that has a trial. A value that a result does not record is not compared: the runner may be
older, or the message may have been shortened. The first one must name the GPU that exact labels of the nodes name: a
run may get a node of other hardware before the operator has seen that node.

What another study measured earlier never decides what a round's own results must match: it is the reused trial that is
left out if the two differ.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from infpop_operator.core.model import EndedRun, Finished, Hardware, Lost, Run
from infpop_operator.core.study import Pool
from infpop_runner.contract import SHORTENED_NAME, Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fact:
    """One fact that all results of a round share; `what` starts the message about a mismatch."""

    reason: str
    of: Callable[[Provenance], str | None]
    what: str


_GPU_CHANGED = "GpuChanged"
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
        reason=_GPU_CHANGED,
        # A result that was shortened to fit its size limit holds only the start of the name.
        of=lambda provenance: provenance.gpu_model and provenance.gpu_model[:SHORTENED_NAME],
        what="GPU changed:",
    ),
)
INCOMPARABLE = frozenset(fact.reason for fact in _FACTS)  # reasons of runs that ran, and must not be compared
_NOT_IN_A_LABEL = re.compile(r"[^A-Za-z0-9._\s-]")  # what GPU feature discovery leaves out of a name
_DIVISION = re.compile(r"-(mig|shared)(-.*)?$")  # what it adds to the name of a device that is a part of a GPU
_VENDOR = "nvidia-"


def reject_incomparable(
    run: Run, observation: Finished | Lost, ended: Sequence[EndedRun], hardware: Hardware | None = None
) -> Finished | Lost:
    """Return the observation, or a loss if its trials must not be compared with the trials of its round.

    Args:
        run: the run that ended.
        observation: how it ended.
        ended: the runs that ended earlier, of all rounds and pools.
        hardware: of the round, None if it is unknown.
    """
    if not isinstance(observation, Finished) or not observation.result.trials:
        return observation
    earlier = [entry for entry in ended if (entry.run.pool, entry.run.round) == (run.pool, run.round)]
    own, known = observation.result.provenance, _own(earlier)
    for fact, is_now, was in _differences(own, known):
        detail = f"{fact.what} {is_now}, but this round started with {was}"
        return Lost(reason=fact.reason, detail=detail, ended_at=observation.ended_at)
    if not any(each.gpu_model for each in known) and is_other_gpu(own, hardware):
        labelled = None if hardware is None else hardware.gpu_model
        detail = f"GPU changed: {own.gpu_model}, but this round measures {labelled}"
        return Lost(reason=_GPU_CHANGED, detail=detail, ended_at=observation.ended_at)
    return observation


def is_other_gpu(provenance: Provenance, hardware: Hardware | None) -> bool:
    """Return whether a result names another GPU than the labels of GPU feature discovery; False if either is unknown.

    Where the compute capability is known, the name is such a label, unless a cloud's label takes its place: those are
    in lower case. One machine names its GPUs without labels, and with spaces.
    """
    if hardware is None or hardware.gpu_model is None or provenance.gpu_model is None:
        return False
    label = hardware.gpu_model
    is_exact = hardware.compute_capability is not None and label != label.lower() and " " not in label
    return is_exact and not _is_same_model(provenance.gpu_model, label, whole=True)


def is_comparable(provenance: Provenance, earlier: Sequence[Provenance]) -> bool:
    """Return whether results with this provenance may be compared with the earlier ones."""
    return not any(_differences(provenance, earlier))


def _differences(provenance: Provenance, earlier: Sequence[Provenance]) -> Iterator[tuple[_Fact, str, str]]:
    """Yield each fact that differs from the earlier ones, where both are known: now, and what it was."""
    for fact in _FACTS:
        is_now, was = fact.of(provenance), _first(fact, earlier)
        if is_now is not None and was is not None and is_now != was:
            yield fact, is_now, was


def contradicted(ended: Sequence[EndedRun]) -> frozenset[str]:
    """Return the names of the reused runs of a round that its own results contradict.

    Args:
        ended: the ended runs of one round.
    """
    reused = [entry for entry in ended if entry.reused_from is not None]
    if not reused:
        return frozenset()
    own = _own(ended)
    return frozenset(entry.run.name for entry in reused if not all(is_comparable(each, own) for each in _of([entry])))


def settled_provenances(ended: Sequence[EndedRun]) -> tuple[Provenance, ...]:
    """Return what a further result of a round must match: the study's own results, then what it took over so far.

    Args:
        ended: the ended runs of one round.
    """
    left_out = contradicted(ended)
    reused = (entry for entry in ended if entry.reused_from is not None and entry.run.name not in left_out)
    return (*_own(ended), *_of(reused))


def was_measured_on(ended: EndedRun, pool: Pool) -> bool:
    """Return whether the result of a run says that it was measured on the hardware of `pool`.

    Its GPU's name is compared with the label of GPU feature discovery, which has a dash where the name has a space. A
    result that names no GPU says nothing.
    """
    provenance = next(_of([ended]), None)
    if provenance is None or provenance.gpu_model is None or pool.gpu_model is None:
        return False
    driver = (provenance.driver_version or "").partition(".")[0]
    has_same_driver = pool.driver_major is None or driver in {"", pool.driver_major}
    return has_same_driver and _is_same_model(provenance.gpu_model, pool.gpu_model)


def _is_same_model(name: str, label: str, *, whole: bool = False) -> bool:
    """Return whether a driver's name of a GPU, which may be shortened, and a label say the same model.

    With `whole` a part of a GPU is the same model as the whole one: a driver may give the name of either.
    """
    model, labelled = _model(name), _model(label)
    if whole:
        model, labelled = _DIVISION.sub("", model), _DIVISION.sub("", labelled)
    if len(name) < SHORTENED_NAME:
        return model == labelled
    length = min(len(model), len(labelled))
    return model[:length] == labelled[:length]


def _model(name: str) -> str:
    return "-".join(_NOT_IN_A_LABEL.sub("", name).split()).lower().removeprefix(_VENDOR)


def _own(ended: Iterable[EndedRun]) -> tuple[Provenance, ...]:
    return tuple(_of(entry for entry in ended if entry.reused_from is None))


def _of(ended: Iterable[EndedRun]) -> Iterator[Provenance]:
    for entry in ended:
        if isinstance(entry.observation, Finished) and entry.observation.result.trials:
            yield entry.observation.result.provenance


def _first(fact: _Fact, provenances: Sequence[Provenance]) -> str | None:
    return next((known for provenance in provenances if (known := fact.of(provenance)) is not None), None)
