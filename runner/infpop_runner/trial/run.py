"""Execute one run: load once, measure in the order of the spec, record each outcome immediately.

If a load does not fit into memory, only its largest batch is infeasible, and the load is tried again with the rest.
After a batch that does not fit, larger ones are left out, and smaller ones go on where the engine survives. Any other
refusal applies to all remaining batches; only a replayed landscape refuses single batches. A trial that is not
worthwhile, or that the engine does not live to see, is skipped (`infpop_runner.trial.skipping`). Every other failure
ends the run with its reason. So the result lacks a trial only if a smaller batch ran out of memory, or `broken` says
why. In the end, with everything freed, the run may be held for a scrape.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Literal

from infpop_runner.contract import (
    Broken,
    Infeasible,
    Invalid,
    Measured,
    MeasurementSpec,
    ModelFacts,
    RacedOut,
    RunSpec,
    Skipped,
    TrialResult,
    TrialSpec,
)
from infpop_runner.engines import SIZED_BY_BATCH, Engine, LoadRequest, find_loader
from infpop_runner.engines.errors import EngineBrokenError
from infpop_runner.engines.failures import Failed, Phase, Refused, classify_exception
from infpop_runner.measure import (
    AdaptivePlan,
    PassOutcome,
    Prompts,
    TrialActions,
    TrialReport,
    measure_adaptively,
    measure_trial,
    round_significant,
)
from infpop_runner.process import end_children
from infpop_runner.trial.environment import Environment
from infpop_runner.trial.hold import hold_for_scrape
from infpop_runner.trial.skipping import why_not_worthwhile, why_unreachable
from infpop_runner.workload import WorkloadError, load_prompts

GRACE_SECONDS = 0.5  # time for an engine's processes to end by themselves; they have nothing left to save
FOREIGN_BYTES = 2 << 30  # more in use before a load belongs to another process; an idle driver or a display takes less
CLEAN_SECONDS = 10.0  # time for the driver to free the memory of processes that have just ended
POLL_SECONDS = 0.25
AFTER_LARGER = "AfterLargerBatch"  # why the memory of a batch is not known: the peak is a larger one's
CLOSE_SECONDS = 30.0  # after this the guard ends the process; the result is complete by then


def execute_run(spec: RunSpec, environment: Environment) -> None:
    """Execute the run, close its journal and hold it. Exceptions of engine and workload end up in the result."""
    failed: Failed | None = None
    remaining = list(spec.trials)
    engine: Engine | None = None
    while remaining and failed is None and engine is None:
        match _load(spec, remaining, environment):
            case Refused() as refused:
                _give_up(remaining, refused, environment)
            case Failed() as failure:
                failed = failure
            case loaded:
                engine = loaded
    if engine is not None:
        failed = _measure_all(spec, remaining, engine, environment)
    environment.metrics.enter("done")
    environment.scrapes.values_are_final()
    environment.journal.close(None if failed is None else _broken(failed))
    if engine is not None:
        _close(engine, environment)
    hold_for_scrape(spec, environment)


def _broken(failed: Failed) -> Broken:
    return Broken(reason=failed.reason, detail=failed.detail, retry=failed.retry)


def _load(spec: RunSpec, trials: Sequence[TrialSpec], environment: Environment) -> Engine | Refused | Failed:
    """Return the engine, dimensioned for the largest of `trials`, or why it cannot be loaded."""
    mark = environment.output.mark()
    start = environment.clock()
    try:
        with environment.guard.phase("LoadTimeout", spec.measurement.load_timeout_seconds):
            _check_devices(spec, environment)
            prompts = _prompts(spec, environment)
            engine = find_loader(spec.engine.name)(_load_request(spec, prompts, trials, environment))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - libraries raise anything; `failures` classifies it
        outcome = _classify(error, spec, environment, mark, "load")
        end_children(grace_seconds=GRACE_SECONDS)
        if isinstance(outcome, Refused) and spec.engine.name not in SIZED_BY_BATCH:
            return replace(outcome, largest_only=False)
        return outcome
    _note_load(engine, round_significant(environment.clock() - start), environment)
    return engine


def _check_devices(spec: RunSpec, environment: Environment) -> None:
    if spec.device == "cpu":
        return
    if len(environment.devices) < spec.gpu_count:
        raise EngineBrokenError(
            "GpuMissing", f"gpu_count is {spec.gpu_count}, but {len(environment.devices)} devices are visible"
        )
    deadline = environment.clock() + CLEAN_SECONDS
    while (used := environment.memory_used_bytes() or 0) > FOREIGN_BYTES:
        if environment.clock() >= deadline:
            raise EngineBrokenError("GpuNotClean", f"{used} bytes of a device are in use before anything is loaded")
        environment.wait(POLL_SECONDS)


def _prompts(spec: RunSpec, environment: Environment) -> Prompts:
    try:
        prompts = load_prompts(spec.workload, seed=spec.seed)
    except WorkloadError as error:
        raise EngineBrokenError("WorkloadUnavailable", str(error)) from error
    environment.journal.note_provenance(workload_hash=prompts.workload_hash)
    return prompts


def _load_request(
    spec: RunSpec, prompts: Prompts, trials: Sequence[TrialSpec], environment: Environment
) -> LoadRequest:
    return LoadRequest(
        spec=spec,
        prompts=prompts,
        batch_sizes=tuple(sorted(trial.batch_size for trial in trials)),
        clock=environment.clock,
        wait=environment.wait,
        memory_used_bytes=environment.memory_used_bytes,
    )


def _note_load(engine: Engine, load_seconds: float, environment: Environment) -> None:
    about = engine.about
    tokens = about.prompt_tokens_mean
    environment.journal.note_provenance(
        engine_version=about.version,
        torch_version=about.torch_version,
        engine_args=dict(about.engine_args),
        device_mode=about.device_mode,
        prompt_tokens_mean=None if tokens is None else round_significant(tokens),
    )
    environment.journal.note(load_seconds=load_seconds, model=about.model)
    environment.metrics.loaded(
        load_seconds, _info(environment.journal.result.provenance.engine, about.version, about.model)
    )


def _info(engine: str, version: str | None, model: ModelFacts | None) -> dict[str, str]:
    parameters = None if model is None else model.parameters
    return {
        "engine": engine,
        "engine_version": "unknown" if version is None else version,
        "parameters": "unknown" if parameters is None else str(parameters),
    }


def _give_up(remaining: list[TrialSpec], refused: Refused, environment: Environment) -> None:
    """Record the meaning of a refused load: its largest trial is infeasible, or all of them are."""
    largest = max(remaining, key=lambda trial: trial.batch_size)
    hopeless = [largest] if refused.largest_only else list(remaining)
    for trial in hopeless:
        remaining.remove(trial)
        _note_infeasible(trial, refused, "load", environment)


def _note_infeasible(trial: TrialSpec, refused: Refused, phase: Phase, environment: Environment) -> None:
    batch_size, reason, detail = trial.batch_size, refused.reason, refused.detail
    _note(Infeasible(index=trial.index, batch_size=batch_size, reason=reason, detail=detail, phase=phase), environment)


def _skip(trial: TrialSpec, detail: str, environment: Environment) -> None:
    _note(Skipped(index=trial.index, batch_size=trial.batch_size, detail=detail), environment)


def _note(result: TrialResult, environment: Environment) -> None:
    environment.journal.add(result)
    environment.metrics.trial_ended(result)


def _measure_all(spec: RunSpec, trials: Sequence[TrialSpec], engine: Engine, environment: Environment) -> Failed | None:
    remaining, largest = list(trials), 0
    while remaining:
        trial = remaining.pop(0)
        if (why := why_not_worthwhile(trial, environment.journal.result.trials)) is not None:
            _skip(trial, why, environment)
            continue
        shows_peak = trial.batch_size >= largest or _clears_memory(engine)
        largest = max(largest, trial.batch_size)
        match _measure(spec, trial, engine, environment, shows_peak=shows_peak):
            case Failed() as failed:
                return failed
            case Refused(reason="NotRecorded") as refused:
                _note_infeasible(trial, refused, "measure", environment)
            case Refused(reason="GpuOutOfMemory") as refused:
                _note_infeasible(trial, refused, "measure", environment)
                remaining = _after_out_of_memory(trial, remaining, engine, environment)
            case Refused() as refused:
                for hopeless in (trial, *remaining):
                    _note_infeasible(hopeless, refused, "measure", environment)
                return None
            case result:
                _note(result, environment)
    return None


def _after_out_of_memory(
    failed: TrialSpec, remaining: Sequence[TrialSpec], engine: Engine, environment: Environment
) -> list[TrialSpec]:
    """Return the trials that may still be measured: smaller ones, if the engine has survived."""
    smaller = [trial for trial in remaining if trial.batch_size < failed.batch_size]
    if not smaller or _clears_memory(engine):
        return smaller
    for trial in smaller:
        _skip(trial, why_unreachable(failed.batch_size), environment)
    return []


def _clears_memory(engine: Engine) -> bool:
    """Return whether the engine could free what earlier batches left; an error says the same as its own no."""
    try:
        return engine.clear_memory()
    except Exception:  # noqa: BLE001 - a device that has failed raises anything; the next batch shows the cause
        return False


def _measure(
    spec: RunSpec, trial: TrialSpec, engine: Engine, environment: Environment, *, shows_peak: bool
) -> Measured | RacedOut | Invalid | Refused | Failed:
    mark = environment.output.mark()
    try:
        with environment.guard.phase("MeasureTimeout", spec.measurement.measure_timeout_seconds):
            report = _report(spec, engine, environment, shows_peak=shows_peak)
            actions = _actions(spec, trial, engine, environment)
            if spec.measurement.mode == "adaptive":
                return measure_adaptively(trial, _rules(spec), _plan(spec, trial, engine), report, actions)
            return measure_trial(trial, _rules(spec), report, actions)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
        return _classify(error, spec, environment, mark, "measure")


def _rules(spec: RunSpec) -> MeasurementSpec:
    """Return the run's measurement rules; a replayed pass has no minimum duration."""
    if spec.engine.name == "simulated":
        return spec.measurement.model_copy(update={"min_repeat_seconds": 0.0})
    return spec.measurement


