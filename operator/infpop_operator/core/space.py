"""List the cells of a search space, and rule out those whose outcome is already certain.

A rule may only rule out what is certain, because a cell that is ruled out wrongly can never become the best. Therefore
no rule concludes from one GPU count about another (device maps of pipelines do not scale evenly: pruning across GPU
counts lost the optimum on published landscapes), and no rule concludes anything from a broken run.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from infpop_operator.core.load_memory import OUT_OF_MEMORY, LoadKey, LoadLimit, load_limits, while_loading
from infpop_operator.core.model import Trial, TrialState
from infpop_operator.core.numbering import trial_name
from infpop_operator.core.study import Configuration, Pool, Scalar, SearchSpace, Study
from infpop_runner.contract import EngineSpec, InfeasibleReason, ModelFacts

ABOUT_POOL: tuple[InfeasibleReason, ...] = ("IncompatibleGPU", "UnsupportedModel")  # of its GPUs or its image
_ABOUT_GPU_COUNT: tuple[InfeasibleReason, ...] = ("HeadsNotDivisible", "UnsupportedGpuCount")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuledOut:
    """Why a cell need not be measured: a reason (of the contract if it is infeasible) and a detail for the user."""

    reason: str
    detail: str


def cells(space: SearchSpace) -> tuple[Configuration, ...]:
    """Return every cell of `space` once: ascending GPU count, then batch size, then extra values in the given order."""
    return _cells(space, tuple(type(value) for each in space.extra for value in each.values))


@lru_cache(maxsize=16)  # a decision asks for the cells of its study several times
def _cells(space: SearchSpace, _types: tuple[type, ...]) -> tuple[Configuration, ...]:
    """Return the cells; `1 == True`, so the types of the extra values belong to the key of the cache."""
    return tuple(
        Configuration(gpu_count=gpu_count, batch_size=batch_size, extra=extra)
        for gpu_count, batch_size, extra in product(space.gpu_counts, space.batch_sizes, _extras(space))
    )


def merge_facts(declared: ModelFacts | None, measured: ModelFacts | None) -> ModelFacts:
    """Return the known model facts, field by field: a fact that an engine reported wins over one declared in files."""
    known = declared.model_dump(exclude_none=True) if declared is not None else {}
    known.update(measured.model_dump(exclude_none=True) if measured is not None else {})
    return ModelFacts.model_validate(known)


def ruled_out(
    study: Study,
    pool: Pool,
    trials: tuple[Trial, ...],
    facts: ModelFacts | None,
    *,
    also: tuple[Configuration, ...] = (),
) -> Mapping[Configuration, RuledOut]:
    """Return the configurations that need no (other) trial on `pool`, each with the reason.

    Judges the cells of the study's search space, the configurations of `trials`, and `also`. The result never contains
    a configuration with a measured, raced-out or infeasible trial, because its outcome is known from that trial. It can
    contain a configuration whose trial is broken, invalid or still running.

    Args:
        study: the study whose search space is judged.
        pool: the hardware; an unknown device count rules nothing out.
        trials: the trials of the current round on that pool, in any order.
        facts: model facts that runs reported; merged with the study's own facts.
        also: configurations outside the search space, for example a baseline.
    """
    known = merge_facts(study.model_facts, facts)
    certain = (TrialState.MEASURED, TrialState.RACED_OUT, TrialState.INFEASIBLE)
    settled = {trial.configuration for trial in trials if trial.state in certain}
    judged = dict.fromkeys((*cells(study.space), *(trial.configuration for trial in trials), *also))
    limits = load_limits(trials, judged)
    verdicts = ((cell, _verdict(cell, study.engine, pool, trials, limits=limits, facts=known)) for cell in judged)
    return {cell: verdict for cell, verdict in verdicts if verdict is not None and cell not in settled}


def why_ruled_out(
    study: Study, pool: Pool, trials: tuple[Trial, ...], facts: ModelFacts | None, cell: Configuration
) -> RuledOut | None:
    """Return why one configuration without a trial needs none on `pool`, None if its outcome is open.

    The arguments are those of `ruled_out`; this is faster for a single configuration.
    """
    limits = load_limits(trials, cells(study.space))
    known = merge_facts(study.model_facts, facts)
    return _verdict(cell, study.engine, pool, trials, limits=limits, facts=known)


def _extras(space: SearchSpace) -> Iterable[tuple[tuple[str, Scalar], ...]]:
    parameters = sorted(space.extra, key=lambda parameter: parameter.name)
    names = [parameter.name for parameter in parameters]
    for values in product(*(parameter.values for parameter in parameters)):
        yield tuple(zip(names, values, strict=True))


def _verdict(
    cell: Configuration,
    engine: EngineSpec,
    pool: Pool,
    trials: tuple[Trial, ...],
    *,
    limits: Mapping[LoadKey, LoadLimit],
    facts: ModelFacts,
) -> RuledOut | None:
    found = (*_by_facts(cell, engine, pool, facts), *_by_trials(cell, trials), *_by_loads(cell, limits))
    return next(iter(found), None)


def _by_facts(cell: Configuration, engine: EngineSpec, pool: Pool, facts: ModelFacts) -> Iterator[RuledOut]:
    """Yield the reasons that are known without any trial."""
    gpus, heads = cell.gpu_count, facts.attention_heads
    if pool.device_count is not None and gpus > pool.device_count:
        detail = f"{gpus} devices requested, but pool {pool.name} has {pool.device_count} for one run"
        yield RuledOut(reason="UnsupportedGpuCount", detail=detail)
    if engine.name == "hf-pipeline" and pool.device == "cpu" and gpus > 1:
        detail = f"a transformers pipeline uses one CPU device, not {gpus}"
        yield RuledOut(reason="UnsupportedGpuCount", detail=detail)
    # Only the attention heads: vLLM replicates key-value heads when there are fewer of them than ranks.
    if engine.name == "vllm" and heads is not None and heads % gpus != 0:
        detail = f"{heads} attention heads cannot be split evenly over {gpus} GPUs"
        yield RuledOut(reason="HeadsNotDivisible", detail=detail)


def _by_trials(cell: Configuration, trials: tuple[Trial, ...]) -> Iterator[RuledOut]:
    """Yield the reasons that follow from infeasible trials."""
    for trial in trials:
        tried = trial.configuration
        if trial.state is not TrialState.INFEASIBLE:
            continue
        if trial.reason in ABOUT_POOL and tried.extra == cell.extra:
            reason = ABOUT_POOL[ABOUT_POOL.index(trial.reason)]
            what = "GPUs incompatible" if reason == "IncompatibleGPU" else "engine too old for the model"
            yield RuledOut(reason=reason, detail=trial.detail or f"{trial_name(trial.index)} found this pool's {what}")
        elif trial.reason in _ABOUT_GPU_COUNT and _splits_alike(cell, tried, trial.reason):
            reason = _ABOUT_GPU_COUNT[_ABOUT_GPU_COUNT.index(trial.reason)]
            detail = trial.detail or f"{trial_name(trial.index)} found this GPU count infeasible"
            yield RuledOut(reason=reason, detail=detail)
        elif trial.reason == OUT_OF_MEMORY and not while_loading(trial) and _needs_more_memory(cell, tried):
            devices = "1 GPU" if tried.gpu_count == 1 else f"{tried.gpu_count} GPUs"
            detail = f"batch {tried.batch_size} already ran out of memory on {devices}"
            yield RuledOut(reason=OUT_OF_MEMORY, detail=detail)


def _by_loads(cell: Configuration, limits: Mapping[LoadKey, LoadLimit]) -> Iterator[RuledOut]:
    """Yield the reason that follows from loads that ran out of memory."""
    limit = limits.get(cell.load_key)
    if limit is not None and cell.batch_size > limit.batch_size:
        yield RuledOut(reason=OUT_OF_MEMORY, detail=limit.detail)


def _splits_alike(cell: Configuration, tried: Configuration, reason: str) -> bool:
    """Return whether both split the model alike: an extra argument may choose other blocks, but no other heads."""
    return tried.gpu_count == cell.gpu_count and (reason == "HeadsNotDivisible" or tried.extra == cell.extra)


def _needs_more_memory(cell: Configuration, tried: Configuration) -> bool:
    return cell.load_key == tried.load_key and cell.batch_size > tried.batch_size
