"""Rules between fields that the schema cannot express; each problem names field, value and remedy."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from math import prod

from infpop_operator.api.checks import at_most, positive, short, unique
from infpop_operator.api.guesses import meant_ratio
from infpop_operator.api.quantities import seconds
from infpop_operator.api.rules_metrics import metric_rules
from infpop_operator.api.rules_pod_template import pod_template_rules
from infpop_operator.api.rules_pools import pool_rules
from infpop_operator.api.rules_publish import publish_rules
from infpop_operator.api.spec import LARGEST_SPREAD, LONGEST_TIMEOUT, Extra, StudySpec
from infpop_operator.api.spec_engine import MOST_BATCHED_TOKENS
from infpop_operator.core.errors import Problem
from infpop_operator.core.run_spec import LONGER_FACTOR, SEARCHED_FIELD
from infpop_operator.core.scalars import parse_scalar
from infpop_operator.core.study import ConstraintMetric, Scalar
from infpop_runner.contract import (
    LONGEST_REPEAT_SECONDS,
    MOST_ENGINE_ARGUMENTS,
    StrictJsonError,
    decode_argument,
    is_placement,
    is_structured,
    pinned_message,
    pinned_name,
)

_SHORTEST_TIMEOUT_SECONDS = 1.0
_LONGEST_REPEAT_SECONDS = LONGEST_REPEAT_SECONDS / LONGER_FACTOR  # so that a second, longer measurement also fits
_LONGEST_PRETENCE_SECONDS = 3600.0
# Of `plateau.confidence`: below, the search stops while it thinks that it is more likely wrong than right; above, the
# draws from which it counts the probability cannot tell it from 1. Reasoned, not measured.
LEAST_CONFIDENCE, MOST_CONFIDENCE = 0.5, 0.999
_MOST_CELLS = 2000  # every decision iterates over all of them
_OTHER_BOOLEANS = frozenset({"yes", "no", "on", "off"})  # of YAML 1.1; no argument of an engine has such a text
_BOOLEANS = 'Write "true" or "false"'
_GOVERNING_FIELDS = {  # pinned engine arguments -> the field that sets them
    "model": "spec.model.name",
    "tokenizer": "spec.model.name",
    "revision": "spec.model.revision",
    "tokenizer_revision": "spec.model.revision",
    "dtype": "spec.model.dtype",
    "torch_dtype": "spec.model.dtype",
    "load_format": "spec.model.loadFormat",
    "device": "spec.nodePools[].gpuResource",
    "max_num_seqs": "spec.searchSpace.batchSize",
    "batch_size": "spec.searchSpace.batchSize",
    "max_num_batched_tokens": "spec.engine.maxNumBatchedTokens",
    "max_model_len": "spec.workload.maxNewTokens",
    "gpu_memory_utilization": "spec.engine.gpuMemoryUtilization",
    "enforce_eager": "spec.engine.enforceEager",
    "seed": "spec.algorithm.seed",
}
NOT_SIMULATED: tuple[ConstraintMetric, ...] = (
    "batchSecondsP50",
    "batchSecondsP95",
    "gpuMemoryPeakBytes",
    "secondsPerOutputToken",
)


def broken_rules(spec: StudySpec) -> list[Problem]:
    """Return all violated rules of `spec`, in the order of the document."""
    return [problem for rule in _RULES for problem in rule(spec)]


def _model(spec: StudySpec) -> Iterator[Problem]:
    address = re.match(r"https?://[^/]+/*", spec.model.name)
    if address is not None:
        name = "/".join(spec.model.name[address.end() :].split("/")[:2])
        remedy = f"Write {name}" if name else "Write the name of a model"
        message = "is an address, not the name of a model"
        yield Problem(field="spec.model.name", value=f'"{spec.model.name}"', message=message, remedy=remedy)


def _engine_and_simulation(spec: StudySpec) -> Iterator[Problem]:
    engine = spec.engine
    if engine.name == "simulated" and engine.simulation is None:
        remedy = "Add simulation: {formula: {}} or simulation: {recorded: {...}}"
        yield Problem(
            field="spec.engine.simulation", value="", message="is required by the simulated engine", remedy=remedy
        )
    if engine.simulation is None:
        return
    if engine.name != "simulated":
        yield Problem(
            field="spec.engine.simulation",
            value="",
            message=f"applies only to the simulated engine, not to {engine.name}",
            remedy="Remove it",
        )
    if (engine.simulation.recorded is None) == (engine.simulation.formula is None):
        remedy = "Give exactly one of recorded and formula"
        yield Problem(field="spec.engine.simulation", value="", message="needs exactly one landscape", remedy=remedy)
    yield from short("spec.engine.simulation.loadTime", engine.simulation.load_time, _LONGEST_PRETENCE_SECONDS)
    yield from short("spec.engine.simulation.repeatTime", engine.simulation.repeat_time, _LONGEST_PRETENCE_SECONDS)


def _decimals(spec: StudySpec) -> Iterator[Problem]:
    bounded: list[tuple[str, str, float, float]] = [
        ("spec.engine.gpuMemoryUtilization", spec.engine.gpu_memory_utilization, 0.0, 1.0),
    ]
    simulation = spec.engine.simulation
    if simulation is not None:
        yield from at_most("spec.engine.simulation.noise", simulation.noise, 0.5)
        if simulation.formula is not None:
            bounded.append(("spec.engine.simulation.formula.falloff", simulation.formula.falloff, 0.0, 0.999999))
            yield from positive("spec.engine.simulation.formula.peakThroughput", simulation.formula.peak_throughput)
    bounded.append(("spec.measurement.maxSpread", spec.measurement.max_spread, 0.0, LARGEST_SPREAD))
    for field, text, low, high in bounded:
        if not low < float(text) <= high:
            message = f"must be above {low:g} and at most {high:g}"
            meant = meant_ratio(text)
            remedy = "Correct it" if meant is None else f'1 is 100 %. Did you mean "{meant}"?'
            yield Problem(field=field, value=f'"{text}"', message=message, remedy=remedy)
    if spec.budget.max_gpu_hours is not None:
        yield from positive("spec.budget.maxGPUHours", spec.budget.max_gpu_hours)


def _arguments(spec: StudySpec) -> Iterator[Problem]:
    for name, text in spec.engine.args.items():
        yield from _pinned(f"spec.engine.args.{name}", name)
        yield from _unreadable(f"spec.engine.args.{name}", text)
    extras = [extra.name for extra in spec.search_space.extra]
    arguments = len(spec.engine.args) + len(extras)
    if arguments > MOST_ENGINE_ARGUMENTS:
        yield Problem(
            field="spec.engine.args",
            value=str(arguments),
            message=f"is more than {MOST_ENGINE_ARGUMENTS} arguments, counting those of spec.searchSpace.extra",
            remedy="Remove some",
        )
    for position, extra in enumerate(spec.search_space.extra):
        field = f"spec.searchSpace.extra[{position}]"
        if extra.name == SEARCHED_FIELD and spec.engine.name != "hf-pipeline":
            yield from _token_limits(field, extra)
        else:
            yield from _pinned(f"{field}.name", extra.name)
        for number, text in enumerate(extra.values):
            yield from _unreadable(f"{field}.values[{number}]", text)
        if extra.name in spec.engine.args:
            message, remedy = "is also set in spec.engine.args", "Remove one of the two"
            yield Problem(field=f"{field}.name", value=extra.name, message=message, remedy=remedy)
        # Values that are equal in Python ("1", "1.0" and "true") would give the same cell twice.
        equal = [
            number for number, text in enumerate(extra.values) if parse_scalar(text) in _parsed(extra.values[:number])
        ]
        if equal:
            value = extra.values[equal[0]]
            remedy = "List each value once"
            yield Problem(field=f"{field}.values", value=value, message="is listed more than once", remedy=remedy)
    yield from unique("spec.searchSpace.extra", extras)


def _token_limits(field: str, extra: Extra) -> Iterator[Problem]:
    for text in extra.values:
        tokens = parse_scalar(text)
        if isinstance(tokens, bool) or not isinstance(tokens, int) or not 1 <= tokens <= MOST_BATCHED_TOKENS:
            message = f"must be a whole number from 1 to {MOST_BATCHED_TOKENS:,}"
            yield Problem(field=f"{field}.values", value=f'"{text}"', message=message, remedy='Use for example "8192"')


def _parsed(texts: Sequence[str]) -> list[Scalar]:
    return [parse_scalar(text) for text in texts]


def _pinned(field: str, name: str) -> Iterator[Problem]:
    message, pinned = pinned_message(name), pinned_name(name)
    if message is not None and pinned is not None:
        governing = _GOVERNING_FIELDS.get(pinned, "spec.searchSpace.gpuCount" if is_placement(pinned) else None)
        remedy = "Remove it" if governing is None else f"Remove it and set {governing}"
        yield Problem(field=field, value=name, message=message, remedy=remedy)


def _unreadable(field: str, text: str) -> Iterator[Problem]:
    """Yield a problem with a value that an engine would take for another one, or cannot read.

    An engine takes any text for true, so also "no" and "off". A value that starts like JSON is a template on one line,
    or JSON.
    """
    if text.lower() in _OTHER_BOOLEANS:
        yield Problem(field=field, value=json.dumps(text), message="is a text, not a boolean", remedy=_BOOLEANS)
    try:
        decode_argument(text)
    except StrictJsonError as error:
        remedy = "Write JSON, with double quotes around names and texts, or let the text start with another character"
        yield Problem(field=field, value=json.dumps(text)[:60], message=error.message, remedy=remedy)
    else:
        if not is_structured(text) and re.search(r"[\t\r\n]", text):
            yield Problem(
                field=field, value=json.dumps(text)[:60], message="has a line break", remedy="Write it on one line"
            )


def _source(spec: StudySpec) -> Iterator[Problem]:
    source = spec.workload.source
    given = [
        key
        for key in ("builtin", "file", "config_map", "hugging_face", "synthetic")
        if getattr(source, key) is not None
    ]
    field = "spec.workload.source"
    if len(given) != 1:
        remedy = "Give exactly one of builtin, file, configMap, huggingFace, synthetic"
        yield Problem(field=field, value="", message=f"names {len(given)} sources", remedy=remedy)
    hub = source.hugging_face
    if hub is not None and (hub.preset is None) == (hub.dataset is None):
        remedy = "Give exactly one of preset and dataset"
        yield Problem(field=f"{field}.huggingFace", value="", message="needs exactly one dataset", remedy=remedy)


def _search_space(spec: StudySpec) -> Iterator[Problem]:
    yield from unique("spec.searchSpace.gpuCount", spec.search_space.gpu_count)
    yield from unique("spec.searchSpace.batchSize", spec.search_space.batch_size)
    space = spec.search_space
    sizes = (len(space.gpu_count), len(space.batch_size), *(len(extra.values) for extra in space.extra))
    if prod(sizes) > _MOST_CELLS:
        message = f"has more than {_MOST_CELLS:,} configurations"
        remedy = "Use fewer values; doubling ones (1, 2, 4, ...) lose little"
        yield Problem(field="spec.searchSpace", value=f"{prod(sizes):,}", message=message, remedy=remedy)


def _baseline(spec: StudySpec) -> Iterator[Problem]:
    baseline = spec.baseline
    if baseline is None:
        return
    given = [baseline.gpu_count, baseline.batch_size]
    if [baseline.source is None] * 2 != [each is not None for each in given]:
        yield Problem(
            field="spec.baseline",
            value="",
            message="is neither one configuration nor the engine's default",
            remedy="Give gpuCount and batchSize, or only source: EngineDefault",
        )


def _budget(spec: StudySpec) -> Iterator[Problem]:
    budget = spec.budget
    baseline = spec.baseline
    if baseline is not None and (baseline.gpu_count or 0) > budget.max_concurrent_gpus:
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
        yield Problem(
            field="spec.budget.deadline", value=budget.deadline, message="must be above 0", remedy="Remove it"
        )


def _plateau(spec: StudySpec) -> Iterator[Problem]:
    plateau, field = spec.budget.plateau, "spec.budget.plateau"
    if plateau is None:
        return
    if plateau.trials is None and plateau.confidence is None:
        remedy = "Give trials or confidence, or both, or remove plateau"
        yield Problem(field=field, value="", message="has no rule to stop by", remedy=remedy)
    if plateau.confidence is None:
        return
    text = f'"{plateau.confidence}"'
    if not LEAST_CONFIDENCE <= float(plateau.confidence) <= MOST_CONFIDENCE:
        message = f"must be from {LEAST_CONFIDENCE:g} to {MOST_CONFIDENCE:g}"
        yield Problem(field=f"{field}.confidence", value=text, message=message, remedy='Use for example "0.9"')
    if spec.algorithm.name != "landscape":
        yield Problem(
            field=f"{field}.confidence",
            value=text,
            message=f"the algorithm {spec.algorithm.name} cannot say how sure it is",
            remedy="Use spec.algorithm.name: landscape, or plateau.trials instead",
        )


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
        why = _never_known(spec, constraint.metric)
        if why is not None:
            message = f"is never measured {why}, so nothing could be recommended"
            yield Problem(field=f"{field}.metric", value=constraint.metric, message=message, remedy="Remove it")


def _never_known(spec: StudySpec, metric: str) -> str | None:
    if spec.engine.name == "simulated":
        return "in simulated runs" if metric in NOT_SIMULATED else None
    without_gpus = [pool.name for pool in spec.node_pools if pool.gpu_resource == "cpu"]
    if metric == "gpuMemoryPeakBytes" and without_gpus:
        return f"on pool {without_gpus[0]}, which has no GPUs"
    return None


def _timeouts(spec: StudySpec) -> Iterator[Problem]:
    timeouts = spec.measurement.timeouts
    for name in ("schedule", "pull", "load", "measure"):
        text = getattr(timeouts, name)
        if text is None:
            continue
        field = f"spec.measurement.timeouts.{name}"
        if seconds(text) < _SHORTEST_TIMEOUT_SECONDS:
            yield Problem(field=field, value=text, message="is shorter than a second", remedy='Use "1s" or more')
        yield from short(field, text, seconds(LONGEST_TIMEOUT))
    yield from short("spec.measurement.minDuration", spec.measurement.min_duration, _LONGEST_REPEAT_SECONDS)
    needed = spec.measurement.repeats * seconds(spec.measurement.min_duration)
    if needed >= seconds(timeouts.measure):
        yield Problem(
            field="spec.measurement.timeouts.measure",
            value=timeouts.measure,
            message=f"is too short for {spec.measurement.repeats} repeats of {spec.measurement.min_duration}",
            remedy=f'Use more than "{needed:g}s"',
        )


_RULES: tuple[Callable[[StudySpec], Iterator[Problem]], ...] = (
    _model,
    _engine_and_simulation,
    _decimals,
    _arguments,
    _source,
    _search_space,
    _baseline,
    _budget,
    _plateau,
    _constraints,
    metric_rules,
    _timeouts,
    pool_rules,
    pod_template_rules,
    publish_rules,
)
