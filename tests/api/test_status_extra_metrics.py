"""What a status reports about extra metrics: values, missing values, and the best by such a metric."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from api.status_samples import TWO_POOLS, best_pool, decision_of, ended_run, measured_round, run_of
from factories.studies import START, make_measured, make_study
from infpop_operator.api.quantities import number_string
from infpop_operator.api.status import to_status
from infpop_operator.core.model import History, Missing, Round
from infpop_operator.core.study import Constraint, Objective

STALE = Missing(reason="Stale")
ENERGY = Objective(metric="tokensPerJoule", power_metric="power")


def figured_history(*extra_metrics: Mapping[str, float | Missing]) -> History:
    """Return a history of this many trials of 1,000 tokens/s, 1,100 and so on, with these extra metrics."""
    entries = [
        ended_run(run_of(index, 1), make_measured(1000.0 + 100 * index, index=index, batch_size=index + 1))
        for index in range(len(extra_metrics))
    ]
    ended = tuple(
        replace(entry, observation=replace(entry.observation, extra_metrics={index: known}))
        for index, (entry, known) in enumerate(zip(entries, extra_metrics, strict=True))
    )
    return History(started_at=START, rounds=(Round(pool="a100", number=1, identity="i1"),), ended=ended)


def test_a_row_shows_extra_metrics_and_says_which_are_missing() -> None:
    """An informational metric does not delay a trial; each one is a number or has a reason."""
    history = figured_history(
        {"power": 812.5, "load": 97.123456789, "memory": 4.29496e10}, {"power": STALE, "load": 0.0}
    )
    first, second = to_status(make_study(), decision_of(history), START).trials
    assert first.metrics == {"power": "812.5", "load": "97.1235", "memory": "42949600000"}
    assert (first.reason, first.message) == (None, None)
    assert second.metrics == {"load": "0"}
    assert (second.state, second.reason, second.message) == ("Measured", None, "power missing: Stale")


def test_a_row_without_the_deciding_metric_reports_that_first() -> None:
    """Its throughput stays, its reason is MetricMissing, and a bound known to be broken takes precedence."""
    bound = Constraint(metric="load", maximum=90.0)
    history = figured_history(
        {"power": 500.0, "load": 50.0},
        {"aside": STALE, "power": STALE, "load": 50.0},
        {"power": STALE, "load": 95.0},
        {"power": 500.0, "load": STALE},
        {},
    )
    study = make_study(objective=replace(ENERGY, constraints=(bound,)))
    status = to_status(study, decision_of(history), START)
    assert [(row.throughput, row.reason, row.message) for row in status.trials] == [
        ("1000", None, None),
        ("1100", "MetricMissing", "power missing: Stale; aside missing: Stale"),
        ("1200", "ConstraintBroken", "load 95 > 90; power missing: Stale"),
        ("1300", "MetricMissing", "load missing: Stale"),
        ("1400", "MetricMissing", "power missing: NoWindow; load missing: NoWindow"),
    ]
    assert status.best is not None
    assert (status.best.throughput, status.best.metrics) == ("1000", {"power": "500", "load": "50"})
    assert status.best.tokens_per_joule == "2"


def test_the_time_per_output_token_is_in_the_rows_of_a_study_that_asks_for_it() -> None:
    """The best always has it, 5 tokens in 0.5 s; hundreds of rows have it only where it decides something."""
    history = figured_history({})
    asks = Objective(constraints=(Constraint(metric="secondsPerOutputToken", maximum=0.2),))
    for wanted, shown in (
        (Objective(), None),
        (asks, "0.1"),
        (Objective(second_metric="secondsPerOutputToken"), "0.1"),
    ):
        status = to_status(make_study(objective=wanted), decision_of(history), START)
        assert status.best is not None
        assert (status.best.seconds_per_output_token, status.trials[0].seconds_per_output_token) == ("0.1", shown)
    broken = replace(asks, constraints=(Constraint(metric="secondsPerOutputToken", maximum=0.05),))
    row = to_status(make_study(objective=broken), decision_of(history), START).trials[0]
    assert (row.reason, row.message) == ("ConstraintBroken", "secondsPerOutputToken 0.1 > 0.05")


def test_the_gain_over_a_baseline_of_unknown_worth_is_not_reported() -> None:
    """The gain in throughput is shown; a missing value is not compared."""
    study = make_study(objective=ENERGY, baseline=run_of(0, 1).trials[0].configuration)
    seen = to_status(study, decision_of(figured_history({"power": 500.0}, {"power": 275.0})), START).pools[0]
    assert (seen.improvement_percent, seen.baseline.throughput) == ("100.0", "1000")
    unseen = to_status(study, decision_of(figured_history({"power": STALE}, {"power": 275.0})), START).pools[0]
    assert (unseen.improvement_percent, unseen.baseline.throughput) == (None, "1000")


@pytest.mark.parametrize(
    ("objective", "pool"),
    [
        (ENERGY, "v100"),
        (Objective(metric="power", goal="Minimize"), "v100"),
        (Objective(metric="power", goal="Maximize"), "a100"),
    ],
)
def test_an_older_best_competes_by_what_the_study_decides_by(objective: Objective, pool: str) -> None:
    """The best of an earlier round is ranked like any other, whatever the objective is."""
    study = make_study(pools=TWO_POOLS, objective=objective)
    here, before = figured_history({"power": 500.0}), figured_history({"power": 100.0})
    older = replace(before.ended[0], run=run_of(0, 1, pool="v100"))
    rounds = tuple(Round(pool="v100", number=number, identity=f"i{number}") for number in (1, 2))
    history = replace(here, rounds=(*here.rounds, *rounds), ended=(*here.ended, older))
    assert best_pool(to_status(study, decision_of(history), START)) == pool


def test_an_older_best_without_the_metric_gives_way() -> None:
    """After a change of the objective, an earlier round may lack the required metric."""
    here, before = figured_history({"power": 500.0}), measured_round(1, 9000.0, pool="v100")
    rounds = (*here.rounds, *before.rounds, Round(pool="v100", number=2, identity="i2"))
    decision = decision_of(replace(here, rounds=rounds, ended=(*here.ended, *before.ended)))
    for objective in (ENERGY, Objective(metric="power", goal="Minimize"), Objective(metric="power", goal="Maximize")):
        assert best_pool(to_status(make_study(pools=TWO_POOLS, objective=objective), decision, START)) == "a100"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (12.3, "12.3"), (1e-6, "0.000001"), (1e-7, "1e-07"), (123456789.0, "123457000"), (1e300, "1e+300")],
)
def test_a_metric_of_any_size_is_short_and_can_be_read(value: float, text: str) -> None:
    """No unit bounds an exporter's values, and a large value does not enlarge the status."""
    assert number_string(value) == text
    assert float(text) == pytest.approx(value, rel=1e-5)