def _plan(spec: RunSpec, trial: TrialSpec, engine: Engine) -> AdaptivePlan:
    """Return the sizes of an adaptive measurement; that of a replayed landscape counts the seconds that it reports."""
    plan = AdaptivePlan.of(
        spec.measurement,
        samples=spec.workload.samples,
        batch_size=trial.batch_size,
        new_tokens=spec.workload.max_new_tokens,
        fewest_batches=engine.about.fewest_batches,
    )
    return replace(plan, to_beat_tokens_per_second=spec.to_beat_tokens_per_second)


def _report(spec: RunSpec, engine: Engine, environment: Environment, *, shows_peak: bool) -> TrialReport:
    """Return the facts that complete the numbers of a trial; `shows_peak`: the engine's memory peak is its own."""
    reasons = engine.about.missing_reasons
    hides_peak = not shows_peak and engine.memory_peak_bytes() is not None
    return TrialReport(
        max_new_tokens=spec.workload.max_new_tokens,
        memory_peak_bytes=(lambda: None) if hides_peak else engine.memory_peak_bytes,
        missing_reasons={**reasons, "gpu_memory_peak_bytes": AFTER_LARGER} if hides_peak else reasons,
        cpu_limit=environment.cpu_limit,
    )


def _throttled_seconds(spec: RunSpec, environment: Environment) -> Callable[[], float | None]:
    """Return the function that reads the throttled time; it returns None if throttling is irrelevant.

    On CPU devices the CPU limit is part of what is measured, and a replayed pass does not run on this machine.
    """
    if spec.device == "cpu" or spec.engine.name == "simulated":
        return lambda: None
    return environment.throttled_seconds


