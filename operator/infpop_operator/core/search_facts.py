"""What a search is told about the subject of a round, beside its trials: model, engine, hardware and costs."""

from collections.abc import Mapping
from statistics import median

from infpop_operator.core.history import known_model_facts, runs_of
from infpop_operator.core.model import Finished, History, Round
from infpop_operator.core.search.request import SearchFacts
from infpop_operator.core.space import merge_facts
from infpop_operator.core.study import Pool, Study

# `SearchFacts.divided_by` of each metric: about so where it counts the watts of the GPUs, and where it is the time of a
# sequence in a batch, all of whose sequences get a token together while it is full.
_POWERS: Mapping[str, tuple[float, float]] = {
    "throughput": (0.0, 0.0),
    "throughputPerGPU": (1.0, 0.0),
    "costPerMillionTokens": (1.0, 0.0),
    "tokensPerJoule": (1.0, 0.0),
    "secondsPerOutputToken": (0.0, 1.0),
}


def metric_powers(metric: str) -> tuple[float, float] | None:
    """Return by which powers of the GPU count and of the batch size a throughput is divided to give a metric.

    None if the metric is one of the study's own.
    """
    return _POWERS.get(metric)


def search_facts(study: Study, pool: Pool, history: History, newest: Round) -> SearchFacts:
    """Return the facts about the search of the round `newest` of `pool`; what is unknown is None.

    Facts that an engine reported win over declared ones. The hardware is what the pool has now, or had when its round
    began if its nodes are away. A load that another study made counts as well: it was the same.
    """
    model, then = merge_facts(study.model_facts, known_model_facts(history)), newest.hardware
    measurement = study.measurement
    return SearchFacts(
        engine=study.engine.name,
        gpu_model=pool.gpu_model or (None if then is None else then.gpu_model),
        gpu_memory_mib=pool.gpu_memory_mib or (None if then is None else then.gpu_memory_mib),
        parameters=model.parameters,
        weight_bytes=model.weight_bytes,
        load_seconds=_load_seconds(history, newest),
        samples=study.workload.samples,
        new_tokens=study.workload.max_new_tokens,
        repeats=measurement.repeats,
        min_repeat_seconds=measurement.min_repeat_seconds,
        adaptive=measurement.mode == "adaptive",
        losses_are_throughput=study.objective.metric == "throughput",
        divided_by=metric_powers(study.objective.metric),
    )


def _load_seconds(history: History, newest: Round) -> float | None:
    """Return the median of the loads of a round, None before the first."""
    finished = (entry.observation for entry in runs_of(history.ended, newest))
    results = [each.result for each in finished if isinstance(each, Finished)]
    loads = [result.load_seconds for result in results if result.load_seconds is not None]
    return median(loads) if loads else None
