"""The series of what studies have found: landscapes, and what the best costs."""

from typing import Any

from infpop_operator.cluster.metrics.study_collector import MOST_CELLS
from reconcile.study_series import CELL, Bench, conditions, row, study


def test_a_study_says_what_is_tuned() -> None:
    """Model and engine, as in the spec and clipped, state and GPU model are labels; what is not known is empty."""
    spec = {"model": {"name": "org/" + "x" * 500}, "engine": {"name": "vllm"}}
    bench = Bench()
    pools = [{"name": "a100", "gpu": "NVIDIA-A100-SXM4-40GB"}, {"name": "v100"}]
    body = study(conditions=conditions(Succeeded="True"), pools=pools)
    bench.see({**body, "spec": spec}, {**study("odd"), "spec": {"model": "x", "engine": None}})
    (labels,) = (labels for labels, _ in bench.series("infpop_study_info") if labels["study"] == "one")
    assert (labels["model"][:5], len(labels["model"])) == ("org/x", 200)
    assert (labels["engine"], labels["state"]) == ("vllm", "succeeded")
    assert bench.value("infpop_study_info", study="odd", model="", engine="", state="new") == 1
    gpus = {labels["pool"]: labels["gpu"] for labels, _ in bench.series("infpop_study_pool_info")}
    assert gpus == {"a100": "NVIDIA-A100-SXM4-40GB", "v100": ""}


def test_the_best_has_its_further_figures() -> None:
    """Per GPU, per million tokens and per joule; what is not known has no series."""
    best = {"pool": "a100", "gpuCount": 4, "batchSize": 64, "throughput": "400", "throughputPerGPU": "100"}
    best |= {"spread": "0", "run": "r"}
    names = ("tokens_per_second_per_gpu", "cost_per_million_tokens", "tokens_per_joule")
    bench = Bench()
    bench.see(study(pools=[{"name": "a100", "best": {**best, "costPerMillionTokens": "2.5", "tokensPerJoule": "0.4"}}]))
    assert [bench.value(f"infpop_study_best_{name}", pool="a100") for name in names] == [100, 2.5, 0.4]
    bench.see(study(version=2, pools=[{"name": "a100", "best": best}]))
    assert [bench.value(f"infpop_study_best_{name}", pool="a100") for name in names] == [100, None, None]


def cell(index: int, gpus: int, batch: int, tokens: str | None, **changes: object) -> dict[str, Any]:
    """Return a trial at this place, with this throughput."""
    return {**row(index, "Measured"), "gpuCount": gpus, "batchSize": batch, "throughput": tokens, **changes}


def test_the_landscape_of_the_newest_round_is_exported() -> None:
    """Each place has the best, else the fastest number that may be the best; a place without a number has no series."""
    best = {"pool": "a100", "gpuCount": 1, "batchSize": 8, "throughput": "50", "throughputPerGPU": "50"}
    best |= {"spread": "0", "run": "of-its-confirmation", "extra": {"mode": "slow"}}
    rows = [
        cell(0, 1, 8, "70", extra={"mode": "fast"}),
        cell(1, 1, 8, "50", extra={"mode": "slow"}),  # the study's own metric prefers it
        cell(2, 2, 8, "90", reason="ConstraintBroken"),
        cell(3, 2, 8, "80"),
        cell(4, 2, 8, "85"),
        cell(5, 4, 8, "95", reason="MetricMissing"),
        cell(6, 4, 16, None, state="Infeasible"),
        cell(7, 4, 32, "NaN"),
        cell(8, 8, 8, "99", round=2),
        cell(9, 8, 16, "99", pool="v100"),
    ]
    bench = Bench()
    bench.see(study(pools=[{"name": "a100", "round": 1, "best": best}], trials=rows))
    found = {(labels["gpu_count"], labels["batch_size"]): value for labels, value in bench.series(CELL)}
    assert found == {("1", "8"): 50, ("2", "8"): 85, ("4", "8"): 95}


def test_landscapes_have_a_bounded_number_of_series() -> None:
    """A landscape is there as a whole or not at all; unfinished studies and then the newest come first."""
    rows = [cell(index, index + 1, 8, "1") for index in range(500)]
    pools = [{"name": "a100", "round": 1}]
    most = MOST_CELLS // len(rows)
    bench = Bench()
    bench.see(
        *(study(f"s{number}", created=f"20{10 + number}-01-01", pools=pools, trials=rows) for number in range(most + 2))
    )
    shown = {labels["study"] for labels, _ in bench.series(CELL)}
    assert shown == {f"s{number}" for number in range(2, most + 2)}
    assert bench.value("infpop_studies_without_landscape") == 2


def test_only_the_samples_that_are_shown_are_kept() -> None:
    """A landscape without room is not held in memory; it is read again when there is room, without a new version."""
    rows = [cell(index, index + 1, 8, "1") for index in range(500)]
    pools = [{"name": "a100", "round": 1}]
    most = MOST_CELLS // len(rows)
    years = [2010 + number for number in range(most + 2)]
    bodies = [study(f"s{year}", created=f"{year}-01-01", pools=pools, trials=rows) for year in years]
    bench = Bench()
    bench.see(*bodies)
    held = [sample for known in bench.collector._known.values() for sample in known.samples.get(CELL, ())]
    assert len(held) == MOST_CELLS
    bench.see(*bodies[:-1])
    shown = {labels["study"] for labels, _ in bench.series(CELL)}
    assert shown == {f"s{year}" for year in years[1:-1]}
    assert bench.value("infpop_studies_without_landscape") == 1
