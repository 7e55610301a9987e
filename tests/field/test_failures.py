"""Engine errors as the field reports them: `failures.jsonl` has the exception, the log and the class that is wanted."""

import json
from pathlib import Path

import pytest

from infpop_runner.engines.failures import Evidence, Failed, Refused, classify

GPU_COUNT = {"HeadsNotDivisible", "UnsupportedGpuCount"}
# Wants that are not "infeasible:REASON" or "broken:REASON": the reasons that are right, and what the detail must name.
WANTS: dict[str, tuple[set[str], str]] = {
    "infeasible:gpu-count": (GPU_COUNT, ""),
    "infeasible:GpuOutOfMemory?": ({"GpuOutOfMemory"}, ""),
    "infeasible:RejectedArguments (trust_remote_code)": ({"RejectedArguments"}, "trust_remote_code"),
    "broken (hardware)": ({"GpuFaulty"}, "ECC"),
    "broken:GpuMissing (driver)": ({"GpuMissing"}, "driver"),
    "broken:GpuMissing / UnsupportedGpuCount": ({"GpuMissing", "UnsupportedGpuCount"}, ""),
    "broken, named (disk full)": ({"StorageUnavailable"}, "full"),
    "not RejectedArguments: this engine does not know the model": ({"UnsupportedModel"}, "image"),
    "RejectedArguments, remedy names the workload": ({"RejectedArguments"}, "workload"),
    "RejectedArguments-like (deterministic)": ({"RejectedArguments"}, "tokenizer"),
    "broken:ModelUnavailable, retried after a pause": ({"ModelUnavailable"}, "after a pause"),
    "broken:ModelUnavailable (names the hub as unreachable)": ({"ModelUnavailable"}, "hub cannot be reached"),
    "broken:ModelUnavailable (incomplete download)": ({"ModelUnavailable"}, "incomplete"),
    "ModelUnavailable, not retried: offline mode is set": ({"ModelUnavailable"}, "Offline mode is set"),
    "ModelUnavailable, not retried: gated, names licence and HF_TOKEN": ({"ModelUnavailable"}, "licence"),
    "broken: damaged weight file, named": ({"ModelUnavailable"}, "damaged"),
    "broken: cache is read-only, named": ({"StorageUnavailable"}, "read-only"),
    "broken: disk quota, named": ({"StorageUnavailable"}, "quota"),
}


def test_every_reported_error_has_the_class_that_its_reporter_wants(field: Path, subtests: pytest.Subtests) -> None:
    """Each reported error is of the wanted class, and its detail is one line that names the cause."""
    for line in (field / "failures.jsonl").read_text().splitlines():
        row = json.loads(line)
        evidence = Evidence(exception=row["exception"], log_tail=row["log"], device=row["device"], phase=row["phase"])
        with subtests.test(row["id"], want=row["want"]):
            _check(row["want"], classify(evidence))


def _check(want: str, found: Refused | Failed) -> None:
    reasons, words = WANTS.get(want) or ({want.partition(":")[2]}, "")
    assert found.reason in reasons, found
    assert words in found.detail, found
    if "/" not in want and want.startswith(("infeasible", "broken")):
        assert isinstance(found, Refused) == want.startswith("infeasible")
    assert found.detail.isprintable()
    assert "pid=" not in found.detail
    if "retried" in want:
        assert isinstance(found, Failed)
        assert found.retry == ("never" if "not retried" in want else "later")
