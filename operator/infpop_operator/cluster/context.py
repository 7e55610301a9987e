"""The input of one pass over a study, as one value."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime

from pydantic import ValidationError

from infpop_operator.adapters.kube.job_manifest import Owner
from infpop_operator.adapters.kube.records import Body
from infpop_operator.api.status_context import PrometheusHealth
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.resolve import ResolvedStudy, owner_of
from infpop_operator.cluster.study_memory import StudyMemory
from infpop_operator.core.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileContext:
    """The study object and its status as the operator read them, the time, and the operator's memory of the study.

    `prometheus` is None if the operator has no Prometheus.
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
        """Return the uid, which distinguishes this study from earlier and later ones of the same name."""
        return str(self.body["metadata"]["uid"])

    @property
    def owner(self) -> Owner:
        """Return the owner that the study's Jobs refer to."""
        return owner_of(self.body)

    @property
    def is_suspended(self) -> bool:
        """Return whether the user suspended the study, even if the rest of the spec cannot be parsed."""
        spec = self.body.get("spec")
        return isinstance(spec, Mapping) and spec.get("suspend") is True


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedContext(ReconcileContext):
    """The input of a pass whose study is valid and joined with the Nodes, so that `core.decide` can take it."""

    resolved: ResolvedStudy

    @property
    def study(self) -> Study:
        """Return the study as `core.decide` takes it."""
        return self.resolved.study


def read_context(
    body: Body, memory: StudyMemory, now: datetime, *, prometheus: PrometheusHealth | None = None
) -> ReconcileContext:
    """Return the context of a pass; a status that this version cannot parse counts as absent."""
    try:
        previous = StudyStatus.model_validate(body["status"]) if "status" in body else None
    except ValidationError:
        previous = None
    return ReconcileContext(key=memory.key, body=body, previous=previous, now=now, memory=memory, prometheus=prometheus)


def resolve_context(context: ReconcileContext, resolved: ResolvedStudy) -> ResolvedContext:
    """Return the context with the resolved study added."""
    known = {item.name: getattr(context, item.name) for item in fields(context)}
    return ResolvedContext(**known, resolved=resolved)
