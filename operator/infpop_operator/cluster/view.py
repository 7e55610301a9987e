"""A study's object as it is being shown: what can be read of it, and the time."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from infpop_operator.adapters.kube.job_manifest import CPU
from infpop_operator.adapters.kube.records import Body
from infpop_operator.api.landscapes import described_study
from infpop_operator.api.parse import parse_object
from infpop_operator.api.spec import ThroughputStudy
from infpop_operator.api.status_model import Best, Condition, StudyStatus, TrialRow
from infpop_operator.core.errors import InfPopError, StudyError
from infpop_operator.core.model import Study
from infpop_operator.report.words import configuration_phrase, on_one_line


class UnreadableError(InfPopError):
    """The object's status is of a form that this version does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """An object as it is being shown."""

    body: Body
    now: datetime
    document: ThroughputStudy | None
    status: StudyStatus
    study: Study | None

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.body["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """The study's namespace."""
        return str(self.body["metadata"]["namespace"])

    def condition(self, kind: str) -> Condition | None:
        """Return a condition, None while there is none."""
        return next((each for each in self.status.conditions if each.type == kind), None)

    def holds(self, kind: str) -> bool:
        """Say whether a condition is true."""
        found = self.condition(kind)
        return found is not None and found.status == "True"

    def since(self, instant: datetime) -> float:
        """Return the seconds since `instant`."""
        return max(0.0, (self.now - instant).total_seconds())

    def device(self, pool: str) -> str:
        """Return what one of a pool's devices is called, as `report.words.device_word` does."""
        nodes = self.document.spec.node_pools if self.document is not None else []
        on_cpu = any(node.name == pool and node.gpu_resource == CPU for node in nodes)
        return "CPU rank" if on_cpu and not self.status.simulated else "GPU"

    def configuration(self, row: Best | TrialRow) -> str:
        """Return a configuration in one phrase."""
        extra = row.extra or {}
        return on_one_line(configuration_phrase(row.gpu_count, self.device(row.pool), row.batch_size, extra))


def look_at(body: Body, now: datetime) -> View:
    """Return the object with what can be read of it.

    Raises:
        UnreadableError: its status is of a form that this version does not know.
    """
    try:
        status = StudyStatus.model_validate(body.get("status") or {})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"status.{where}: {first['msg']}. Use the version of infpop that the operator has"
        raise UnreadableError(message) from error
    document = _document(body)
    study = None if document is None else described_study(document, status)
    return View(body=body, now=now, document=document, status=status, study=study)


def _document(body: Body) -> ThroughputStudy | None:
    try:
        return parse_object(body)
    except StudyError:  # the operator says why, in the condition Accepted
        return None
