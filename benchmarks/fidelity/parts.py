"""The single differences between the harnesses: each a side with one thing changed, and the same side without."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from fidelity.load import Loaded
from fidelity.sides import Quiet, Side, infpop_side, plain_loop_side, vllm_bench_side, with_sampling
from infpop_runner.measure import take


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One change to a harness."""

    name: str
    changed: Side
    plain: Side


def reference_side(loaded: Loaded) -> Side:
    """Return the external harness, on the same ids in the same order as InfPop's."""
    if hasattr(loaded.engine, "_llm"):
        return _vllm(loaded, loaded.ids)
    return _loop(loaded, sorted(loaded.ids, key=len, reverse=True))


def make_parts(loaded: Loaded) -> list[Part]:
    """Return the changes to try at this batch size; "nothing changed" shows what the method can resolve."""
    makers = _MAKERS.get((hasattr(loaded.engine, "_llm"), loaded.batch_size))
    return [] if makers is None else makers(loaded, reference_side(loaded))


def _vllm_parts(loaded: Loaded, plain: Side) -> list[Part]:
    ours = infpop_side(loaded.engine, loaded.batch_size)
    longest_first = sorted(loaded.ids, key=len, reverse=True)
    return [
        Part(name="nothing changed", changed=reference_side(loaded), plain=plain),
        Part(name="vllm bench: greedy", changed=with_sampling(plain, temperature=0), plain=plain),
        Part(name="vllm bench: no progress bar", changed=_vllm(loaded, loaded.ids, quiet=True), plain=plain),
        Part(
            name="vllm bench: texts instead of ids",
            changed=_vllm(loaded, take(loaded.texts, first=0, count=len(loaded.ids))),
            plain=plain,
        ),
        Part(name="vllm bench: outputs become text", changed=_vllm(loaded, loaded.ids, detokenise=True), plain=plain),
        Part(name="vllm bench: longest prompts first", changed=_vllm(loaded, longest_first), plain=plain),
        Part(name="InfPop: no minimum of tokens", changed=_without_minimum(loaded, ours), plain=ours),
        Part(
            name="InfPop against vllm bench, greedy and without a bar",
            changed=ours,
            plain=with_sampling(_vllm(loaded, loaded.ids, quiet=True), temperature=0),
        ),
    ]


def _parts_of_single_prompts(loaded: Loaded, plain: Side) -> list[Part]:
    texts, ids = _longest_first(loaded)
    return [
        Part(name="nothing changed", changed=reference_side(loaded), plain=plain),
        Part(name="loop: texts instead of ids", changed=_loop(loaded, texts), plain=plain),
        Part(name="loop: outputs become text", changed=_loop(loaded, ids, decode=True), plain=plain),
        Part(name="loop: torch.inference_mode", changed=_loop(loaded, ids, inference_mode=True), plain=plain),
    ]


def _parts_of_batches(loaded: Loaded, plain: Side) -> list[Part]:
    return [Part(name="loop: prompts not sorted by length", changed=_loop(loaded, loaded.ids), plain=plain)]


def _longest_first(loaded: Loaded) -> tuple[list[str], list[tuple[int, ...]]]:
    order = sorted(range(len(loaded.ids)), key=lambda number: len(loaded.ids[number]), reverse=True)
    texts = take(loaded.texts, first=0, count=len(loaded.ids))
    return [texts[number] for number in order], [loaded.ids[number] for number in order]


def _vllm(loaded: Loaded, prompts: Any, *, quiet: bool = False, detokenise: bool = False) -> Side:  # noqa: ANN401
    llm = loaded.engine._llm
    return vllm_bench_side(
        Quiet(llm) if quiet else llm,
        prompts,
        new_tokens=loaded.new_tokens,
        stopwatch=loaded.stopwatch,
        detokenise=detokenise,
    )


def _loop(
    loaded: Loaded,
    prompts: Any,  # noqa: ANN401 - ids or texts
    *,
    decode: bool = False,
    inference_mode: bool = False,
) -> Side:
    pipe = loaded.engine._pipe
    return plain_loop_side(
        pipe.model,
        pipe.tokenizer,
        prompts,
        batch_size=loaded.batch_size,
        new_tokens=loaded.new_tokens,
        stopwatch=loaded.stopwatch,
        decode=decode,
        inference_mode=inference_mode,
    )


def _without_minimum(loaded: Loaded, ours: Side) -> Side:
    made = loaded.engine._sampling

    @contextmanager
    def changed() -> Iterator[None]:
        def sampling(batch_size: int) -> Any:  # noqa: ANN401 - vLLM has no types
            parameters = made(batch_size)
            parameters.min_tokens = 0
            return parameters

        with patch.object(loaded.engine, "_sampling", sampling):
            yield

    def run() -> int:
        with changed():
            return ours()

    return run


# By whether the engine is vLLM, and the batch size: single prompts show what a pipeline costs for each call.
_MAKERS = {(True, 8): _vllm_parts, (False, 1): _parts_of_single_prompts, (False, 8): _parts_of_batches}
