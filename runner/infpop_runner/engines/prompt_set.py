"""The prompts of a run as token ids: the timed ones, and others of the same lengths for the warm-up."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import Any

from infpop_runner.engines.errors import EngineRefusedError
from infpop_runner.measure import (
    IdPrompts,
    Prompts,
    SyntheticPrompts,
    Vocabulary,
    extended_length,
    other_ids,
    pass_length,
    representative_order,
    take,
)

IdPrompt = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSet:
    """The distinct prompts of a run, in order; shape (samples, any length)."""

    distinct: IdPrompts
    vocabulary: Vocabulary
    seed: int

    @property
    def longest(self) -> int:
        """Number of tokens of the longest prompt."""
        return max(map(len, self.distinct))

    @property
    def mean_tokens(self) -> float:
        """Mean number of tokens of a prompt."""
        return sum(map(len, self.distinct)) / len(self.distinct)

    def of_pass(self, batch_size: int) -> list[tuple[int, ...]]:
        """Return the prompts of one timed pass, in the order of the workload."""
        return take(self.distinct, first=0, count=pass_length(samples=len(self.distinct), batch_size=batch_size))

    def of_block(self, batch_size: int, first: int, batches: int) -> list[IdPrompt]:
        """Return the prompts of some batches of a queue, in which a batch is any `batch_size` consecutive ones."""
        order = _order(tuple(map(len, self.distinct)), self.seed)
        return [self.distinct[number] for number in take(order, first=first * batch_size, count=batches * batch_size)]

    def queue_length_ratio(self, prompts: Sequence[IdPrompt], batch_size: int) -> float:
        """Return the mean length of the pass that a block of a queue stands for, relative to that of a pass.

        The time of each batch that the block lacks is that of its batches between the first and the last one.
        """
        whole = self.of_pass(batch_size)
        batches = [fmean(map(len, prompts[start:][:batch_size])) for start in range(0, len(prompts), batch_size)]
        left = len(whole) // batch_size - len(batches)
        return extended_length(batches, batches[1:-1] or batches, left=left) / fmean(map(len, whole))

    def of_sorted_pass(self, batch_size: int) -> list[IdPrompt]:
        """Return the prompts of one timed pass, longest first."""
        return sorted(self.of_pass(batch_size), key=len, reverse=True)

    def of_sorted_block(self, batch_size: int, first: int, batches: int) -> tuple[list[IdPrompt], float]:
        """Return the prompts of some of the batches that a sorted pass has.

        Also return the mean padded length of the pass that they stand for, relative to that of a pass. The time of each
        batch that they lack is that of the others without the first one.
        """
        prompts = self.of_sorted_pass(batch_size)
        starts = range(0, len(prompts), batch_size)
        padded = tuple(len(prompts[start]) for start in starts)
        chosen = take(_order(padded, self.seed), first=first, count=batches)
        lengths = [padded[number] for number in chosen]
        length = extended_length(lengths, lengths[1:] or lengths, left=len(padded) - batches)
        block = [prompt for number in chosen for prompt in prompts[starts[number] :][:batch_size]]
        return block, length / fmean(padded)

    def of_warm_up(self, batch_size: int) -> IdPrompts:
        """Return one full batch of other prompts, with the lengths of the longest prompts of a pass."""
        longest = sorted(self.of_pass(batch_size), key=len, reverse=True)[:batch_size]
        return other_ids(longest, self.vocabulary, seed=self.seed)


@lru_cache(maxsize=16)
def _order(lengths: tuple[int, ...], seed: int) -> tuple[int, ...]:
    return representative_order(lengths, seed=seed)


def tokenise(prompts: Prompts, tokenizer: Any, *, seed: int) -> PromptSet:  # noqa: ANN401 - transformers has no types
    """Return the prompts as ids from the model's own tokenizer, including the special tokens that it adds.

    Raises:
        EngineRefusedError: a prompt has no tokens, so the model has nothing to continue.
    """
    vocabulary = Vocabulary(size=len(tokenizer), special_ids=frozenset(tokenizer.all_special_ids))
    match prompts:
        case SyntheticPrompts():
            distinct = prompts.draw(vocabulary)
        case _:
            distinct = tuple(tuple(ids) for ids in tokenizer(list(prompts.texts))["input_ids"])
    if not all(distinct):
        raise EngineRefusedError("RejectedArguments", "a prompt of the workload has no tokens with this tokenizer")
    return PromptSet(distinct=distinct, vocabulary=vocabulary, seed=seed)
