"""InfPop's pipeline and a plain loop around one transformers model whose `generate` takes a known time."""

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from fidelity.sides import Side, plain_loop_side
from fidelity.stand_in import (
    PROMPT_TOKEN_SECONDS,
    SEQUENCE_SECONDS,
    STEP_SECONDS,
    FakeClock,
    stand_in_prompts,
    stand_in_request,
)
from fidelity.stopwatch import Stopwatch
from infpop_runner.contract import RunSpec
from infpop_runner.engines import tiny_model
from infpop_runner.engines.hf_pipeline import HfPipelineEngine, IdPipeline

SMALL = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
}


class StandInModel(LlamaForCausalLM):  # type: ignore[misc]
    """Generates id 1 only; each position of the padded input and each step of each row takes a known time."""

    fake_clock: FakeClock

    def generate(self, input_ids: Any, *, max_new_tokens: int = 0, **_: object) -> Any:  # noqa: ANN401 - tensors
        """Advance the clock and return the input followed by `max_new_tokens` ids."""
        rows, length = input_ids.shape
        step = STEP_SECONDS + SEQUENCE_SECONDS * rows
        self.fake_clock.now += PROMPT_TOKEN_SECONDS * rows * length + step * max_new_tokens
        return torch.cat([input_ids, torch.ones((rows, max_new_tokens), dtype=input_ids.dtype)], dim=1)


def make_sides(spec: RunSpec, batch_size: int, clock: FakeClock, stopwatch: Stopwatch) -> tuple[Any, Side]:
    """Return InfPop's pipeline and the plain loop, both on the same stand-in."""
    tokenizer = tiny_model._tokenizer()
    tokenizer.padding_side, tokenizer.pad_token = "left", tokenizer.eos_token
    model = StandInModel(LlamaConfig(vocab_size=len(tokenizer), **SMALL))
    model.fake_clock = clock
    pipe = IdPipeline(model=model, tokenizer=tokenizer, task="text-generation", device="cpu")
    pipe.clock = stopwatch.perf_counter
    prompts = stand_in_prompts(len(tokenizer))
    engine = HfPipelineEngine(pipe, stand_in_request(spec, batch_size, stopwatch.perf_counter), prompts)
    reference = plain_loop_side(
        model,
        tokenizer,
        sorted(prompts.of_pass(batch_size), key=len, reverse=True),
        batch_size=batch_size,
        new_tokens=spec.workload.max_new_tokens,
        stopwatch=stopwatch,
    )
    return engine, reference
