"""Prompts as token ids."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infpop_runner.measure import SyntheticPrompts, Vocabulary, other_ids

VOCABULARY = Vocabulary(size=100, special_ids=frozenset({0, 1, 99}))


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=10), seed=st.integers(0, 2**32 - 1))
def test_warm_up_prompts_have_the_same_shape_and_no_special_id(lengths: list[int], seed: int) -> None:
    """Warm-up prompts are as long as the timed ones and hold only ordinary ids."""
    prompts = other_ids([[7] * length for length in lengths], VOCABULARY, seed=seed)
    assert [len(prompt) for prompt in prompts] == lengths
    assert not VOCABULARY.special_ids & {token for prompt in prompts for token in prompt}


def test_synthetic_prompts_are_a_function_of_their_seed() -> None:
    """The same seed draws the same ids, another seed others, and warm-up ids differ from both."""
    first, again, other = (
        SyntheticPrompts(samples=5, prompt_tokens=32, seed=seed, workload_hash="").draw(VOCABULARY)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert all(len(prompt) == 32 for prompt in first)
    assert other_ids(first, VOCABULARY, seed=1) != first


def test_a_vocabulary_of_special_ids_alone_is_refused() -> None:
    """Without one ordinary id there is nothing to draw, and the error says so."""
    with pytest.raises(ValueError, match="only special tokens"):
        other_ids([[1]], Vocabulary(size=2, special_ids=frozenset({0, 1})), seed=0)
