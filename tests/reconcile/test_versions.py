"""Studies and statuses of another version: refused with a remedy, or ignored, never a crash."""

from datetime import UTC, datetime
from typing import Any

import pytest

from factories.kube_objects import OWNER, make_node
from factories.resolved import resolve_study
from factories.studies import START
from factories.study_documents import make_study_document
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.cluster.context import read_context
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.status_writer import refused
from infpop_operator.cluster.study_memory import StudyMemory
from infpop_operator.core.errors import StudyError
from infpop_operator.core.model import History
from infpop_operator.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = StudyKey(OWNER.namespace, OWNER.name)
SETTINGS = Settings(runner_image="example.org/runner:1")


def body(**changes: object) -> dict[str, Any]:
    """Return a study as API server JSON; keywords replace its parts, None removes one."""
    document = make_study_document(OWNER.name, OWNER.namespace)
    document["metadata"] |= {"uid": OWNER.uid, "generation": 3, "resourceVersion": "7"}
    document |= changes
    return {key: part for key, part in document.items() if part is not None}


@pytest.mark.parametrize(
    "status",
    [
        None,
        {},
        [],
        "gone",
        {"conditions": None},
        {"conditions": [{"type": "Ready"}]},
        {"best": {"pool": "a100"}},
        {"trials": [{"state": 7}]},
        {"observedGeneration": "three"},
    ],
    ids=str,
)
def test_a_status_that_cannot_be_read_is_ignored(status: object) -> None:
    """It is rebuilt from the journal; the study does not need it to continue."""
    context = read_context({**body(), "status": status}, StudyMemory(key=KEY), NOW)
    assert context.previous in (None, StudyStatus())


def test_a_status_of_a_newer_version_is_read_as_far_as_it_is_known() -> None:
    """Unknown fields, reasons and conditions are ignored."""
    condition = {
        "type": "Fancy",
        "status": "True",
        "reason": "New",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {"observedGeneration": 2, "novelty": {"a": 1}, "conditions": [{**condition, "weight": 3}]}
    previous = read_context({**body(), "status": status}, StudyMemory(key=KEY), NOW).previous
    assert previous is not None
    assert (previous.observed_generation, previous.conditions[0].type) == (2, "Fancy")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"spec": {**make_study_document("a", "b")["spec"], "novelty": True}},
            "spec.novelty: unknown field.*upgrade the operator",
        ),
        ({"spec": {"model": {"name": "m"}}}, "spec.engine: this field is required. Add it"),
        ({"spec": None}, "spec: this field is required"),
        ({"spec": []}, "spec: .*must be a mapping"),
        ({"apiVersion": "infpop.io/v2"}, "apiVersion: .*must be 'infpop.io/v1alpha1'"),
    ],
    ids=["newer-field", "older-object", "no-spec", "no-mapping", "other-version"],
)
def test_a_study_of_another_version_is_refused_with_what_to_do(changes: dict[str, object], complaint: str) -> None:
    """Invariant 10: the message names the unknown fields, and the refusal can be written as a status."""
    document = body() | changes
    if changes.get("spec", "") is None:
        del document["spec"]
    with pytest.raises(StudyError, match=complaint) as raised:
        resolve_study(document, [make_node()], History(started_at=START), SETTINGS)
    status = refused(read_context(document, StudyMemory(key=KEY), NOW), raised.value.problems)
    assert {condition.type: condition.status for condition in status.conditions}["Accepted"] == "False"


def test_a_study_without_an_image_needs_one() -> None:
    """Invariant 10: if neither study nor operator names an image, the message gives both remedies."""
    with pytest.raises(StudyError, match=r"nodePools\[0\]\.image: is not set.*INFPOP_RUNNER_IMAGE"):
        resolve_study(body(), [make_node()], History(started_at=START), Settings())
