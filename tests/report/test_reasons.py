"""Every reason that can appear is explained in the documentation, and every piece of advice is about one that can."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from infpop_operator.core.model import Phase
from infpop_operator.report.advice import REMEDIES, remedy_for
from infpop_runner.contract import BrokenReason, InfeasibleReason, InvalidReason

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "operator" / "infpop_operator"
# Where reasons are made: every word in CamelCase there is one, or is named below.
MAKERS = (
    "core/budget.py",
    "core/decide.py",
    "core/model.py",
    "core/plan.py",
    "core/sources.py",
    "core/space.py",
    "api/conditions.py",
    "api/status_rows.py",
    "adapters/conclude.py",
    "adapters/kube/node_pools.py",
    "adapters/kube/observe.py",
    "cluster/ending.py",
    "cluster/events.py",
    "cluster/jobs.py",
    "cluster/publish.py",
    "cluster/runs.py",
    "cluster/telling.py",
)
CONDITIONS = {"Accepted", "Ready", "Reconciling", "Stalled", "Succeeded", "ResultStale", "Suspended"}
STATES = {"Measured", "Infeasible", "Invalid", "Broken", "Running", "Working", "Waiting"}
# Words of Kubernetes that are read, and words of ours that are no reasons.
OTHER_WORDS = {
    "ConfigMap",
    "ContainerStatusUnknown",
    "CreateContainerConfigError",
    "DisruptionTarget",
    "Ended",
    "ErrImageNeverPull",
    "ErrImagePull",
    "Event",
    "Failed",
    "FailedCreate",
    "False",
    "ImageInspectError",
    "ImagePullBackOff",
    "Interrupted",
    "InvalidImageName",
    "Maximize",
    "Minimize",
    "Normal",
    "OOMKilled",
    "PodInitializing",
    "RegistryUnavailable",
    "Resumed",
    "RunResult",
    "SignatureValidationFailed",
    "Simulated",
    "True",
    "Unknown",
    "Warning",
}
CAMEL_CASE = re.compile(r"[A-Z][A-Za-z]*[a-z][A-Za-z]*")


def test_every_reason_is_documented() -> None:
    """Whoever reads a reason in a condition, a row or an Event finds it in docs/cluster.md."""
    documented = set(re.findall(r"`([A-Z][A-Za-z]+)`", (ROOT / "docs" / "cluster.md").read_text()))
    assert reasons() - documented == set()


def test_advice_is_about_reasons_that_there_are() -> None:
    """No sentence is kept for a reason that nobody gives any more."""
    assert set(REMEDIES) - reasons() == set()


def test_advice_names_the_run_in_commands() -> None:
    """What is said can be copied."""
    assert "-l infpop.io/run=study-0123" in remedy_for("PodFailed", run="study-0123")
    assert remedy_for("Measuring") == ""


def test_what_every_run_goes_through_is_advised_on_when_it_lasts() -> None:
    """A container that is created needs no advice at first, and some when it takes for ever."""
    assert remedy_for("ContainerCreating", seconds=5) == ""
    assert "kubectl describe pod" in remedy_for("ContainerCreating", seconds=600)


def reasons() -> set[str]:
    """Return every reason: the contract's, the phases of a run, and what the source makes."""
    contract = {*get_args(InfeasibleReason), *get_args(InvalidReason), *get_args(BrokenReason)}
    made = {word for path in MAKERS for word in words(SOURCE / path)}
    return (
        (contract | {phase.value for phase in Phase} | made | {"Suspended", "Succeeded"})
        - OTHER_WORDS
        - ((CONDITIONS | STATES) - {"Suspended", "Succeeded"})
    )


def words(path: Path) -> Iterator[str]:
    """Yield the strings of a module that are one word in CamelCase."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CAMEL_CASE.fullmatch(node.value):
            yield node.value
