"""Rules between the fields of a study that its schema cannot say; each names field, value and remedy."""

import re
from collections.abc import Callable, Iterator, Sequence

from infpop_operator.api.quantities import parse_scalar, seconds
from infpop_operator.api.spec import StudySpec
from infpop_operator.core.errors import Problem
from infpop_operator.core.model import Scalar

_SHORTEST_TIMEOUT_SECONDS = 1.0
_MEASURED_ARGUMENTS = {  # engine arguments that the measurement itself sets -> the field that governs them
    "model": "spec.model.name",
    "revision": "spec.model.revision",
    "dtype": "spec.model.dtype",
    "load_format": "spec.model.loadFormat",
    "tensor_parallel_size": "spec.searchSpace.gpuCount",
    "device_map": "spec.searchSpace.gpuCount",
    "max_num_seqs": "spec.searchSpace.batchSize",
    "batch_size": "spec.searchSpace.batchSize",
    "max_num_batched_tokens": "spec.engine.maxNumBatchedTokens",
    "gpu_memory_utilization": "spec.engine.gpuMemoryUtilization",
    "enforce_eager": "spec.engine.enforceEager",
    "seed": "spec.algorithm.seed",
}
_SEARCHABLE = {"max_num_batched_tokens"}  # pinned by default, yet a sensible dimension of a search


def broken_rules(spec: StudySpec) -> list[Problem]:
    """Return everything that is wrong between the fields of `spec`, in the order of the document."""
    return [problem for rule in _RULES for problem in rule(spec)]


def _engine_and_simulation(spec: StudySpec) -> Iterator[Problem]:
    engine = spec.engine
    if engine.name == "simulated" and engine.simulation is None:
        remedy = "Add simulation: {formula: {}} or simulation: {recorded: {...}}"
        yield Problem(field="spec.engine.simulation", value="", message="the simulated engine needs it", remedy=remedy)
    if engine.simulation is None:
        return
    if engine.name != "simulated":
        yield Problem(
            field="spec.engine.simulation",
            value="",
            message=f"belongs to the engine simulated, not to {engine.name}",
            remedy="Remove it",
        )
    if (engine.simulation.recorded is None) == (engine.simulation.formula is None):
        remedy = "Give exactly one of recorded and formula"
        yield Problem(field="spec.engine.simulation", value="", message="has no single landscape", remedy=remedy)


def _decimals(spec: StudySpec) -> Iterator[Problem]:
    bounded: list[tuple[str, str, float, float]] = [
        ("spec.engine.gpuMemoryUtilization", spec.engine.gpu_memory_utilization, 0.0, 1.0),
    ]
    simulation = spec.engine.simulation
    if simulation is not None:
        yield from _at_most("spec.engine.simulation.noise", simulation.noise, 0.5)
        if simulation.formula is not None:
            bounded.append(("spec.engine.simulation.formula.falloff", simulation.formula.falloff, 0.0, 0.999999))
            yield from _positive("spec.engine.simulation.formula.peakThroughput", simulation.formula.peak_throughput)
    for field, text, low, high in bounded:
        if not low < float(text) <= high:
            message = f"must be above {low:g} and at most {high:g}"
            yield Problem(field=field, value=f'"{text}"', message=message, remedy="Correct it")
    yield from _positive("spec.measurement.maxSpread", spec.measurement.max_spread)
    if spec.budget.max_gpu_hours is not None:
        yield from _positive("spec.budget.maxGPUHours", spec.budget.max_gpu_hours)


def _positive(field: str, text: str) -> Iterator[Problem]:
    if float(text) <= 0:
        yield Problem(field=field, value=f'"{text}"', message="must be above 0", remedy="Correct it")


def _at_most(field: str, text: str, high: float) -> Iterator[Problem]:
    if float(text) > high:
        yield Problem(field=field, value=f'"{text}"', message=f"must be at most {high:g}", remedy="Correct it")


def _arguments(spec: StudySpec) -> Iterator[Problem]:
    for name in spec.engine.args:
        if name in _MEASURED_ARGUMENTS:
            yield _pinned(f"spec.engine.args.{name}", name)
    for position, extra in enumerate(spec.search_space.extra):
        field = f"spec.searchSpace.extra[{position}]"
        if extra.name in _MEASURED_ARGUMENTS and extra.name not in _SEARCHABLE:
            yield _pinned(f"{field}.name", extra.name)
        # What Python calls equal ("1", "1.0" and "true") would be one cell of the space twice.
        equal = [
            number for number, text in enumerate(extra.values) if parse_scalar(text) in _parsed(extra.values[:number])
        ]
        if equal:
            value = extra.values[equal[0]]
            remedy = "List each value once"
            yield Problem(field=f"{field}.values", value=value, message="stands there more than once", remedy=remedy)
    yield from _unique("spec.searchSpace.extra", [extra.name for extra in spec.search_space.extra])


def _parsed(texts: Sequence[str]) -> list[Scalar]:
    return [parse_scalar(text) for text in texts]


def _pinned(field: str, name: str) -> Problem:
    remedy = f"Remove it and set {_MEASURED_ARGUMENTS[name]}"
    return Problem(field=field, value=name, message="is set by the measurement itself", remedy=remedy)


