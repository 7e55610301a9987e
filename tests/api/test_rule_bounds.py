"""Each rule holds exactly up to its bound, in Python and in CEL."""

import re

import pytest

from api.cel_evaluation import broken_messages
from api.documents import changed
from api.rule_bounds import BOUNDS, Bound
from api.rule_examples import EXAMPLES
from infpop_operator.api.cel import RULES, Rule
from infpop_operator.api.parse import parse_object
from infpop_operator.core.errors import StudyError

RULES_BY_NAME = {rule.name: rule for rule in RULES}


def refused_fields(bound: Bound) -> list[str]:
    """Return the fields of the changed document that Python refuses, without indexes; empty if it is valid."""
    try:
        parse_object(changed(bound.changes))
    except StudyError as error:
        return [re.sub(r"\[\d+\]", "", problem.field) for problem in error.problems]
    return []


def is_about(rule: Rule, field: str) -> bool:
    """Return whether a problem at `field` can come from the rule: one path equals or contains the other."""
    path = ".".join(part for part in (rule.path.replace("[]", ""), rule.field) if part)
    return field.startswith(path) or path.startswith(field)


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: f"{bound.rule}-{bound.holds}")
def test_the_api_server_and_python_agree_at_every_bound(bound: Bound) -> None:
    """A value at or within a bound is accepted; a value beyond it is refused by both, for that reason."""
    rule = RULES_BY_NAME[bound.rule]
    broken, refused = broken_messages(changed(bound.changes), at=rule.path), refused_fields(bound)
    if bound.holds:
        assert (broken, refused) == ([], [])
    else:
        assert (rule.path, rule.message) in broken
        assert [field for field in refused if is_about(rule, field)]


def test_every_rule_has_documents_on_both_sides() -> None:
    """Every rule has a bound, and documents on both sides of it."""
    for holds in (True, False):
        assert {bound.rule for bound in BOUNDS if bound.holds is holds} == set(RULES_BY_NAME)


@pytest.mark.parametrize("name", sorted(RULES_BY_NAME))
def test_the_examples_are_judged_alike_without_an_api_server(name: str) -> None:
    """A valid example breaks no rule in `crds/`; an invalid one breaks its own rule."""
    rule = RULES_BY_NAME[name]
    assert broken_messages(changed(EXAMPLES[name].valid)) == []
    assert (rule.path, rule.message) in broken_messages(changed(EXAMPLES[name].invalid))
