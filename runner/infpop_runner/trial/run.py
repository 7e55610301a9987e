"""Carry out one run: load once, measure in ascending batch order, note each outcome as it comes.

A load that does not fit into memory costs only its largest batch and is tried again with the rest. Measuring stops
climbing at the first batch that does not fit. Any other refusal holds for all batches that are left; only a replayed
landscape has holes of one batch. Everything else that fails ends the run with its class. So a trial is missing only
above an out-of-memory one, or `broken` says why. When all is over and freed, the run may be held to be scraped.
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
    RunSpec,
    TrialSpec,
)
from infpop_runner.engines import SIZED_BY_BATCH, Engine, LoadRequest, find_loader
from infpop_runner.engines.errors import EngineBrokenError
from infpop_runner.engines.failures import Failed, Phase, Refused, classify_exception
from infpop_runner.measure import PassOutcome, Prompts, TrialActions, TrialReport, measure_trial, round_significant
from infpop_runner.process import end_children
from infpop_runner.trial.environment import Environment
from infpop_runner.trial.hold import hold_for_scrape
from infpop_runner.workload import WorkloadError, load_prompts

GRACE_SECONDS = 0.5  # what an engine's processes get to end by themselves; nothing of theirs is worth waiting for
FOREIGN_BYTES = 2 << 30  # more in use before a load is somebody else's; an idle driver or a display takes less
CLEAN_SECONDS = 10.0  # what the driver gets to free the memory of processes that have just ended
LOOK_SECONDS = 0.25
CLOSE_SECONDS = 30.0  # beyond it the guard ends the process; the result is complete by then


def execute_run(spec: RunSpec, around: Environment) -> None:
    """Do the run, close its journal and hold it. Raises nothing that an engine or a workload may raise."""
    failed: Failed | None = None
    remaining = list(spec.trials)
    engine: Engine | None = None
    while remaining and failed is None and engine is None:
        match _load(spec, remaining, around):
            case Refused() as refused:
                _give_up(remaining, refused, around)
            case Failed() as failure:
                failed = failure
            case loaded:
                engine = loaded
    if engine is not None:
        failed = _measure_all(spec, remaining, engine, around)
    around.metrics.enter("done")
    around.scrapes.values_are_final()
    around.journal.close(None if failed is None else Broken(reason=failed.reason, detail=failed.detail))
    if engine is not None:
        _close(engine, around)
    hold_for_scrape(spec, around)


def _load(spec: RunSpec, trials: Sequence[TrialSpec], around: Environment) -> Engine | Refused | Failed:
    """Return the engine, dimensioned for the largest of `trials`, or why there is none."""
    mark = around.output.mark()
    start = around.clock()
    try:
        with around.guard.phase("LoadTimeout", spec.measurement.load_timeout_seconds):
            _check_devices(spec, around)
            prompts = _prompts(spec, around)
            engine = find_loader(spec.engine.name)(_load_request(spec, prompts, trials, around))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - libraries raise anything; the table of failures sorts it
        outcome = _classify(error, spec, around, mark, "load")
        end_children(grace_seconds=GRACE_SECONDS)
        if isinstance(outcome, Refused) and spec.engine.name not in SIZED_BY_BATCH:
            return replace(outcome, largest_only=False)
        return outcome
    _note_load(engine, round_significant(around.clock() - start), around)
    return engine


def _check_devices(spec: RunSpec, around: Environment) -> None:
    if spec.device == "cpu":
        return
    if len(around.devices) < spec.gpu_count:
        raise EngineBrokenError(
            "GpuMissing", f"gpu_count is {spec.gpu_count}, but {len(around.devices)} devices are visible"
        )
    deadline = around.clock() + CLEAN_SECONDS
    while (used := around.memory_used_bytes() or 0) > FOREIGN_BYTES:
        if around.clock() >= deadline:
            raise EngineBrokenError("GpuNotClean", f"{used} bytes of a device are in use before anything is loaded")
        around.wait(LOOK_SECONDS)


def _prompts(spec: RunSpec, around: Environment) -> Prompts:
    try:
        prompts = load_prompts(spec.workload, seed=spec.seed)
    except WorkloadError as error:
        raise EngineBrokenError("WorkloadUnavailable", str(error)) from error
    around.journal.note_provenance(workload_hash=prompts.workload_hash)
    return prompts


def _load_request(spec: RunSpec, prompts: Prompts, trials: Sequence[TrialSpec], around: Environment) -> LoadRequest:
    return LoadRequest(
        spec=spec,
        prompts=prompts,
        batch_sizes=tuple(trial.batch_size for trial in trials),
        clock=around.clock,
        wait=around.wait,
        memory_used_bytes=around.memory_used_bytes,
    )


def _note_load(engine: Engine, load_seconds: float, around: Environment) -> None:
    about = engine.about
    tokens = about.prompt_tokens_mean
    around.journal.note_provenance(
        engine_version=about.version,
        torch_version=about.torch_version,
        engine_args=dict(about.engine_args),
        device_mode=about.device_mode,
        prompt_tokens_mean=None if tokens is None else round_significant(tokens),
    )
    around.journal.note(load_seconds=load_seconds, model=about.model)
    around.metrics.loaded(load_seconds, _info(around.journal.result.provenance.engine, about.version, about.model))


def _info(engine: str, version: str | None, model: ModelFacts | None) -> dict[str, str]:
    parameters = None if model is None else model.parameters
    return {
        "engine": engine,
        "engine_version": "unknown" if version is None else version,
        "parameters": "unknown" if parameters is None else str(parameters),
    }


def _give_up(remaining: list[TrialSpec], refused: Refused, around: Environment) -> None:
    """Note what a refused load means: its largest trial is infeasible, or all of them are."""
    hopeless = [remaining[-1]] if refused.largest_only else list(remaining)
    for trial in hopeless:
        remaining.remove(trial)
        _note_infeasible(trial, refused, around)


def _note_infeasible(trial: TrialSpec, refused: Refused, around: Environment) -> None:
    _note(
        Infeasible(index=trial.index, batch_size=trial.batch_size, reason=refused.reason, detail=refused.detail),
        around,
    )


def _note(result: Measured | Invalid | Infeasible, around: Environment) -> None:
    around.journal.add(result)
    around.metrics.trial_ended(result)


def _measure_all(spec: RunSpec, trials: Sequence[TrialSpec], engine: Engine, around: Environment) -> Failed | None:
    for position, trial in enumerate(trials):
        match _measure(spec, trial, engine, around):
            case Failed() as failed:
                return failed
            case Refused(reason="NotRecorded") as refused:
                _note_infeasible(trial, refused, around)
            case Refused(reason="GpuOutOfMemory") as refused:
                _note_infeasible(trial, refused, around)
                return None
            case Refused() as refused:
                for hopeless in trials[position:]:
                    _note_infeasible(hopeless, refused, around)
                return None
            case result:
                _note(result, around)
    return None


def _measure(
    spec: RunSpec, trial: TrialSpec, engine: Engine, around: Environment
) -> Measured | Invalid | Refused | Failed:
    mark = around.output.mark()
    try:
        with around.guard.phase("MeasureTimeout", spec.measurement.measure_timeout_seconds):
            return measure_trial(
                trial, _rules(spec), _report(spec, engine, around), _actions(spec, trial, engine, around)
            )
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
        return _classify(error, spec, around, mark, "measure")


def _rules(spec: RunSpec) -> MeasurementSpec:
    """Return the run's rules; a replayed pass has no duration that could be too short."""
    if spec.engine.name == "simulated":
        return spec.measurement.model_copy(update={"min_repeat_seconds": 0.0})
    return spec.measurement


