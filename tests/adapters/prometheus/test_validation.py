"""A number is accepted if it is the only one, belongs to this run and its time, and is possible in its unit."""

import math
from datetime import timedelta
from typing import get_args

import pytest

from adapters.prometheus.api import END, OWNER, RUN, START
from infpop_operator.adapters.prometheus.answers import Answer, Series
from infpop_operator.adapters.prometheus.validation import to_metric_value, to_samples
from infpop_operator.core.extra_metrics import AcrossGpus, Unit
from infpop_operator.core.model import Missing, Sample, Value

WINDOW = (START + timedelta(seconds=60), START + timedelta(seconds=90))
NAN = math.nan
LENGTH = (END - START).total_seconds()


def raw(*pairs: tuple[float, float], **labels: str) -> Series:
    """Return samples of the first trial, at seconds after the start of the run."""
    samples = tuple((START.timestamp() + seconds, value) for seconds, value in pairs)
    return Series(labels={**OWNER, "run": "study-1", "trial": "0"} | labels, samples=samples)


@pytest.mark.parametrize(
    ("series", "sample"),
    [
        ([raw((299, 12.5))], Value(tokens_per_second=12.5)),
        ([raw((200, 12.5), (230, 12.5))], Value(tokens_per_second=12.5)),
        ([raw((LENGTH + 4.9, 12.5))], Value(tokens_per_second=12.5)),
        ([raw((0, 12.5))], Value(tokens_per_second=12.5)),
        ([raw((-0.1, 11.0), (299, 12.5))], Value(tokens_per_second=12.5)),
        ([raw((-600, 11.0), pod="earlier"), raw((299, 12.5), pod="now")], Value(tokens_per_second=12.5)),
        ([], Missing(reason="Empty")),
        ([raw((299, 12.5), trial="2")], Missing(reason="Empty")),
        ([raw((299, 12.5), trial="x")], Missing(reason="Empty")),
        ([raw((299, 12.5), trial="-0")], Missing(reason="Empty")),
        ([raw((-1, 12.5))], Missing(reason="Stale")),
        ([raw((LENGTH + 5.1, 12.5))], Missing(reason="Stale")),
        ([raw()], Missing(reason="Stale")),
        ([raw((299, NAN))], Missing(reason="NotANumber")),
        ([raw((269, 12.5), (299, NAN))], Missing(reason="NotANumber")),
        ([raw((299, math.inf))], Missing(reason="NotANumber")),
        ([raw((299, 0.0))], Missing(reason="NotPositive")),
        ([raw((299, -1.0))], Missing(reason="NotPositive")),
        ([raw((269, 12.5), (299, 12.6))], Missing(reason="Ambiguous")),
        ([raw((299, 12.5), job="a"), raw((298, 12.6), job="b")], Missing(reason="Ambiguous")),
        ([raw((299, 12.5), job="a"), raw((298, 12.5), job="b")], Missing(reason="TwoSeries")),
        ([raw((299, 12.5), job="a"), raw((298, NAN), job="b")], Missing(reason="NotANumber")),
        ([raw((299, 12.5), run="study-2")], Missing(reason="BadAnswer")),
        ([raw((299, 12.5)), raw((299, 12.5), namespace="other")], Missing(reason="BadAnswer")),
    ],
)
def test_a_throughput_is_one_number_of_this_run_or_none(series: list[Series], sample: Sample) -> None:
    """It is never zero, never ambiguous, never of an earlier run with that name, never from after the end."""
    found = to_samples(Answer(kind="matrix", series=tuple(series)), RUN)
    assert found == {0: sample, 1: found[1]}
    assert isinstance(found[1], Missing)


def test_every_trial_has_its_own() -> None:
    """A problem with one of them does not affect the others."""
    series = (raw((100, 5.0)), raw((200, 7.0), trial="1"), raw((200, 8.0), trial="1", job="b"), raw((1, 1), trial="9"))
    found = to_samples(Answer(kind="matrix", series=series), RUN)
    assert found == {0: Value(tokens_per_second=5.0), 1: Missing(reason="Ambiguous")}


def test_computed_values_are_not_an_answer() -> None:
    """Computed values in place of raw samples are refused."""
    found = to_samples(Answer(kind="vector", series=(raw((299, 12.5)),)), RUN)
    assert found == dict.fromkeys((0, 1), Missing(reason="BadAnswer"))


def one(value: float, *, seconds: float = 90) -> Answer:
    """Return a vector of one element."""
    return Answer(kind="vector", series=(Series(labels={}, samples=((START.timestamp() + seconds, value),)),))


