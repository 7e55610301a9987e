"""The series of studies are bounded, however many studies there are and whatever a status holds."""

from collections.abc import Sequence

import pytest
from annotated_types import MaxLen
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from api.status_samples import large_status
from infpop_operator.api.spec import StudySpec
from infpop_operator.cluster.metrics.study_collector import MOST_STUDIES
from infpop_operator.cluster.metrics.study_metrics import CONDITIONS, MOST_POOLS, MOST_REASONS, MOST_ROUNDS, OUTCOMES
from infpop_operator.cluster.status_writer import dump_status
from reconcile.study_series import CELL, Bench, conditions, row, study

# Runs, best, its throughput in all and per GPU, its cost and tokens per joule, improvement, GPU-seconds, GPU model,
# round and last change, in addition to trials; an outcome may add "Other" and "".
MOST_OF_POOL = 11 + len(OUTCOMES) * (MOST_REASONS + 2)
# Model and engine, conditions, times (unchanged, stale, published), and two series of each round.
MOST_OF_STUDY = 1 + len(CONDITIONS) + 3 + 2 * MOST_ROUNDS + MOST_POOLS * MOST_OF_POOL


def test_at_most_a_thousand_studies_have_series() -> None:
    """Active studies come first, then the newest; the others are only counted."""
    ended, going_on = conditions(Succeeded="True"), conditions(Reconciling="True")
    old = [study(f"old-{number}", conditions=ended, created="2025-01-01T00:00:00Z") for number in range(2)]
    new = [study(f"new-{number}", conditions=ended, created="2026-01-01T00:00:00Z") for number in range(MOST_STUDIES)]
    active = study("active", conditions=going_on, created="2024-01-01T00:00:00Z")
    undecided = study("undecided", conditions=conditions(Ready="False"), created="2024-01-01T00:00:00Z")
    bench = Bench()
    bench.see(*old, *new, active, undecided)
    named = {found["study"] for found, _ in bench.series("infpop_study_condition")}
    assert len(named) == MOST_STUDIES
    assert {"active", "undecided"} <= named
    assert not named & {"old-0", "old-1"}
    assert bench.value("infpop_studies_without_series") == 4
    assert bench.value("infpop_studies", state="succeeded") == MOST_STUDIES + 2


def test_the_largest_status_has_few_series() -> None:
    """64 runs and 16 pools give some dozens of series, not hundreds; each row gives at most one of the landscape."""
    bench = Bench()
    status = dump_status(large_status())
    bench.see({**study(), "status": status})
    count = sum(CELL not in series for series in _study_series(bench.page()))
    assert 20 < count <= 110, count
    assert len(bench.series(CELL)) <= len(status["trials"])


def test_reasons_and_pools_beyond_what_a_spec_allows_are_bounded() -> None:
    """The most frequent reasons keep their names, the rest is counted together, and no trial is lost."""
    bench = Bench()
    reasons = ["Frequent", "Frequent", *(f"Reason{number}" for number in range(30))]
    rows = [row(index, "Broken", reason=reason) for index, reason in enumerate(reasons)]
    pools = [{"name": name, "round": 1} for name in ("a100", *(f"pool-{number}" for number in range(40)))]
    bench.see(study(pools=pools, trials=rows))
    trials = {found["reason"]: value for found, value in bench.series("infpop_study_trials")}
    assert len(trials) == MOST_REASONS + 1
    assert trials["Frequent"] == 2
    assert trials["Other"] == 30 - (MOST_REASONS - 1)
    assert len(bench.series("infpop_study_runs")) == MOST_POOLS


@pytest.mark.parametrize("amount", [MOST_REASONS - 1, MOST_REASONS, MOST_REASONS + 1])
def test_reasons_at_their_bound_keep_their_names(amount: int) -> None:
    """Up to the bound there is no "Other"; beyond it, "Other" has the trials of the rarest reason."""
    rows = [
        row(index, "Broken", reason=f"Reason{reason}")
        for index, reason in enumerate(each for each in range(amount) for _ in range(amount - each))
    ]
    bench = Bench()
    bench.see(study(pools=[{"name": "a100", "round": 1}], trials=rows))
    trials = {found["reason"]: value for found, value in bench.series("infpop_study_trials")}
    named = {f"Reason{reason}": amount - reason for reason in range(min(amount, MOST_REASONS))}
    assert trials == named | ({"Other": 1} if amount > MOST_REASONS else {})


hostile = st.text(st.characters(), max_size=80) | st.sampled_from(['"', "\\", "\n", "a\x00b", "\ud800", "é" * 80])
outcome = st.sampled_from([*OUTCOMES, "Nonsense"])


@settings(max_examples=60)
@given(
    st.lists(hostile, max_size=40),
    st.lists(st.tuples(st.integers(0, 39), outcome, hostile), max_size=60),
    st.lists(st.text(max_size=12), min_size=1, max_size=4),
)
def test_whatever_a_status_holds_is_bounded(
    names: Sequence[str], trials: Sequence[tuple[int, str, str]], numbers: Sequence[str]
) -> None:
    """Whatever names, reasons and numbers a status holds: the page parses, has few series, and none twice."""
    pools = [{"name": name, "round": 1, "gpuHours": numbers[place % len(numbers)]} for place, name in enumerate(names)]
    rows = [
        row(index, state, reason=reason, pool=names[place % len(names)])
        for index, (place, state, reason) in enumerate(trials)
        if names
    ]
    bench = Bench()
    bench.see(study(conditions=conditions(Reconciling="True"), pools=pools, trials=rows))
    series = _study_series(bench.page())
    assert len(series) == len(set(series)) <= MOST_OF_STUDY


def _study_series(page: str) -> list[tuple[str, frozenset[tuple[str, str]]]]:
    families = text_string_to_metric_families(page)
    samples = [sample for family in families for sample in family.samples]
    return [(sample.name, frozenset(sample.labels.items())) for sample in samples if "study" in sample.labels]


def test_the_bounds_are_the_specs() -> None:
    """The number of pools with series equals the limit of the spec."""
    bounds = [each.max_length for each in StudySpec.model_fields["node_pools"].metadata if isinstance(each, MaxLen)]
    assert bounds == [MOST_POOLS]
