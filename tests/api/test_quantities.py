"""Amounts of CPU and memory mean what they mean in a Pod, however they are written."""

import pytest

from infpop_operator.api.quantities import memory_bytes, millicores


@pytest.mark.parametrize(("text", "amount"), [("8", 8000), ("0.5", 500), ("500m", 500), ("1.001", 1001), ("0", 0)])
def test_cpus_are_counted_in_thousandths(text: str, amount: int) -> None:
    """Two texts of the same amount are the same number."""
    assert millicores(text) == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("68719476736", 2**36),
        ("64Gi", 2**36),
        ("67108864Ki", 2**36),
        ("0.5Ti", 2**39),
        ("1.5G", 1_500_000_000),
        ("256Mi", 2**28),
        ("1k", 1000),
        ("0.001Ki", 2),
    ],
)
def test_memory_is_counted_in_bytes(text: str, amount: int) -> None:
    """Units of a thousand and of 1,024 are told apart, and a part of a byte is one."""
    assert memory_bytes(text) == amount
