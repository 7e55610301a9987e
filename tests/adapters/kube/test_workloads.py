"""Why Kueue holds a Job back: its own words, from the conditions of the Job's Workload."""

from typing import Any

import pytest

from infpop_operator.adapters.kube.workloads import NO_WORKLOAD, why_queued


def workload(*conditions: tuple[str, str, str, str], created: str = "2026-01-01T00:00:00Z", **more: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a Workload with conditions of these types, statuses, reasons and messages."""
    names = ("type", "status", "reason", "message")
    listed = [dict(zip(names, condition, strict=True)) for condition in conditions]
    status = {"conditions": listed, **more.pop("status", {})}
    return {"metadata": {"name": "w", "creationTimestamp": created}, "status": status, **more}


QUOTA = "couldn't assign flavors to pod set main: insufficient quota for nvidia.com/gpu in flavor gpu (8 > 4)"
PENDING = ("QuotaReserved", "False", "Pending", QUOTA)
RESERVED = ("QuotaReserved", "True", "QuotaReserved", "Quota reserved in ClusterQueue gpus")
CHECKS = {
    "admissionChecks": [
        {"name": "prov", "state": "Retry", "message": "out of stock"},
        {"name": "ok", "state": "Ready", "message": "done"},
    ]
}


# Kueue 0.6 to 0.15.
@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], NO_WORKLOAD),
        ([workload()], "Kueue has not considered the Job yet"),
        ([{"metadata": {}}], "Kueue has not considered the Job yet"),
        ([workload(PENDING)], f"Kueue: Pending: {QUOTA}"),
        (
            [workload(("QuotaReserved", "False", "Inadmissible", "LocalQueue gpus doesn't exist"))],
            "Kueue: Inadmissible: LocalQueue gpus doesn't exist",
        ),
        (
            [workload(RESERVED, ("Admitted", "False", "NoChecks", "waits"), status=CHECKS)],
            "Kueue: admission check prov: Retry: out of stock; NoChecks: waits",
        ),
        (
            [workload(PENDING, ("Evicted", "True", "Preempted", "to make room for others"))],
            f"Kueue: Pending: {QUOTA}; evicted: Preempted: to make room for others",
        ),
        ([workload(PENDING, ("Evicted", "False", "QuotaReserved", "old"))], f"Kueue: Pending: {QUOTA}"),
        ([workload(spec={"active": False})], "Kueue: the Workload is deactivated (spec.active is false)"),
        ([workload(created="2026-01-02T00:00:00Z"), workload(PENDING)], "Kueue has not considered the Job yet"),
        ([workload(("QuotaReserved", "False", "Pending", "a\nb\x1b[31m"))], "Kueue: Pending: a | b"),
    ],
)
def test_a_queue_says_why(found: list[Any], words: str) -> None:
    """The newest Workload counts; text of others reaches the status on one line."""
    assert why_queued(found) == words