def _report(spec: RunSpec, engine: Engine, around: Environment) -> TrialReport:
    return TrialReport(
        max_new_tokens=spec.workload.max_new_tokens,
        memory_peak_bytes=engine.memory_peak_bytes,
        missing_reasons=engine.about.missing_reasons,
        cpu_limit=around.cpu_limit,
    )


def _throttled_seconds(spec: RunSpec, around: Environment) -> Callable[[], float | None]:
    """Return what tells of throttling where that spoils a number.

    Where the devices are CPUs their limit is what is measured, and a replayed pass is none of this machine's.
    """
    if spec.device == "cpu" or spec.engine.name == "simulated":
        return lambda: None
    return around.throttled_seconds


def _actions(spec: RunSpec, trial: TrialSpec, engine: Engine, around: Environment) -> TrialActions:
    def show(state: Literal["warm-up", "measuring"]) -> None:
        around.metrics.enter(state)
        around.metrics.enter_trial(trial, state)

    def warm_up() -> None:
        show("warm-up")
        engine.warm_up(trial.batch_size)
        show("measuring")

    def observe(outcome: PassOutcome) -> None:
        around.metrics.observe_pass(trial, outcome)

    return TrialActions(
        warm_up=warm_up,
        run_pass=lambda: engine.run_pass(trial.batch_size),
        observe=observe,
        clock=around.clock,
        throttled_seconds=_throttled_seconds(spec, around),
    )


def _classify(error: BaseException, spec: RunSpec, around: Environment, mark: int, phase: Phase) -> Refused | Failed:
    return classify_exception(error, log_tail=around.output.text_since(mark), device=spec.device, phase=phase)


def _close(engine: Engine, around: Environment) -> None:
    """Free everything. What goes wrong here changes no number, and the children are ended in any case."""
    with around.guard.phase("MeasureTimeout", CLOSE_SECONDS), suppress(Exception):
        engine.close()
    end_children(grace_seconds=GRACE_SECONDS)
