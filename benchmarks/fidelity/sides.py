"""The harnesses that are compared, each as a function that runs one pass and returns its number of tokens.

All sides read the same stopwatch where their own timed part starts and ends. The reference for vLLM is the timed
function of `vllm bench throughput` itself, called with token ids. It samples at temperature 1 and draws a progress bar,
which cannot be switched off from outside; a `Change` replaces what it calls, to see what each part costs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any
from unittest.mock import patch

from fidelity.stopwatch import Stopwatch

Side = Callable[[], int]
Ids = Sequence[Sequence[int]]


def infpop_side(engine: Any, batch_size: int) -> Side:  # noqa: ANN401 - either engine of InfPop
    """Return InfPop's own pass. The engine was loaded with the stopwatch as its clock."""
    return lambda: sum(engine.run_pass(batch_size).generated)


def vllm_bench_side(
    llm: Any,  # noqa: ANN401 - vLLM has no types
    prompts: Ids | Sequence[str],
    *,
    new_tokens: int,
    stopwatch: Stopwatch,
    detokenise: bool = False,
) -> Side:
    """Return the timed function of `vllm bench throughput` on this `LLM`.

    Args:
        llm: the loaded engine.
        prompts: ids, or texts that the timed part turns into ids.
        new_tokens: ids of each output.
        stopwatch: takes the place of the module `time` in vLLM's module.
        detokenise: whether outputs become text, as without `--disable-detokenize`.
    """
    throughput = import_module("vllm.benchmarks.throughput")
    requests = [
        throughput.SampleRequest(
            prompt=prompt if isinstance(prompt, str) else {"prompt_token_ids": list(prompt)},
            prompt_len=len(prompt),
            expected_output_len=new_tokens,
        )
        for prompt in prompts
    ]
    options = {"do_profile": False, "prequeue_requests": False, "enable_lora": False}

    def run() -> int:
        with patch.object(throughput, "time", stopwatch):
            _, outputs = throughput._run_vllm_requests(llm, requests, n=1, disable_detokenize=not detokenise, **options)
        return sum(len(each.token_ids) for output in outputs for each in output.outputs)

    return run


class Quiet:
    """An `LLM` without the progress bar that the timed function asks for."""

    def __init__(self, llm: Any) -> None:  # noqa: ANN401 - vLLM has no types
        self._llm = llm

    def generate(self, *args: Any, use_tqdm: bool, **options: Any) -> Any:  # noqa: ANN401, ARG002
        """Generate as the `LLM` does, without the bar."""
        return self._llm.generate(*args, use_tqdm=False, **options)


@contextmanager
def sampling(**changes: object) -> Iterator[None]:
    """Change the sampling parameters that the timed function of `vllm bench throughput` makes for its requests."""
    vllm = import_module("vllm")
    made = vllm.SamplingParams
    with patch.object(vllm, "SamplingParams", lambda **given: made(**{**given, **changes})):
        yield


def with_sampling(side: Side, **changes: object) -> Side:
    """Return a side of vLLM's benchmark with other sampling parameters."""

    def run() -> int:
        with sampling(**changes):
            return side()

    return run


def plain_loop_side(
    model: Any,  # noqa: ANN401 - transformers has no types
    tokenizer: Any,  # noqa: ANN401 - transformers has no types
    prompts: Ids | Sequence[str],
    *,
    batch_size: int,
    new_tokens: int,
    stopwatch: Stopwatch,
    decode: bool = False,
    inference_mode: bool = False,
) -> Side:
    """Return the usual loop: pad a batch on the left, `model.generate`, count what is new.

    Args:
        model: the loaded model.
        tokenizer: pads; it also tokenises if the prompts are texts.
        prompts: ids or texts, in the order in which they are batched.
        batch_size: prompts of one call.
        new_tokens: ids of each output.
        stopwatch: its clock is read before the first and after the last batch.
        decode: whether outputs become text in the timed part.
        inference_mode: whether the loop runs in `torch.inference_mode` instead of the `torch.no_grad` that `generate`
            and pipelines use.
    """
    torch = import_module("torch")
    batches = [prompts[start : start + batch_size] for start in range(0, len(prompts), batch_size)]
    limits = {"max_new_tokens": new_tokens, "min_new_tokens": new_tokens, "do_sample": False, "num_beams": 1}

    def encode(batch: Any) -> Any:  # noqa: ANN401 - ids or texts
        if isinstance(batch[0], str):
            return tokenizer(list(batch), return_tensors="pt", padding=True)
        return tokenizer.pad({"input_ids": [list(ids) for ids in batch]}, return_tensors="pt")

    def run() -> int:
        tokens = 0
        stopwatch.perf_counter()
        with torch.inference_mode() if inference_mode else nullcontext():
            for batch in batches:
                inputs = encode(batch)
                output = model.generate(
                    input_ids=inputs["input_ids"],
                    attention_mask=inputs["attention_mask"],
                    pad_token_id=tokenizer.pad_token_id,
                    **limits,
                )
                if decode:
                    tokenizer.batch_decode(output, skip_special_tokens=True)
                tokens += (output.shape[1] - inputs["input_ids"].shape[1]) * output.shape[0]
        stopwatch.perf_counter()
        return tokens

    return run
