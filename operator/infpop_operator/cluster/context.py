"""What one pass over a study works on, as one value."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from infpop_operator.adapters.kube.job_manifest import Owner
from infpop_operator.adapters.kube.records import Body
from infpop_operator.api.status_context import PrometheusHealth
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.resolve import ResolvedStudy
from infpop_operator.cluster.study_memory import StudyMemory
from infpop_operator.core.model import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileContext:
    """The object as it was read, its status as it was read, the time, and what is remembered of the study.

    `prometheus` is None where no Prometheus is asked.
    """

    key: StudyKey
    body: Body
    previous: StudyStatus | None
    now: datetime
    memory: StudyMemory
    prometheus: PrometheusHealth | None = None

    @property
    def generation(self) -> int:
        """Return the generation of the spec."""
        return int(self.body["metadata"]["generation"])

    @property
    def uid(self) -> str:
        """Return what tells this study from others that had, or will have, its name."""
        return str(self.body["metadata"]["uid"])

    @property
    def is_suspended(self) -> bool:
        """Say whether the owner wants no runs now, also where the rest of the spec cannot be parsed."""
        spec = self.body.get("spec")
        return isinstance(spec, Mapping) and spec.get("suspend") is True


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedContext(ReconcileContext):
    """A pass over a study that can be decided on."""

    resolved: ResolvedStudy

    @property
    def study(self) -> Study:
        """Return the study for the core."""
        return self.resolved.study

    @property
    def owner(self) -> Owner:
        """Return what the study's children refer to."""
        return self.resolved.owner


def read_context(
    body: Body, memory: StudyMemory, now: datetime, *, prometheus: PrometheusHealth | None = None
) -> ReconcileContext:
    """Return the context of a pass; a status of a form that this version cannot read counts as none."""
    try:
        previous = StudyStatus.model_validate(body["status"]) if "status" in body else None
    except ValidationError:
        previous = None
    return ReconcileContext(key=memory.key, body=body, previous=previous, now=now, memory=memory, prometheus=prometheus)


def resolve_context(context: ReconcileContext, resolved: ResolvedStudy) -> ResolvedContext:
    """Return the context with the study as it can be decided on."""
    return ResolvedContext(
        key=context.key,
        body=context.body,
        previous=context.previous,
        now=context.now,
        memory=context.memory,
        prometheus=context.prometheus,
        resolved=resolved,
    )