@pytest.mark.parametrize(
    ("answer", "unit", "figure"),
    [
        (one(310.5), "watts", 310.5),
        (one(0.0), "percent", 0.0),
        (one(1e15), "bytes", 1e15),
        (one(100.0), "percent", 100.0),
        (one(100.00000001), "percent", 100.0),
        (Answer(kind="scalar", series=one(5.0).series), "count", 5.0),
        (one(132_000.0), "watts", 132_000.0),
        (one(100.1), "percent", Missing(reason="WrongUnit")),
        (one(87.0), "ratio", Missing(reason="WrongUnit")),
        (one(350.0), "celsius", Missing(reason="WrongUnit")),
        (one(612_500.0), "watts", Missing(reason="WrongUnit")),
        (one(1410e9), "hertz", Missing(reason="WrongUnit")),
        (one(4 * 9223372036854775792.0 * 1e-3), "joules", Missing(reason="WrongUnit")),  # the sum of four blanks
        (one(2.0**50 * 1.01), "bytes", Missing(reason="WrongUnit")),
        (one(-0.1), "watts", Missing(reason="WrongUnit")),
        (one(NAN), "watts", Missing(reason="NotANumber")),
        (one(math.inf), "watts", Missing(reason="NotANumber")),
        (one(-math.inf), "watts", Missing(reason="NotANumber")),
        (one(5.0, seconds=59.9), "watts", Missing(reason="Stale")),
        (one(5.0, seconds=95.1), "watts", Missing(reason="Stale")),
        (Answer(kind="vector", series=()), "watts", Missing(reason="Empty")),
        (Answer(kind="vector", series=one(5.0).series * 2), "watts", Missing(reason="TwoSeries")),
        (Answer(kind="matrix", series=one(5.0).series), "watts", Missing(reason="QueryRejected")),
        (Answer(kind="string", series=()), "watts", Missing(reason="QueryRejected")),
    ],
)
def test_a_metric_is_one_number_in_its_unit_or_none(answer: Answer, unit: Unit, figure: float | Missing) -> None:
    """A ratio of 87 is a percentage by mistake; two elements are ambiguous; a mean may round up slightly."""
    assert to_metric_value(answer, unit, WINDOW) == figure


def gpus(*values: float) -> Answer:
    """Return a vector with one element for each GPU, as the presets return it."""
    at = START.timestamp() + 90
    series = tuple(Series(labels={"gpu": str(index)}, samples=((at, value),)) for index, value in enumerate(values))
    return Answer(kind="vector", series=series)


@pytest.mark.parametrize(
    ("answer", "unit", "across_gpus", "figure"),
    [
        (gpus(300.0, 312.5), "watts", "sum", 612.5),
        (gpus(80.0, 90.0), "percent", "mean", 85.0),
        (gpus(1e9, 8e10), "bytes", "max", 8e10),
        (gpus(0.0, 0.0), "percent", "mean", 0.0),
        (gpus(4_000.0, 4_000.0), "watts", "sum", 8_000.0),
        (gpus(612.5), "watts", "sum", Missing(reason="FewerGPUs")),
        (gpus(), "watts", "sum", Missing(reason="Empty")),
        (gpus(300.0, 300.0, 300.0), "watts", "sum", Missing(reason="TwoSeries")),
        (gpus(300.0, NAN), "watts", "sum", Missing(reason="NotANumber")),
        (gpus(300.0, 310_500.0), "watts", "sum", Missing(reason="WrongUnit")),  # milliwatts
        (gpus(8e10 * 2**20, 1e9), "bytes", "max", Missing(reason="WrongUnit")),  # bytes for mebibytes
        (gpus(300.0, 2147483633.0), "watts", "sum", Missing(reason="Blank")),
    ],
)
def test_a_metric_of_gpus_needs_all_of_them(
    answer: Answer, unit: Unit, across_gpus: AcrossGpus, figure: float | Missing
) -> None:
    """A GPU that the exporter does not report would make four GPUs look as frugal as two, and hide the fullest."""
    assert to_metric_value(answer, unit, WINDOW, across_gpus=across_gpus, gpu_count=2) == figure


def test_a_run_of_unknown_size_takes_the_gpus_that_answer() -> None:
    """Without a number to compare with, none is refused."""
    assert to_metric_value(gpus(1.0, 2.0, 3.0), "watts", WINDOW, across_gpus="sum") == 6.0


BLANKS = [2147483632, 2147483633, 2147483634, 2147483635, 9223372036854775792, 9223372036854775795, 2**47, 2**47 + 3]


@pytest.mark.parametrize("unit", get_args(Unit))
@pytest.mark.parametrize("scale", [1.0, 2.0**20, 1e6, 1e-3])
@pytest.mark.parametrize("blank", BLANKS)
def test_a_blank_of_dcgm_is_never_a_number(blank: int, scale: float, unit: Unit) -> None:
    """DCGM 3 and 4 write blank, not found, not supported and not permitted as numbers; a query may scale them."""
    assert to_metric_value(one(float(blank) * scale), unit, WINDOW) == Missing(reason="Blank")
