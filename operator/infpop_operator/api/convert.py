"""Convert the API's document to the core's `Study`."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import PurePath, PurePosixPath

from infpop_operator.api import spec as api
from infpop_operator.api import spec_engine, spec_metrics, spec_workload
from infpop_operator.api.quantities import interval, seconds
from infpop_operator.core.extra_metrics import PRESETS, ExtraMetric
from infpop_operator.core.scalars import parse_scalar
from infpop_operator.core.study import (
    Algorithm,
    Budget,
    Configuration,
    Constraint,
    EngineDefault,
    ExtraParameter,
    Objective,
    Plateau,
    Pool,
    Retune,
    SearchSpace,
    Study,
)
from infpop_runner.contract import (
    BuiltinSource,
    EngineSpec,
    FileSource,
    FormulaLandscape,
    HuggingFaceSource,
    MeasurementSpec,
    ModelFacts,
    ModelSpec,
    RecordedLandscape,
    SimulationSpec,
    SyntheticSource,
    WorkloadSource,
    WorkloadSpec,
)

WORKLOAD_DIRECTORY = PurePosixPath("/workload")  # where a run's Pod mounts the keys of a ConfigMap as files

# The dataset of Bavarian et al., arXiv 2207.14255, as published on the Hub: 1,033 single-line tasks in `test`.
_PRESETS = {
    "humaneval-infilling-single-line": HuggingFaceSource(
        dataset="loubnabnl/humaneval_infilling", config="HumanEval-SingleLineInfilling", split="test", field="prompt"
    )
}


def to_study(
    document: api.ThroughputStudy,
    *,
    pools: tuple[Pool, ...],
    model_fingerprint: str,
    workload_fingerprint: str,
    model_facts: ModelFacts | None,
    model_name: str | None = None,
    base: PurePath | None = None,
    key: str | None = None,
) -> Study:
    """Return the core's `Study` for a parsed document.

    Args:
        document: the result of `parse_document`.
        pools: the document's pools joined with their observed hardware.
        model_fingerprint: identifies the model's weights and architecture.
        workload_fingerprint: identifies the contents of the prompts.
        model_facts: facts from the model's config.json, None if it cannot be read before the first run.
        model_name: directory that replaces `spec.model.name` on this machine, None to use the name unchanged.
        base: directory to which relative paths are relative, None to leave them unchanged.
        key: unique key of the study, None for `namespace/name`.

    Raises:
        ValueError: it has no workload source, or a metric without a query; `api.rules` reports both earlier.
    """
    spec, namespace = document.spec, document.metadata.namespace or ""
    metrics = tuple(to_metric(metric) for metric in spec.metrics)
    return Study(
        key=key or f"{namespace}/{document.metadata.name}",
        namespace=namespace,
        name=document.metadata.name,
        model=ModelSpec(
            name=model_name or spec.model.name,
            revision=spec.model.revision,
            dtype=spec.model.dtype,
            load_format=spec.model.load_format,
        ),
        engine=_engine(spec.engine, base),
        workload=WorkloadSpec(
            source=to_source(spec.workload.source, base),
            samples=spec.workload.samples,
            max_new_tokens=spec.workload.max_new_tokens,
        ),
        space=_space(spec.search_space),
        objective=_objective(spec.objective, metrics),
        algorithm=Algorithm(
            name=spec.algorithm.name, seed=spec.algorithm.seed, trials_per_run=spec.algorithm.trials_per_run
        ),
        budget=_budget(spec.budget),
        measurement=_measurement(spec.measurement),
        pools=pools,
        model_fingerprint=model_fingerprint,
        workload_fingerprint=workload_fingerprint,
        baseline=_baseline(spec),
        model_facts=model_facts,
        metrics=metrics,
        retune=Retune(
            policy=spec.retune.policy,
            debounce=timedelta(seconds=seconds(spec.retune.debounce)),
            max_per_day=spec.retune.max_per_day,
        ),
        reuse=spec.reuse,
        publishes=document.spec.publish is not None,
    )


def to_source(source: spec_workload.Source, base: PurePath | None) -> WorkloadSource:
    """Return the contract's form of a workload source, with presets and relative paths resolved.

    Raises:
        ValueError: it has no source; `api.rules` reports that earlier.
    """
    if source.builtin is not None:
        return BuiltinSource(name=source.builtin)
    if source.file is not None:
        return FileSource(path=_resolved(source.file.path, base), field=source.file.field)
    if source.config_map is not None:
        return FileSource(path=str(WORKLOAD_DIRECTORY / source.config_map.key), field=source.config_map.field)
    if source.synthetic is not None:
        return SyntheticSource(prompt_tokens=source.synthetic.prompt_tokens)
    if source.hugging_face is not None:
        return _hub_source(source.hugging_face)
    raise ValueError("a workload source has exactly one key")


def to_metric(metric: spec_metrics.ExtraMetric) -> ExtraMetric:
    """Return a metric with its query and unit, taken from its preset if it has one.

    Raises:
        ValueError: it has neither query nor preset, or a query without unit; `api.rules` reports that earlier.
    """
    if metric.preset is not None:
        query, unit, across_gpus = PRESETS[metric.preset]
        return ExtraMetric(name=metric.name, query=query, unit=unit, across_gpus=across_gpus)
    if metric.query is None or metric.unit is None:
        raise ValueError(f"the metric {metric.name} has no preset, and no query with a unit")
    return ExtraMetric(name=metric.name, query=metric.query, unit=metric.unit)


def _hub_source(source: spec_workload.HuggingFaceSource) -> HuggingFaceSource:
    if source.preset is not None:
        return _PRESETS[source.preset].model_copy(update={"revision": source.revision})
    return HuggingFaceSource(
        dataset=source.dataset or "",
        config=source.config,
        split=source.split,
        field=source.field,
        revision=source.revision,
    )


def _resolved(path: str, base: PurePath | None) -> str:
    return str(base / path) if base is not None else path


def _engine(engine: spec_engine.Engine, base: PurePath | None) -> EngineSpec:
    return EngineSpec(
        name=engine.name,
        gpu_memory_utilization=float(engine.gpu_memory_utilization),
        max_num_batched_tokens=engine.max_num_batched_tokens,
        enforce_eager=engine.enforce_eager,
        args={name: parse_scalar(text) for name, text in engine.args.items()},
        simulation=_simulation(engine.simulation, base) if engine.simulation is not None else None,
    )


def _simulation(simulation: spec_engine.Simulation, base: PurePath | None) -> SimulationSpec:
    return SimulationSpec(
        landscape=_landscape(simulation, base),
        noise_ratio=float(simulation.noise),
        load_seconds=seconds(simulation.load_time),
        repeat_seconds=seconds(simulation.repeat_time),
    )


def _landscape(simulation: spec_engine.Simulation, base: PurePath | None) -> RecordedLandscape | FormulaLandscape:
    if simulation.recorded is not None:
        recorded = simulation.recorded
        return RecordedLandscape(
            path=_resolved(recorded.path, base),
            gpu_model=recorded.gpu_model,
            engine=recorded.engine,
            model=recorded.model,
        )
    formula = simulation.formula or spec_engine.FormulaLandscape()
    return FormulaLandscape(
        peak_tokens_per_second=float(formula.peak_throughput),
        best_gpu_count=formula.best_gpu_count,
        best_batch_size=formula.best_batch_size,
        falloff_ratio=float(formula.falloff),
        largest_batch_per_gpu=formula.largest_batch_per_gpu,
    )


def _space(space: api.SearchSpace) -> SearchSpace:
    return SearchSpace(
        gpu_counts=tuple(sorted(space.gpu_count)),
        batch_sizes=tuple(sorted(space.batch_size)),
        extra=tuple(
            ExtraParameter(name=extra.name, values=tuple(parse_scalar(text) for text in extra.values))
            for extra in sorted(space.extra, key=lambda extra: extra.name)
        ),
    )


def _objective(objective: api.Objective, metrics: Sequence[ExtraMetric]) -> Objective:
    constraints = tuple(
        Constraint(metric=constraint.metric, maximum=_number(constraint.max), minimum=_number(constraint.min))
        for constraint in objective.constraints
    )
    powers = [metric.name for metric in metrics if metric.unit == "watts"]
    return Objective(
        metric=objective.metric,
        constraints=constraints,
        goal=objective.goal,
        power_metric=powers[0] if len(powers) == 1 else None,
        second_metric=objective.second_metric,
    )


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)


def _budget(budget: api.Budget) -> Budget:
    plateau = budget.plateau
    return Budget(
        max_trials=budget.max_trials,
        parallel_trials=budget.parallel_trials,
        max_concurrent_gpus=budget.max_concurrent_gpus,
        max_failed_trials=budget.max_failed_trials,
        max_gpu_hours=_number(budget.max_gpu_hours),
        deadline=None if budget.deadline is None else interval(budget.deadline),
        plateau=None
        if plateau is None
        else Plateau(
            trials=plateau.trials,
            improvement_ratio=float(plateau.improvement_percent) / 100,
            confidence=_number(plateau.confidence),
        ),
        confirm=budget.confirm,
    )


def _measurement(measurement: api.Measurement) -> MeasurementSpec:
    return MeasurementSpec(
        mode="adaptive" if measurement.mode == "Adaptive" else "full",
        warmup_batches=measurement.warmup_batches,
        repeats=measurement.repeats,
        min_repeat_seconds=seconds(measurement.min_duration),
        max_spread_ratio=float(measurement.max_spread),
        load_timeout_seconds=seconds(measurement.timeouts.load),
        measure_timeout_seconds=seconds(measurement.timeouts.measure),
    )


def _baseline(spec: api.StudySpec) -> Configuration | EngineDefault | None:
    declared = spec.baseline
    if declared is None or declared.gpu_count is None or declared.batch_size is None:
        return None if declared is None else declared.source
    return Configuration(gpu_count=declared.gpu_count, batch_size=declared.batch_size)
