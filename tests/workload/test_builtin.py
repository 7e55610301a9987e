"""The built-in prompt set is frozen: the same 1,033 texts on every machine and in every version."""

from infpop_runner.contract import BuiltinSource, WorkloadSpec
from infpop_runner.measure import TextPrompts
from infpop_runner.workload import load_prompts

FROZEN = "0f87134eada14fa4fc13857136a1709d05c8326a135092ae19271e8816904281"


def builtin() -> TextPrompts:
    """Return the whole built-in set."""
    prompts = load_prompts(WorkloadSpec(source=BuiltinSource(), samples=1033, max_new_tokens=1), seed=0)
    assert isinstance(prompts, TextPrompts)
    return prompts


def test_the_text_never_changes() -> None:
    """A number measured with the built-in prompts today can be compared with one measured in a year."""
    assert builtin().workload_hash == FROZEN


def test_lengths_are_spread_like_the_published_prompts() -> None:
    """In characters: tenth percentile 300, median 560, ninetieth percentile 1,090, longest 2,000; none twice."""
    texts = builtin().texts
    lengths = sorted(map(len, texts))
    assert [lengths[round(share * (len(lengths) - 1))] for share in (0.1, 0.5, 0.9, 1)] == [300, 560, 1090, 2000]
    assert len(set(texts)) == 1033
