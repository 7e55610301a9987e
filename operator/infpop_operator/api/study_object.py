"""A study with its status, for status pages: an object from a cluster, or a study tuned on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from infpop_operator.api.clip import clip
from infpop_operator.api.parse import parse_object
from infpop_operator.api.resource import RETUNE_ANNOTATION
from infpop_operator.api.spec import ThroughputStudy
from infpop_operator.api.status_model import Condition, StudyStatus
from infpop_operator.core.errors import InfPopError, StudyError
from infpop_operator.core.fingerprint import digest

_REQUEST_BYTES = 64  # of a request that is recorded as it is: enough for a time stamp and a name


class UnreadableError(InfPopError):
    """The object's status has a form that this version cannot read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyObject:
    """A study with its status.

    Args:
        name: name of the study.
        engine: name of its engine.
        model: model that a server loads: a Hub id or a directory.
        document: the parsed document, None if this version cannot read the spec.
        status: the status, empty until the first one is written.
        namespace: namespace of the object, empty for a local study.
        generation: `metadata.generation`, None for a local study.
        created_at: when the object was created, None for a local study.
        written_at: when the status was last written, None if that is unknown.
        is_deleted: whether the object is being deleted.
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
        """Return the condition of this type, None if the status does not have it."""
        return next((condition for condition in self.status.conditions if condition.type == kind), None)

    def holds(self, kind: str, status: str = "True") -> bool:
        """Return whether a condition has this status."""
        found = self.condition(kind)
        return found is not None and found.status == status


def parse_study_object(body: Mapping[str, Any]) -> StudyObject:
    """Return the study in an object from the API server.

    Raises:
        UnreadableError: its status has a form that this version cannot read.
    """
    metadata, spec = body["metadata"], body.get("spec") or {}
    engine, model = ((spec.get(part) or {}).get("name", "?") for part in ("engine", "model"))
    created = metadata.get("creationTimestamp")
    return StudyObject(
        name=metadata["name"],
        engine=engine,
        model=model,
        document=_document(body),
        status=parse_status(body.get("status") or {}),
        namespace=metadata["namespace"],
        generation=metadata.get("generation"),
        created_at=None if created is None else datetime.fromisoformat(created),
        written_at=_written_at(metadata),
        is_deleted=bool(metadata.get("deletionTimestamp")),
    )


def retune_request(metadata: Mapping[str, Any]) -> str | None:
    """Return the value of the annotation with which the user requests a new round, None without one.

    It is one line of bounded size. A value that had to be changed for that ends with a hash of the original, so that
    two different values stay different.
    """
    value = (metadata.get("annotations") or {}).get(RETUNE_ANNOTATION)
    if not isinstance(value, str) or not value:
        return None
    shown = clip(value, _REQUEST_BYTES)
    return value if shown == value else f"{shown} ({digest(value)[:8]})"


def parse_status(status: Mapping[str, Any]) -> StudyStatus:
    """Return the status in JSON.

    Raises:
        UnreadableError: it has a form that this version cannot read.
    """
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
    except StudyError:  # the condition Accepted says why
        return None


def _written_at(metadata: Mapping[str, Any]) -> datetime | None:
    entries = metadata.get("managedFields") or ()
    times = [datetime.fromisoformat(entry["time"]) for entry in entries if entry.get("subresource") == "status"]
    return max(times, default=None)
