"""Prompts as values: texts or token ids, and different ids of the same lengths for the warm-up."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

IdPrompts = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPrompts:
    """Texts that the engine turns into ids with the model's own tokenizer; `workload_hash` is their hash."""

    texts: tuple[str, ...]
    workload_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticPrompts:
    """`samples` prompts of exactly `prompt_tokens` random ids, drawn once the vocabulary is known."""

    samples: int
    prompt_tokens: int
    seed: int
    workload_hash: str

    def draw(self, vocabulary: "Vocabulary") -> IdPrompts:
        """Return the prompts; the same seed and vocabulary give the same ids."""
        return _draw([self.prompt_tokens] * self.samples, vocabulary, Random(f"synthetic:{self.seed}"))


Prompts = TextPrompts | SyntheticPrompts


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The ids for drawing prompts: 0 to `size` - 1 without the model's special tokens."""

    size: int
    special_ids: frozenset[int]

    @property
    def ordinary_ids(self) -> list[int]:
        """All ids that are not special tokens, ascending."""
        return [token for token in range(self.size) if token not in self.special_ids]


def other_ids(prompts: Sequence[Sequence[int]], vocabulary: Vocabulary, *, seed: int) -> IdPrompts:
    """Return one random prompt of the same length for each of `prompts`: a warm-up that does not cache the timed ones.

    Args:
        prompts: shape (n, any length), the prompts that will be timed.
        vocabulary: the vocabulary of the model.
        seed: the same seed gives the same ids.

    Raises:
        ValueError: the vocabulary has no ordinary id.
    """
    return _draw([len(prompt) for prompt in prompts], vocabulary, Random(f"warm-up:{seed}"))


def _draw(lengths: Sequence[int], vocabulary: Vocabulary, random: Random) -> IdPrompts:
    ids = vocabulary.ordinary_ids
    if not ids:
        raise ValueError(f"a vocabulary of {vocabulary.size} ids has only special tokens")
    return tuple(tuple(random.choices(ids, k=length)) for length in lengths)
