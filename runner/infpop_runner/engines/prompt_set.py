"""The prompts of a run as token ids: the timed ones, and others of the same lengths for the warm-up."""

from dataclasses import dataclass
from typing import Any

from infpop_runner.engines.errors import EngineRefusedError
from infpop_runner.measure import (
    IdPrompts,
    Prompts,
    SyntheticPrompts,
    Vocabulary,
    cycle_prompts,
    other_ids,
    pass_length,
)


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
        return cycle_prompts(self.distinct, pass_length(samples=len(self.distinct), batch_size=batch_size))

    def of_warm_up(self, batch_size: int) -> IdPrompts:
        """Return one full batch of other prompts, with the lengths of the longest prompts of a pass."""
        longest = sorted(self.of_pass(batch_size), key=len, reverse=True)[:batch_size]
        return other_ids(longest, self.vocabulary, seed=self.seed)


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
