"""Rules for studies on a cluster: what is valid on one machine, but cannot work in a Pod."""

from collections.abc import Iterable, Iterator

from infpop_operator.api.spec import StudySpec
from infpop_operator.core.errors import Problem


def cluster_rules(spec: StudySpec) -> Iterator[Problem]:
    """Yield the problems that the spec has on every cluster."""
    for where, path in _paths(spec):
        if not path.startswith("/"):
            message = "is a relative path, which a Pod cannot resolve"
            remedy = "Give an absolute path inside the runner's image or on model.cacheClaim"
            yield Problem(field=where, value=path, message=message, remedy=remedy)


def _paths(spec: StudySpec) -> Iterable[tuple[str, str]]:
    if spec.model.name.startswith((".", "~")):
        yield ("spec.model.name", spec.model.name)
    if spec.workload.source.file is not None:
        yield ("spec.workload.source.file.path", spec.workload.source.file.path)
    simulation = spec.engine.simulation
    if simulation is not None and simulation.recorded is not None:
        yield ("spec.engine.simulation.recorded.path", simulation.recorded.path)