def _source(spec: StudySpec) -> Iterator[Problem]:
    source = spec.workload.source
    given = [key for key in ("builtin", "file", "hugging_face", "synthetic") if getattr(source, key) is not None]
    field = "spec.workload.source"
    if len(given) != 1:
        remedy = "Give exactly one of builtin, file, huggingFace, synthetic"
        yield Problem(field=field, value="", message=f"names {len(given)} sources", remedy=remedy)
    hub = source.hugging_face
    if hub is not None and (hub.preset is None) == (hub.dataset is None):
        remedy = "Give exactly one of preset and dataset"
        yield Problem(field=f"{field}.huggingFace", value="", message="names no single data set", remedy=remedy)


def _search_space(spec: StudySpec) -> Iterator[Problem]:
    yield from _unique("spec.searchSpace.gpuCount", spec.search_space.gpu_count)
    yield from _unique("spec.searchSpace.batchSize", spec.search_space.batch_size)


def _unique(field: str, values: Sequence[object]) -> Iterator[Problem]:
    repeated = sorted({str(value) for value in values if values.count(value) > 1})
    if repeated:
        remedy = "List each value once"
        yield Problem(field=field, value=", ".join(repeated), message="stands there more than once", remedy=remedy)


def _budget(spec: StudySpec) -> Iterator[Problem]:
    budget = spec.budget
    baseline = spec.baseline
    if baseline is not None and baseline.gpu_count > budget.max_concurrent_gpus:
        yield Problem(
            field="spec.baseline.gpuCount",
            value=str(baseline.gpu_count),
            message=f"is more than spec.budget.maxConcurrentGPUs, {budget.max_concurrent_gpus}, ever allows",
            remedy=f"Remove the baseline or set spec.budget.maxConcurrentGPUs to {baseline.gpu_count} or more",
        )
    most = max(spec.search_space.gpu_count)
    if most > budget.max_concurrent_gpus:
        yield Problem(
            field="spec.searchSpace.gpuCount",
            value=str(most),
            message=f"is more than spec.budget.maxConcurrentGPUs, {budget.max_concurrent_gpus}, ever allows",
            remedy=f"Remove it or set spec.budget.maxConcurrentGPUs to {most} or more",
        )
    if budget.parallel_trials > budget.max_trials:
        yield Problem(
            field="spec.budget.parallelTrials",
            value=str(budget.parallel_trials),
            message=f"is more than spec.budget.maxTrials, {budget.max_trials}",
            remedy=f"Use {budget.max_trials} or less",
        )
    if budget.deadline is not None and seconds(budget.deadline) <= 0:
        yield Problem(field="spec.budget.deadline", value=budget.deadline, message="is no time", remedy="Remove it")


def _constraints(spec: StudySpec) -> Iterator[Problem]:
    for position, constraint in enumerate(spec.objective.constraints):
        field = f"spec.objective.constraints[{position}]"
        if constraint.max is None and constraint.min is None:
            yield Problem(field=field, value="", message="has no bound", remedy="Give max, min or both")
        elif (
            constraint.max is not None and constraint.min is not None and float(constraint.min) > float(constraint.max)
        ):
            value = f"{constraint.min} > {constraint.max}"
            yield Problem(field=field, value=value, message="min is above max", remedy="Swap them")


def _timeouts(spec: StudySpec) -> Iterator[Problem]:
    timeouts = spec.measurement.timeouts
    for name, text in (("load", timeouts.load), ("measure", timeouts.measure)):
        if seconds(text) < _SHORTEST_TIMEOUT_SECONDS:
            field = f"spec.measurement.timeouts.{name}"
            yield Problem(field=field, value=text, message="is under a second", remedy='Use "1s" or more')
    needed = spec.measurement.repeats * seconds(spec.measurement.min_duration)
    if needed >= seconds(timeouts.measure):
        yield Problem(
            field="spec.measurement.timeouts.measure",
            value=timeouts.measure,
            message=f"is over before {spec.measurement.repeats} repeats of {spec.measurement.min_duration} can be",
            remedy=f'Use more than "{needed:g}s"',
        )


def _pools(spec: StudySpec) -> Iterator[Problem]:
    yield from _unique("spec.nodePools", [pool.name for pool in spec.node_pools])
    for position, pool in enumerate(spec.node_pools):
        field = f"spec.nodePools[{position}]"
        if pool.gpu_product is not None and not _compiles(pool.gpu_product):
            remedy = 'Write for example "A100"'
            yield Problem(
                field=f"{field}.gpuProduct", value=pool.gpu_product, message="is no regular expression", remedy=remedy
            )
        if pool.price_per_gpu_hour is None and spec.objective.metric == "costPerMillionTokens":
            remedy = 'Add what one GPU costs an hour, for example "3.67"'
            message = "the objective costPerMillionTokens needs it"
            yield Problem(field=f"{field}.pricePerGPUHour", value="", message=message, remedy=remedy)
        if pool.price_per_gpu_hour is not None:
            yield from _positive(f"{field}.pricePerGPUHour", pool.price_per_gpu_hour)


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


_RULES: tuple[Callable[[StudySpec], Iterator[Problem]], ...] = (
    _engine_and_simulation,
    _decimals,
    _arguments,
    _source,
    _search_space,
    _budget,
    _constraints,
    _timeouts,
    _pools,
)
