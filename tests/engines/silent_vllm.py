"""InfPop's vLLM engine around an `LLM` that reports little: prints the outcome of a pass.

A program of its own, because vLLM changes the environment and the logging of the process that imports it.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from engines.specs import make_run_spec
from infpop_runner.engines import LoadRequest
from infpop_runner.engines.errors import EngineBrokenError
from infpop_runner.engines.prompt_set import PromptSet
from infpop_runner.engines.vllm_offline import VllmEngine
from infpop_runner.engines.vllm_readings import CACHE_HITS, PREEMPTIONS
from infpop_runner.measure import SyntheticPrompts, Vocabulary

ALONE: dict[str, str] = {}
SHARED = {"scheduler_cls": "ours"}


@dataclass(frozen=True)
class Counter:
    """A metric at zero."""

    name: str
    value: int = 0


def make_engine(args: dict[str, str], *counters: str) -> VllmEngine:
    """Return the engine around a fake `LLM` that has these counters and reports nothing about its requests."""

    def generate(inputs: list[object], sampling: Any, *, use_tqdm: bool) -> list[SimpleNamespace]:  # noqa: ANN401 - vLLM has no types
        assert not use_tqdm
        ids = [1] * sampling.max_tokens
        return [SimpleNamespace(metrics=None, outputs=[SimpleNamespace(token_ids=ids)]) for _ in inputs]

    model = SimpleNamespace(hf_config=SimpleNamespace(get_text_config=SimpleNamespace), dtype=None)
    llm = SimpleNamespace(
        llm_engine=SimpleNamespace(vllm_config=SimpleNamespace(model_config=model)),
        generate=generate,
        get_metrics=lambda: [Counter(name, 0) for name in counters],
    )
    spec = make_run_spec()
    request = LoadRequest(
        spec=spec,
        prompts=SyntheticPrompts(samples=4, prompt_tokens=1, seed=0, workload_hash=""),
        batch_sizes=(4,),
        clock=lambda: 0.0,
        wait=lambda _: None,
        memory_used_bytes=lambda: None,
    )
    prompts = PromptSet(distinct=((1,), (2,)), vocabulary=Vocabulary(size=9, special_ids=frozenset()), seed=0)
    return VllmEngine(llm, request, prompts, args)


def outcome(args: dict[str, str], *counters: str) -> str:
    """Return the outcome of a pass."""
    try:
        return f"a pass of {len(make_engine(args, *counters).run_pass(4).generated)} sequences"
    except EngineBrokenError as error:
        return f"{error.reason}: {error}"


if __name__ == "__main__":
    for each in (
        outcome(ALONE, PREEMPTIONS, CACHE_HITS),
        outcome(ALONE, CACHE_HITS),
        outcome(ALONE, PREEMPTIONS),
        outcome(SHARED, PREEMPTIONS, CACHE_HITS),
    ):
        sys.stdout.write(f"{each}\n")
