"""Both harnesses on engines with known step times: what remains of a difference is their arithmetic.

InfPop's side is the whole measurement of a trial, from warm-up to the median of three repeats. Either side's clock is
the stand-in's.
"""

from collections.abc import Callable
from importlib import import_module

from fidelity.stand_in import FakeClock
from fidelity.stopwatch import Stopwatch
from infpop_runner.contract import MeasurementSpec, RunSpec, TrialSpec
from infpop_runner.engines import Engine
from infpop_runner.measure import TrialActions, TrialReport, measure_trial

STAND_INS = {"vllm": "fidelity.stand_in_vllm", "hf-pipeline": "fidelity.stand_in_pipeline"}


def compare_arithmetic(spec: RunSpec, batch_size: int) -> dict[str, float]:
    """Return the tokens per second of both sides on the stand-in of the spec's engine, and their ratio."""
    clock = FakeClock()
    stopwatch = Stopwatch(wall=clock, cpu=clock)
    make_sides = import_module(STAND_INS[spec.engine.name]).make_sides
    engine, reference = make_sides(spec, batch_size, clock, stopwatch)
    ours = measure(engine, spec, batch_size, clock)
    stopwatch.readings.clear()
    tokens = reference()
    theirs = tokens / stopwatch.take()[0]
    return {"infpop": ours, "reference": theirs, "ratio": ours / theirs}


def measure(engine: Engine, spec: RunSpec, batch_size: int, clock: Callable[[], float]) -> float:
    """Return the throughput of a whole trial: warm-up, three repeats, validation.

    Raises:
        RuntimeError: the trial has no number.
    """
    rules = MeasurementSpec(repeats=3, min_repeat_seconds=0)
    actions = TrialActions(
        warm_up=lambda: engine.warm_up(batch_size),
        run_pass=lambda: engine.run_pass(batch_size),
        run_block=lambda first, batches: engine.run_block(batch_size, first, batches),
        observe=lambda _: None,
        clock=clock,
        throttled_seconds=lambda: None,
    )
    report = TrialReport(
        max_new_tokens=spec.workload.max_new_tokens,
        memory_peak_bytes=lambda: None,
        missing_reasons=engine.about.missing_reasons,
    )
    result = measure_trial(TrialSpec(index=0, batch_size=batch_size), rules, report, actions)
    if result.outcome != "measured":
        raise RuntimeError(f"no number: {result}")
    return result.throughput_tokens_per_second
