"""CPU and memory quantities mean the same as in a Pod, however they are written."""

from datetime import timedelta

import pytest

from infpop_operator.api.quantities import (
    decimal_string,
    interval,
    memory_bytes,
    millicores,
    number_string,
    seconds,
)
from infpop_operator.core.scalars import parse_scalar, scalar_text


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
    """Decimal and binary units differ, and a fraction of a byte counts as one byte."""
    assert memory_bytes(text) == amount


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", 7200.0),
        ("3m", 180.0),
        ("4s", 4.0),
        ("500ms", 0.5),
        ("1h2m3s4ms", 3723.004),
        ("2m5ms", 120.005),
        ("0s", 0.0),
        ("999999h", 999_999 * 3600.0),
    ],
)
def test_a_duration_is_the_sum_of_its_parts(text: str, expected: float) -> None:
    """Minutes and milliseconds have different units."""
    assert seconds(text) == pytest.approx(expected, abs=1e-9)
    assert interval(text) == timedelta(seconds=seconds(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("True", True),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ("yes", "yes"),
        ("8", 8),
        ("-8", -8),
        ("0", 0),
        ("9" * 18, int("9" * 18)),
        ("9" * 19, "9" * 19),
        ("0.5", 0.5),
        ("-1.25", -1.25),
        ("1.", "1."),
        (".5", ".5"),
        ("1e3", "1e3"),
        ("1" * 15 + ".5", float("1" * 15 + ".5")),
        ("1" * 16 + ".5", "1" * 16 + ".5"),
        ("0." + "1" * 15, float("0." + "1" * 15)),
        ("0." + "1" * 16, "0." + "1" * 16),
        ("+8", "+8"),
        (" 8", " 8"),
        ("", ""),
        ("nan", "nan"),
    ],
)
def test_an_argument_is_what_its_text_says(text: str, value: object) -> None:
    """Booleans, integers and plain decimals are converted; anything else stays text."""
    found = parse_scalar(text)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("value", [True, False, 8, -8, 0.5, "text", "", 0])
def test_an_argument_is_written_as_it_is_read(value: str | float | bool) -> None:  # noqa: FBT001
    """A value that is written and read again keeps its value and type."""
    back = parse_scalar(scalar_text(value))
    assert (type(back), back) == (type(value), value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (100.0, "100"),
        (1234567.0, "1234570"),
        (0.00001234567, "0.0000123457"),
        (1.50, "1.5"),
        (-2.0, "-2"),
        (812.5, "812.5"),
        (1e15, "1000000000000000"),
    ],
)
def test_a_number_is_a_plain_decimal_of_six_digits(value: float, text: str) -> None:
    """A number has no exponent and no trailing zeros after the point; zeros before the point stay."""
    assert decimal_string(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1e-6, "0.000001"),
        (9.9e-7, "9.9e-07"),
        (-9.9e-7, "-9.9e-07"),
        (999999e9, "999999000000000"),
        (1e15, "1e+15"),
        (-1e15, "-1e+15"),
        (42949672960.0, "42949700000"),
    ],
)
def test_a_metric_of_any_size_is_short(value: float, text: str) -> None:
    """A number with a long row of zeros has an exponent."""
    assert number_string(value) == text


def test_the_digits_that_count_are_as_many_as_asked_for() -> None:
    """A caller may ask for more or fewer than six digits."""
    assert (decimal_string(1.23456, significant=3), decimal_string(0.1 + 0.2, significant=17)) == (
        "1.23",
        "0.30000000000000004",
    )
