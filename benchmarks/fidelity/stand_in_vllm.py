"""InfPop's vLLM engine and vLLM's own benchmark around one stand-in `LLM`."""

from typing import Any

import torch
from transformers import LlamaConfig

from fidelity.sides import Side, vllm_bench_side
from fidelity.stand_in import FakeClock, StandInLLM, stand_in_prompts, stand_in_request
from fidelity.stopwatch import Stopwatch
from infpop_runner.contract import RunSpec
from infpop_runner.engines.vllm_offline import VllmEngine

VOCABULARY = 100


def make_sides(spec: RunSpec, batch_size: int, clock: FakeClock, stopwatch: Stopwatch) -> tuple[Any, Side]:
    """Return InfPop's engine and the timed function of `vllm bench throughput`, both on the same stand-in."""
    llm = StandInLLM(clock, batch_size, hf_config=LlamaConfig(), dtype=torch.float32)
    prompts = stand_in_prompts(VOCABULARY)
    engine = VllmEngine(llm, stand_in_request(spec, batch_size, stopwatch.perf_counter), prompts, {})
    ids = prompts.of_pass(batch_size)
    return engine, vllm_bench_side(llm, ids, new_tokens=spec.workload.max_new_tokens, stopwatch=stopwatch)
