"""A study with its status, as a page shows it: an object of a cluster, or a study that is tuned on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from infpop_operator.api.parse import parse_object
from infpop_operator.api.spec import ThroughputStudy
from infpop_operator.api.status_model import Condition, StudyStatus
from infpop_operator.core.errors import InfPopError, StudyError


class UnreadableError(InfPopError):
    """The object's status is of a form that this version does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyObject:
    """A study with its status.

    Args:
        name: of the study.
        engine: name of its engine.
        model: what a server is to load: a hub id or a directory.
        document: None where this version cannot read the spec.
        status: empty before the first one was written.
        namespace: empty for a study of one machine.
        generation: `metadata.generation`, None for a study of one machine.
        created_at: when the object was created, None for a study of one machine.
        written_at: when the status was written last, None where that is not known.
        is_deleted: the object is being deleted.
    """

    name: str
    engine: str
    model: str
    document: ThroughputStudy | None
    status: StudyStatus
    namespace: str = ""
    generation: int | None = None
    created_at: datetime | None = None
    written_at: datetime | None = None
    is_deleted: bool = False

    def condition(self, kind: str) -> Condition | None:
        """Return a condition, None while there is none."""
        return next((each for each in self.status.conditions if each.type == kind), None)

    def holds(self, kind: str, status: str = "True") -> bool:
        """Say whether a condition has this status."""
        found = self.condition(kind)
        return found is not None and found.status == status


def parse_study_object(body: Mapping[str, Any]) -> StudyObject:
    """Return what can be read of an object that the API server has.

    Raises:
        UnreadableError: its status is of a form that this version does not know.
    """
    metadata, spec = body["metadata"], body.get("spec") or {}
    engine, model = ((spec.get(part) or {}).get("name", "?") for part in ("engine", "model"))
    created = metadata.get("creationTimestamp")
    return StudyObject(
        name=metadata["name"],
        engine=engine,
        model=model,
        document=_document(body),
        status=_status(body.get("status") or {}),
        namespace=metadata["namespace"],
        generation=metadata.get("generation"),
        created_at=None if created is None else datetime.fromisoformat(created),
        written_at=_written_at(metadata),
        is_deleted=bool(metadata.get("deletionTimestamp")),
    )


def _status(status: Mapping[str, Any]) -> StudyStatus:
    try:
        return StudyStatus.model_validate(status)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"status.{where}: {first['msg']}. Use the version of infpop that the operator has"
        raise UnreadableError(message) from error


def _document(body: Mapping[str, Any]) -> ThroughputStudy | None:
    try:
        return parse_object(body)
    except StudyError:  # the operator says why, in the condition Accepted
        return None


def _written_at(metadata: Mapping[str, Any]) -> datetime | None:
    entries = metadata.get("managedFields") or ()
    times = [datetime.fromisoformat(each["time"]) for each in entries if each.get("subresource") == "status"]
    return max(times, default=None)
