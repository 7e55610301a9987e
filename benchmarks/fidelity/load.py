"""Load one engine for both harnesses, with a stopwatch as InfPop's clock."""

import os
import time
from dataclasses import dataclass
from typing import Any

from fidelity.stopwatch import Stopwatch, cpu_clock
from infpop_runner.contract import (
    BuiltinSource,
    EngineSpec,
    MeasurementSpec,
    ModelSpec,
    RunSpec,
    TrialSpec,
    WorkloadSpec,
)
from infpop_runner.engines import LoadRequest, find_loader
from infpop_runner.engines.environment import build_environment
from infpop_runner.measure import TextPrompts
from infpop_runner.workload import load_prompts

# A pass of each batch size takes half a CPU second to two (AMD EPYC, one thread).
SAMPLES = {1: 6, 8: 32, 32: 128}
ONE_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
LONGEST_TEXT = 240  # characters: prompts of up to about 100 ids, so that a pass is not all prefill


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An engine with its prompts, as texts and as ids, in the order of a pass."""

    engine: Any
    batch_size: int
    new_tokens: int
    stopwatch: Stopwatch
    texts: tuple[str, ...]

    @property
    def ids(self) -> list[tuple[int, ...]]:
        """The ids of a pass."""
        prompts: list[tuple[int, ...]] = self.engine._prompts.of_pass(self.batch_size)
        return prompts


def run_spec(engine: str, model: str, *, batch_size: int, new_tokens: int) -> RunSpec:
    """Return the run whose only trial is compared."""
    return RunSpec(
        study="fidelity",
        pool="cpu",
        round=1,
        run="fidelity",
        model=ModelSpec(name=model, dtype="float32"),
        engine=EngineSpec(name=engine, enforce_eager=True, max_num_batched_tokens=4096),
        workload=WorkloadSpec(source=BuiltinSource(), samples=SAMPLES[batch_size], max_new_tokens=new_tokens),
        device="cpu",
        gpu_count=1,
        trials=(TrialSpec(index=0, batch_size=batch_size),),
        measurement=MeasurementSpec(),
    )


def load(engine: str, model: str, *, batch_size: int, new_tokens: int) -> Loaded:
    """Load the engine with one thread and, if vLLM lets us, in one process.

    Threads and processes that wait for each other spin, which counts as CPU time. On a busy machine they wait long, and
    the CPU time of one pass then differs by a factor of two from the next.
    """
    spec = run_spec(engine, model, batch_size=batch_size, new_tokens=new_tokens)
    environment = build_environment(spec, current=os.environ, devices=(), cores=1)  # noqa: TID251 - an edge
    os.environ.update(environment | ONE_PROCESS)  # noqa: TID251 - an edge
    prompts = load_prompts(spec.workload, seed=spec.seed)
    if not isinstance(prompts, TextPrompts):
        raise TypeError("the built-in workload is text")
    # Different lengths stay: the shortest prompt keeps half of what the longest has.
    count = len(prompts.texts)
    texts = tuple(
        text[: LONGEST_TEXT // 2 + LONGEST_TEXT // 2 * number // count] for number, text in enumerate(prompts.texts)
    )
    stopwatch = Stopwatch(wall=time.perf_counter, cpu=cpu_clock((os.getpid(),)))
    request = LoadRequest(
        spec=spec,
        prompts=TextPrompts(texts=texts, workload_hash=prompts.workload_hash),
        batch_sizes=(batch_size,),
        clock=stopwatch.perf_counter,
        wait=time.sleep,
        memory_used_bytes=lambda: None,
    )
    return Loaded(
        engine=find_loader(engine)(request),
        batch_size=batch_size,
        new_tokens=new_tokens,
        stopwatch=stopwatch,
        texts=texts,
    )
