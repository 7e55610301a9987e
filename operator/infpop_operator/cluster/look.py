"""One look at one study: what was read, and the statuses that can follow from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from infpop_operator.adapters.kube.records import Body
from infpop_operator.api.status import StatusContext, refused_status, to_status, waiting_status
from infpop_operator.api.status_context import PrometheusHealth
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.resolve import ResolvedStudy
from infpop_operator.core.errors import Problem
from infpop_operator.core.model import Decision, Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The object as it was read, the time, and how Prometheus stands (None: nobody asks it)."""

    key: StudyKey
    body: Body
    previous: StudyStatus | None
    now: datetime
    prometheus: PrometheusHealth | None = None

    @property
    def generation(self) -> int:
        """Return the generation of the spec that is looked at."""
        return int(self.body["metadata"]["generation"])

    @property
    def uid(self) -> str:
        """Return what tells this study from others that had, or will have, its name."""
        return str(self.body["metadata"]["uid"])

    @property
    def is_suspended(self) -> bool:
        """Say whether its owner wants no runs now, also where the rest of the spec cannot be understood."""
        spec = self.body.get("spec")
        return isinstance(spec, Mapping) and spec.get("suspend") is True


def look_at(key: StudyKey, body: Body, now: datetime, *, prometheus: PrometheusHealth | None = None) -> Look:
    """Return a look; a status that another version wrote and we cannot read is as good as none."""
    try:
        previous = StudyStatus.model_validate(body["status"]) if "status" in body else None
    except ValidationError:
        previous = None
    return Look(key=key, body=body, previous=previous, now=now, prometheus=prometheus)


def refused(look: Look, problems: Sequence[Problem]) -> StudyStatus:
    """Return the status of a study that says something impossible."""
    standing = StatusContext(generation=look.generation, suspended=look.is_suspended, prometheus=look.prometheus)
    return refused_status(problems, look.now, previous=look.previous, standing=standing)


def hindered(look: Look, reason: str, message: str) -> StudyStatus:
    """Return the status of a valid study for which nothing can be decided or done now."""
    standing = StatusContext(generation=look.generation, suspended=look.is_suspended, prometheus=look.prometheus)
    return waiting_status(reason, message, look.now, previous=look.previous, standing=standing)


def without_nodes(look: Look, prepared: ResolvedStudy) -> StudyStatus:
    """Return the status of a study of which no pool can be tuned, now or ever before."""
    reason = next(iter(prepared.problems.values())).reason
    message = "; ".join(f"pool {name}: {problem.message}" for name, problem in prepared.problems.items())
    standing = StatusContext(
        generation=look.generation,
        pool_problems=prepared.problems,
        suspended=prepared.document.spec.suspend,
        prometheus=look.prometheus,
    )
    return waiting_status(reason, message, look.now, previous=look.previous, standing=standing)


def decided(
    look: Look, prepared: ResolvedStudy, decision: Decision, observations: Mapping[str, Observation]
) -> StudyStatus:
    """Return the status that a decision makes; its history is what the journal has by now."""
    live = {entry.run.name for entry in decision.history.active}
    standing = StatusContext(
        generation=look.generation,
        observations={run: seen for run, seen in observations.items() if run in live},
        pool_problems=prepared.problems,
        pool_nodes=prepared.pool_nodes,
        suspended=prepared.study.suspended,
        prometheus=look.prometheus,
    )
    return to_status(prepared.study, decision, look.now, previous=look.previous, standing=standing)
