"""What the search `landscape` knows before it starts: the prior's file, names of GPUs, and losses of any kind."""

import json
from importlib.resources import files
from math import log, log2

import numpy as np
import pytest

from infpop_operator.core.search import SearchFacts
from infpop_operator.core.search.landscape import knowledge
from infpop_operator.core.search.landscape.subject import memory_mib_of, subject_of
from infpop_operator.core.search.landscape.values import values_of

SHIPPED = json.loads(files("infpop_operator.core.search.landscape").joinpath(knowledge.FILE).read_text())


def test_the_file_says_where_it_comes_from_and_is_a_prior() -> None:
    """It names source, script, date and models, and its covariances are positive definite."""
    assert all(SHIPPED[name] for name in ("source", "script", "date", "models", "gpu_models"))
    for name in ("vllm", "hf-pipeline"):
        known = knowledge.knowledge_of(name)
        assert known is not None
        assert np.linalg.eigvalsh(known.spread).min() > 0
        assert len(known.at) == len(known.mean) == len(known.slope)
    assert knowledge.knowledge_of("simulated") is None


def test_a_file_of_another_format_is_refused() -> None:
    """What a later version writes is not guessed at."""
    with pytest.raises(ValueError, match="format 2"):
        knowledge.parse({"format": 2, "engines": {}})


def test_knowledge_can_be_replaced_for_a_while() -> None:
    """A benchmark leaves models out without another file."""
    with knowledge.instead({}):
        assert knowledge.knowledge_of("vllm") is None
    assert knowledge.knowledge_of("vllm") is not None


@pytest.mark.parametrize(
    ("name", "gib"),
    [
        ("NVIDIA A10", 24),
        ("NVIDIA L4", 24),
        ("NVIDIA L40S", 48),
        ("NVIDIA A100-SXM4-80GB", 80),
        ("A100", 40),
        ("NVIDIA H100 80GB HBM3", 80),
        ("NVIDIA H200", 141),
        ("NVIDIA B200", 180),
        ("AMD Instinct MI300X", 192),
        ("Tesla V100-SXM2-16GB", 16),
        ("NVIDIA A10G", 24),
        ("H100NVL", 80),
        ("NVIDIA-A100-PCIE", 40),
        ("NVIDIA RTX A6000", 48),
        ("NVIDIA RTX A4000", None),
        ("NVIDIA RTX A1000", None),
        ("NVIDIA T400", None),
        ("Accelerator", None),
        (None, None),
    ],
)
def test_a_name_says_how_much_memory_a_gpu_has(name: str | None, gib: int | None) -> None:
    """A number in the name wins over the usual memory of the product; a product is not another that it begins like."""
    assert memory_mib_of(name) == (None if gib is None else gib * 1024)


def test_the_subject_follows_from_parameters_or_bytes() -> None:
    """Either gives the other, memory of the node wins over the name, and what is unknown stays unknown."""
    facts = SearchFacts(gpu_model="A100", parameters=8_000_000_000)
    subject = subject_of(facts)
    assert subject.size == pytest.approx(3)
    assert subject.fill == pytest.approx(log2(16e9 / (40 * 2**30)))
    assert subject_of(SearchFacts(weight_bytes=16_000_000_000)).size == pytest.approx(3)
    assert subject_of(SearchFacts(gpu_model="A100", gpu_memory_mib=81920, parameters=10**9)).fill == pytest.approx(
        log2(2e9 / (80 * 2**30))
    )
    assert (subject_of(SearchFacts()).size, subject_of(SearchFacts()).fill) == (None, None)


def test_losses_with_ratios_become_logarithms() -> None:
    """The more of what is maximised, and the less of what is minimised, the larger the value."""
    assert values_of([-10.123, -20.456]).values == pytest.approx([log(10.123), log(20.456)])
    assert values_of([0.123456]).values == pytest.approx([-log(0.123456)])


def test_a_loss_of_zero_is_beyond_all_others() -> None:
    """No tokens at all is worse than few, and no cost is better than any."""
    zero, some = values_of([0.0, -10.0]).values
    assert zero < some - 1
    zero, some = values_of([0.0, 10.0]).values
    assert zero > some + 1
    assert values_of([0.0, 0.0]).values.tolist() == [0.0, 0.0]


def test_losses_of_both_signs_count_by_their_order() -> None:
    """They have no ratios."""
    found = values_of([-1e12, 3.0, -0.5])
    assert (found.values.tolist(), found.are_logarithms) == ([1.0, 0.0, 0.5], False)


def test_rounding_hides_more_of_small_numbers() -> None:
    """0.1 tokens/s with one decimal may be 0.05 or 0.15; a number with all its digits hides nothing."""
    rounded, exact = values_of([-0.1, -100.5]), values_of([-0.123456, -100.512345])
    assert rounded.noise[0] > 0.05
    assert rounded.noise[1] < 1e-3
    assert exact.noise == pytest.approx([1e-4, 1e-4])