def _actions(spec: RunSpec, trial: TrialSpec, engine: Engine, environment: Environment) -> TrialActions:
    def show(state: Literal["warm-up", "measuring"]) -> None:
        environment.metrics.enter(state)
        environment.metrics.enter_trial(trial, state)

    def warm_up() -> None:
        show("warm-up")
        engine.warm_up(trial.batch_size)
        show("measuring")

    def observe(outcome: PassOutcome) -> None:
        environment.metrics.observe_pass(trial, outcome)

    return TrialActions(
        warm_up=warm_up,
        run_pass=lambda: engine.run_pass(trial.batch_size),
        run_block=lambda first, batches: engine.run_block(trial.batch_size, first, batches),
        observe=observe,
        clock=environment.clock,
        throttled_seconds=_throttled_seconds(spec, environment),
    )


def _classify(
    error: BaseException, spec: RunSpec, environment: Environment, mark: int, phase: Phase
) -> Refused | Failed:
    return classify_exception(error, log_tail=environment.output.text_since(mark), device=spec.device, phase=phase)


def _close(engine: Engine, environment: Environment) -> None:
    """Free everything. An error here changes no number, and the children are ended in any case."""
    with environment.guard.phase("MeasureTimeout", CLOSE_SECONDS), suppress(Exception):
        engine.close()
    end_children(grace_seconds=GRACE_SECONDS)
