"""A few simulated hours of trouble in a minute: nothing gets stuck, nothing gets lost, nothing is measured twice.

`benchmarks/soak_cluster.py` is the same for a day, with an outage of three minutes.
"""

from pathlib import Path

import pytest

from cluster.soak import Plan, Soak
from controlplane.cluster import ControlPlane

pytestmark = pytest.mark.cluster
PLAN = Plan(
    seed=1,
    hours=2.0,
    speed=240.0,
    studies=3,
    nodes=4,
    outage_seconds=15.0,
    kills=1,
    nodes_lost=1,
    nodes_drained=1,
    evictions=3,
    cuts=8,
    batches=(4, 64, 256),
)


def test_hours_of_trouble_leave_nothing_stuck_and_nothing_lost(
    installed: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    """Cut watches, an outage, nodes that go, evictions and a kill change no result and leave nothing behind."""
    findings = Soak(installed, namespace, tmp_path, PLAN).run()
    assert findings.wrong_bests == ()
    assert findings.measured_twice == ()
    assert findings.forgotten == ()
    assert findings.complaints == ()
    assert sum(findings.troubles.values()) == len(PLAN.troubles())
