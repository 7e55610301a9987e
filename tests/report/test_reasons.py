"""Every reason that can appear is documented, and every piece of advice concerns a reason that can appear."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from infpop_operator.report.advice import ON_ONE_MACHINE, REMEDIES, remedy_for
from infpop_runner.contract import BrokenReason

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
CAMEL_CASE = re.compile(r"[A-Z][A-Za-z]*[a-z][A-Za-z]*")
# Reasons that a local run may have although its runner did not report them.
LOST_HERE = ("DeadlineExceeded", "GpuChanged", "Killed", "SoftwareChanged", "WorkloadChanged")
CONDITIONS = {"Accepted", "Ready", "Reconciling", "ResultStale", "Stalled"}  # also used for other things
# Every other CamelCase word in the sources, except class names, that is not a reason. A new word is either documented
# as a reason or listed here.
KUBERNETES_WORDS = {
    *("AlreadyExists", "Always", "Complete", "ConfigMap", "ContainerStatusUnknown", "CreateContainerConfigError"),
    *("CustomResourceDefinition", "DisruptionTarget", "Equal", "ErrImageNeverPull", "ErrImagePull", "Event", "Exists"),
    *("Failed", "FailedAttachVolume", "FailedCreate", "FailedMount", "FailureTarget", "FallbackToLogsOnError", "False"),
    *("Foreground", "Gi", "IfNotPresent", "Ignore", "ImageInspectError", "ImagePullBackOff", "In", "InvalidImageName"),
    *(
        "Job",
        "List",
        "Memory",
        "Namespaced",
        "Never",
        "NoExecute",
        "NoSchedule",
        "Normal",
        "OOMKilled",
        "OnRootMismatch",
    ),
    *("Pending", "PodInitializing", "PodScheduled", "PreferNoSchedule", "RegistryUnavailable", "RuntimeDefault"),
    *("ContainerCannotRun", "StartError"),
    *("SignatureValidationFailed", "TerminationByKubelet", "True", "Warning"),
    *("NotIn", "Preempting", "Shutdown", "Terminated", "ToBeDeletedByClusterAutoscaler"),
    *("Admitted", "QuotaReserved"),  # of Kueue
    *("FailedScheduling", "Nominated", "NotTriggerScaleUp", "TriggeredScaleUp"),  # of autoscalers
}
OUR_WORDS = {
    *("Item", "Summary"),  # a type variable, a heading
    *("Accept", "Authorization", "Bearer", "BearerToken", "Date"),  # of HTTP
    *(
        "MatchBatch",
        "Maximize",
        "Minimize",
        "PodMetrics",
        "Prometheus",
        "SameIdentity",
        "EngineDefault",
        "OnPoolChange",
        "Manual",
        "Adaptive",
        "Full",
    ),  # values of fields, settings
    *("Ended", "Outside", "RacedOut", "Resumed", "Untried"),  # states
    *("AssertionError", "AutoModel", "EngineArgs", "ForCausalLM", "LMHeadModel", "PreTrainedModel"),  # of libraries
    *("Deployment", "LLMInferenceServiceConfig", "RayService"),  # kinds that `infpop export` writes
    # Headings of columns and lines.
    *("Age", "Batch", "Cost", "Energy", "Files", "For", "GPUs", "Metrics", "Open", "Reason", "Refused", "Result"),
    *("Spent", "State", "Status", "Throughput", "Trials"),
    *("GiB", "Replaying"),  # of infpop replay
    # Types by name, and words of the pictures.
    *(
        "BrokenReason",
        "Device",
        "IdPrompts",
        "InfeasibleReason",
        "InvalidReason",
        "Prompts",
        "Retry",
        "Scalar",
        "SearchTrialState",
    ),
    *("Interval", "TrialResult", "WorkloadSource"),
    # Of libraries, formats and pictures of results.
    *("CSafeDumper", "CreationDate", "DataFrame", "Figure", "InfPop", "InfPopLandscape", "MLflow"),
    *("Archived", "Engines", "Landscapes", "Relations", "Watts"),
}


def test_every_reason_is_documented() -> None:
    """A reason in a condition, a row or an Event is explained in docs/troubleshooting.md."""
    assert words() - class_names() - CONDITIONS - KUBERNETES_WORDS - OUR_WORDS - documented() == set()


def test_every_documented_reason_can_appear() -> None:
    """Neither the page nor the list of other words keeps a word that no longer appears in the sources."""
    assert documented() - words() == set()
    assert (KUBERNETES_WORDS | OUR_WORDS) - words() == set()


def test_every_reason_has_a_meaning_and_a_remedy() -> None:
    """Every row of the page has both."""
    for row in rows_of_reasons():
        assert len(row) == 3, row
        assert all(row), row


def test_every_reason_is_explained_once() -> None:
    """The page has one explanation for each reason."""
    names = [name for row in rows_of_reasons() for name in names_in(row)]
    assert sorted(names) == sorted(set(names))


def test_advice_is_about_reasons_that_there_are() -> None:
    """No advice remains for a reason that no longer appears."""
    assert set(REMEDIES) - documented() == set()
    assert set(ON_ONE_MACHINE) - set(REMEDIES) == set()


def test_advice_names_the_run_in_commands() -> None:
    """The commands can be copied."""
    assert "-l infpop.io/run=study-0123" in remedy_for("PodFailed", run="study-0123")
    assert remedy_for("Measuring") == ""


@pytest.mark.parametrize("reason", [*get_args(BrokenReason), *LOST_HERE])
def test_advice_on_one_machine_names_no_part_of_a_cluster(reason: str) -> None:
    """A user who tunes on a laptop has no Pods, Nodes or kubectl."""
    here = remedy_for(reason, run="study-0123", on_cluster=False)
    assert re.search(r"[Pp]od|[Kk]ube|\bnode|image|ConfigMap|[Ss]ecret|namespace|device plugin|Cache", here) is None
    assert bool(here) == bool(remedy_for(reason, run="study-0123"))


def test_what_every_run_goes_through_is_advised_on_when_it_lasts() -> None:
    """A container that is being created needs no advice at first, and some if it takes too long."""
    assert remedy_for("ContainerCreating", seconds=5) == ""
    assert "kubectl describe pod" in remedy_for("ContainerCreating", seconds=600)


def documented() -> set[str]:
    """Return the reasons that the page explains."""
    return {name for row in rows_of_reasons() for name in names_in(row)}


def names_in(row: list[str]) -> list[str]:
    """Return the reasons that a row explains."""
    return re.findall(r"`([A-Za-z]+)`", row[0])


def rows_of_reasons() -> Iterator[list[str]]:
    """Yield the cells of each row of each table whose first column is called reason."""
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        header, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
        if header[0] == "reason":
            yield from rows


def words() -> set[str]:
    """Return the strings in the sources that are one CamelCase word."""
    return {
        node.value
        for node in nodes()
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CAMEL_CASE.fullmatch(node.value)
    }


def class_names() -> set[str]:
    """Return the classes in the sources whose name is not a reason."""
    return {node.name for node in nodes() if isinstance(node, ast.ClassDef)} - documented()


def nodes() -> Iterator[ast.AST]:
    """Yield every node of every module of the operator and the runner."""
    for root in ("operator", "runner"):
        for path in sorted((ROOT / root).rglob("*.py")):
            yield from ast.walk(ast.parse(path.read_text()))
