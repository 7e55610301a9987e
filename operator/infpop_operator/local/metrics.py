"""Extra metrics (`spec.metrics`) on one machine: `infpop tune` does not query Prometheus, so no trial has them."""

from collections.abc import Iterator

from infpop_operator.api.spec import StudySpec, ThroughputStudy
from infpop_operator.core.errors import Problem, StudyError

_MESSAGE = "needs Prometheus, which `infpop tune` does not query"
_REMEDY = "Tune on a cluster, or remove it"


def check_required_metrics(spec: StudySpec) -> None:
    """Check that neither the objective nor a constraint needs a metric from Prometheus.

    Raises:
        StudyError: a metric of the objective is `tokensPerJoule`, or the objective or a constraint needs one of
            `spec.metrics`.
    """
    problems = list(_unavailable_metrics(spec))
    if problems:
        raise StudyError(problems)


def without_metrics(document: ThroughputStudy) -> tuple[ThroughputStudy, tuple[str, ...]]:
    """Return the document without `spec.metrics`, and the notes about that for the user."""
    names = ", ".join(metric.name for metric in document.spec.metrics)
    if not names:
        return document, ()
    spec = document.spec.model_copy(update={"metrics": []})
    note = f"Not measured on this machine: {names} (spec.metrics needs a cluster with Prometheus)."
    return document.model_copy(update={"spec": spec}), (note,)


def _unavailable_metrics(spec: StudySpec) -> Iterator[Problem]:
    own = {metric.name for metric in spec.metrics}
    metric = spec.objective.metric
    if metric in own or metric == "tokensPerJoule":
        yield Problem(field="spec.objective.metric", value=metric, message=_MESSAGE, remedy=_REMEDY)
    if spec.objective.second_metric == "tokensPerJoule":
        field = "spec.objective.secondMetric"
        yield Problem(field=field, value="tokensPerJoule", message=_MESSAGE, remedy=_REMEDY)
    for position, bound in enumerate(spec.objective.constraints):
        if bound.metric in own:
            field = f"spec.objective.constraints[{position}].metric"
            yield Problem(field=field, value=bound.metric, message=_MESSAGE, remedy=_REMEDY)
