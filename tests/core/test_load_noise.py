"""How much loads differ, from a few loads of several configurations, and what that says about a mean."""

from math import sqrt
from random import Random
from statistics import fmean

import pytest

from infpop_operator.core.load_noise import load_noise, student_t


def test_the_noise_is_pooled_over_configurations_of_any_size() -> None:
    """Each deviation counts relative to the mean of its own configuration."""
    noise = load_noise([[98.0, 102.0], [9.8, 10.2], [500.0]])
    assert noise is not None
    assert noise.ratio == pytest.approx(0.02 * sqrt(2))
    assert noise.degrees_of_freedom == 2


def test_nothing_is_known_of_the_noise_if_nothing_was_measured_twice() -> None:
    """One number of each configuration shows no difference between loads, and a mean of 0 no relative one."""
    assert load_noise([[100.0], [50.0], []]) is None
    assert load_noise([[0.0, 0.0]]) is None


def test_the_noise_of_a_load_is_found_on_average() -> None:
    """2,000 rounds of three configurations with two or three loads each: the mean square is the true variance."""
    chance, squares = Random(0), []
    for _ in range(2000):
        noise = load_noise([[100 * (1 + chance.gauss(0, 0.05)) for _ in range(loads)] for loads in (2, 3, 3)])
        assert noise is not None
        squares.append(noise.ratio**2)
    assert sqrt(fmean(squares)) == pytest.approx(0.05, rel=0.03)


def test_an_interval_gets_narrower_with_what_is_known() -> None:
    """The quantiles are Student's, and those of many degrees of freedom are not below the normal one."""
    assert [student_t(degrees) for degrees in (1, 2, 10, 30)] == [12.706, 4.303, 2.228, 2.042]
    assert student_t(1000) >= 1.96
    with pytest.raises(ValueError, match="at least one"):
        student_t(0)
