"""Engines with known step times on a clock that only they advance: they leave nothing but a harness's arithmetic.

`StandInLLM` answers as vLLM's `LLM` does, and batches continuously; `stand_in_pipeline` has a model for transformers.
What a harness reports must be the tokens divided by the known time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from infpop_runner.contract import RunSpec
from infpop_runner.engines import LoadRequest
from infpop_runner.engines.prompt_set import PromptSet
from infpop_runner.measure import SyntheticPrompts, Vocabulary

STEP_SECONDS, SEQUENCE_SECONDS, PROMPT_TOKEN_SECONDS = 0.02, 0.003, 0.0001  # any known times would do
LENGTHS = (3, 40, 7, 19, 88, 5, 61, 33, 12, 27, 9)  # prompts of different lengths, and no multiple of a batch


@dataclass
class FakeClock:
    """A clock that stands still until its owner advances it."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


@dataclass
class _Running:
    left: int
    scheduled: float


@dataclass
class StandInLLM:
    """Continuous batching with known step times: at most `max_num_seqs` sequences, one id of each in a step."""

    clock: FakeClock
    max_num_seqs: int
    hf_config: Any = None
    dtype: Any = None
    llm_engine: Any = field(init=False)

    def __post_init__(self) -> None:
        """Offer the configuration where vLLM has it."""
        model_config = SimpleNamespace(hf_config=self.hf_config, dtype=self.dtype)
        self.llm_engine = SimpleNamespace(vllm_config=SimpleNamespace(model_config=model_config))

    def generate(self, prompts: Sequence[Any], sampling_params: Any, **_: object) -> list[Any]:  # noqa: ANN401
        """Advance the clock as long as these prompts take, and return outputs as vLLM does."""
        each = sampling_params if isinstance(sampling_params, list) else [sampling_params] * len(prompts)
        waiting, running, outputs = list(range(len(prompts))), {}, {}
        while waiting or running:
            started = self.clock.now
            admitted = [waiting.pop(0) for _ in range(min(len(waiting), self.max_num_seqs - len(running)))]
            running |= {number: _Running(each[number].max_tokens, started) for number in admitted}
            read = sum(len(prompts[number]["prompt_token_ids"]) for number in admitted)
            self.clock.now += STEP_SECONDS + SEQUENCE_SECONDS * len(running) + PROMPT_TOKEN_SECONDS * read
            for number, sequence in list(running.items()):
                sequence.left -= 1
                if not sequence.left:
                    outputs[number] = self._output(each[number].max_tokens, running.pop(number).scheduled)
        return [outputs[number] for number in range(len(prompts))]

    def get_metrics(self) -> list[Any]:
        """Return the counters that InfPop reads, at zero."""
        return [SimpleNamespace(name=f"vllm:{name}", value=0) for name in ("num_preemptions", "prefix_cache_hits")]

    def _output(self, tokens: int, scheduled: float) -> Any:  # noqa: ANN401 - vLLM's shape
        times = SimpleNamespace(scheduled_ts=scheduled, last_token_ts=self.clock.now)
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=[1] * tokens)], metrics=times)


def stand_in_prompts(vocabulary: int) -> PromptSet:
    """Return prompts of different lengths."""
    distinct = tuple(tuple(range(length)) for length in LENGTHS)
    return PromptSet(distinct=distinct, vocabulary=Vocabulary(size=vocabulary, special_ids=frozenset()), seed=0)


def stand_in_request(spec: RunSpec, batch_size: int, clock: Callable[[], float]) -> LoadRequest:
    """Return the request of a load that happens nowhere; its prompts are those of `stand_in_prompts`."""
    return LoadRequest(
        spec=spec,
        prompts=SyntheticPrompts(samples=1, prompt_tokens=1, seed=0, workload_hash="none"),
        batch_sizes=(batch_size,),
        clock=clock,
        wait=lambda _: None,
        memory_used_bytes=lambda: None,
    )
