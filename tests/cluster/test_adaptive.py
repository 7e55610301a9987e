"""Adaptive measurement on a cluster: trials that are clearly slower end early, and the status and Events say so."""

from collections import Counter

import pytest

from cluster.place import Body, Place, throughput
from controlplane.behaviours import replay

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("quick_operator")]

FASTEST, FRUGAL = (8, 64), (1, 64)
SPEC: Body = {
    "searchSpace": {"gpuCount": [1, 8], "batchSize": [8, 64]},
    "algorithm": {"name": "grid", "trialsPerRun": 1},
    "budget": {"maxTrials": 4, "confirm": False},
    "baseline": {"gpuCount": FASTEST[0], "batchSize": FASTEST[1]},
    "measurement": {"mode": "Adaptive"},
}


def best_of(status: Body) -> tuple[int, int]:
    """Return the recommended configuration."""
    return (status["best"]["gpuCount"], status["best"]["batchSize"])


def rows_of(status: Body) -> dict[tuple[int, int], Body]:
    """Return the rows of the trials by configuration."""
    return {(row["gpuCount"], row["batchSize"]): row for row in status["trials"]}


def test_what_is_slower_than_the_best_ends_early_and_is_open_again_once_that_counts_no_longer(place: Place) -> None:
    """Rows and Events have a bound, never a number; with a constraint that the best breaks, the others are measured."""
    with place.kubelet(replay(throughput)) as kubelet:
        place.study(**SPEC)
        status = place.wait_for("Succeeded")
        rows, fast = rows_of(status), throughput(*FASTEST)
        assert isinstance(fast, float)
        assert best_of(status) == FASTEST
        assert {cell: row["state"] for cell, row in rows.items()} == {
            cell: "Measured" if cell == FASTEST else "RacedOut" for cell in rows
        }
        assert all("throughput" not in row for cell, row in rows.items() if cell != FASTEST)
        assert all(float(row["throughputAtMost"]) < fast for cell, row in rows.items() if cell != FASTEST)
        assert rows[FASTEST]["interval"]
        assert status["pools"][0]["trials"]["racedOut"] == 3
        bars = [run.spec.to_beat_tokens_per_second for run in kubelet.runs]
        assert bars[0] is None
        assert bars[1:4] == [pytest.approx(0.99 * fast, rel=1e-4)] * 3
        events = [event for event in place.objects("event") if event["involvedObject"]["name"] == "study"]
        assert Counter(event["reason"] for event in events)["TrialRacedOut"] == 3

        place.change(objective={"constraints": [{"metric": "throughputPerGPU", "min": "300"}]})
        status = place.wait(lambda found: "best" in found and best_of(found) == FRUGAL, what="the frugal one as best")
        place.wait_for("Succeeded")
        assert rows_of(place.status())[FRUGAL]["state"] == "Measured"
