"""Which fields an API server drops whose CustomResourceDefinition is that of another version."""

from copy import deepcopy
from typing import Any

from infpop_operator.api.crd import build_crd
from infpop_operator.api.dropped_fields import dropped_fields


def published(*without: tuple[str, ...]) -> dict[str, Any]:
    """Return what an API server publishes that knows this version's fields except for those at these paths."""
    schema = deepcopy(build_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    for *parents, name in without:
        inner = schema
        for parent in parents:
            inner = inner["properties"][parent]
            inner = inner.get("items", inner)
        del inner["properties"][name]
    kinds = {"io.infpop.v1alpha1.ThroughputStudyList": {}, "io.infpop.v1alpha1.ThroughputStudy": schema}
    return {"components": {"schemas": kinds}}


def test_this_versions_definition_drops_nothing() -> None:
    """An operator with its own definition has nothing to warn of."""
    assert dropped_fields(published()) == ()


def test_each_unknown_field_is_named_once() -> None:
    """What is below an unknown field is not listed; items of lists are compared too."""
    older = published(("spec", "engine", "podTemplate"), ("spec", "nodePools", "podTemplate"), ("status", "pareto"))
    assert dropped_fields(older) == ("spec.engine.podTemplate", "spec.nodePools[].podTemplate", "status.pareto")


def test_a_definition_that_is_not_published_yet_is_no_older_one() -> None:
    """The API server publishes a definition some seconds after it has accepted it."""
    assert dropped_fields({"components": {"schemas": {}}}) == ()
