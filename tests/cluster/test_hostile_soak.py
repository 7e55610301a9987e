"""Two hundred random acts of others on Jobs, pods, labels, owners, quota, nodes and the operator.

`--soak-seed` and `--soak-acts` repeat a soak or make a longer one; a failure prints its seed and its acts.
"""

from pathlib import Path

import pytest

from cluster.hostile_acts import LIMIT, HostileSoak
from controlplane.cluster import ControlPlane

pytestmark = pytest.mark.cluster


@pytest.mark.timeout(600)
def test_no_study_holds_more_gpus_than_its_budget_whatever_others_do(
    installed: ControlPlane, namespace: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """At no moment, and each study ends with the right best among what could be measured, or with a reason."""
    seed, acts = request.config.getoption("--soak-seed"), request.config.getoption("--soak-acts")
    soak = HostileSoak(installed, namespace, tmp_path, seed=seed, acts=acts)
    wrong = soak.run()
    assert not wrong, soak.report(wrong)
    assert soak.most_gpus() == LIMIT, "the budget was used up"
    assert soak.studies > 1
