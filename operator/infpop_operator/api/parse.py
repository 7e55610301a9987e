"""Parse a study document; every error names field, value and remedy."""

from collections.abc import Hashable, Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from infpop_operator.api.field_problems import to_problems
from infpop_operator.api.quoted_numbers import with_quotes
from infpop_operator.api.resource import API_VERSION, KIND
from infpop_operator.api.rules import broken_rules
from infpop_operator.api.spec import ThroughputStudy
from infpop_operator.api.yaml_problems import yaml_problem
from infpop_operator.core.errors import Problem, StudyError

_MOST_NODES = 100_000  # values in a document with its aliases expanded; a large study has some thousands
_LARGEST_DOCUMENT = 1_000_000  # characters; a Kubernetes object has at most about 1.5 MiB
_MERGE = "tag:yaml.org,2002:merge"  # of the key <<


def parse_document(text: str, *, source: str) -> ThroughputStudy:
    """Return the study in `text`; `source` names the text in messages.

    Raises:
        StudyError: it is not YAML, not a `ThroughputStudy`, or breaks a rule; the error lists all problems.
    """
    return _validated(_load_yaml(text, source), hint="")


def parse_object(body: Mapping[str, Any]) -> ThroughputStudy:
    """Return the study in an object from the API server; its status and other metadata are ignored.

    The API server drops fields that its CRD does not have, so an unknown field comes from a newer CRD. It may change
    the meaning of other fields, so such a study is rejected rather than misunderstood.

    Raises:
        StudyError: it breaks a rule, or has a field of a newer version; the error lists all problems.
    """
    tree = {key: body[key] for key in ("apiVersion", "kind", "metadata", "spec") if key in body}
    return _validated(tree, hint=". If the field belongs to a newer version, upgrade the operator")


def _validated(tree: Mapping[str, Any], *, hint: str) -> ThroughputStudy:
    try:
        document = _modelled(tree)
    except ValidationError as error:
        raise StudyError(_all_problems(tree, error, hint)) from None
    problems = broken_rules(document.spec)
    if problems:
        raise StudyError(problems)
    return document


def _modelled(tree: Mapping[str, Any]) -> ThroughputStudy:
    # By alias alone: a key such as max_trials would pass here, and be dropped by the API server.
    return ThroughputStudy.model_validate(tree, by_alias=True, by_name=False)


def _all_problems(tree: Mapping[str, Any], error: ValidationError, hint: str) -> list[Problem]:
    """Return the problems of `tree`; if only quotes are missing, also those that it has with them."""
    errors = error.errors(include_url=False)
    problems = list(to_problems(errors, hint))
    quoted = with_quotes(tree, errors)
    if quoted is None:
        return problems
    try:
        broken = list(broken_rules(_modelled(quoted).spec))
    except ValidationError:  # something else is wrong, too
        return problems
    fields = {problem.field for problem in broken}
    return [problem for problem in problems if problem.field not in fields] + broken


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that rejects duplicate keys instead of keeping the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[Hashable] = set()
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:  # its keys give way to those of the mapping
                _refuse_list(value_node)
                continue
            key = self.construct_object(key_node, deep=deep)
            if isinstance(key, Hashable) and key in seen:
                line = node.start_mark.line + 1
                raise yaml.YAMLError(f"the key {key!r} is used twice in the mapping that starts on line {line}")
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _refuse_list(merged: yaml.Node) -> None:
    """Refuse to merge several mappings at once: nested lists of a few aliases would exceed any memory."""
    if isinstance(merged, yaml.SequenceNode):
        line = merged.start_mark.line + 1
        raise yaml.YAMLError(f"the key << in line {line} has a list, and only one alias is supported")


def _load_yaml(text: str, source: str) -> Mapping[str, Any]:
    if len(text) > _LARGEST_DOCUMENT:
        raise StudyError([_whole(source, f"is {len(text)} characters long", "Use at most 1,000,000")])
    try:
        documents = [tree for tree in yaml.load_all(text, Loader=_StrictLoader) if tree is not None]
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise StudyError([_whole(source, *yaml_problem(text, error))]) from None
    if not documents:
        raise StudyError([_whole(source, "is empty", f"Write a {KIND} into it")])
    if len(documents) > 1:
        raise StudyError([_whole(source, f"holds {len(documents)} YAML documents", "Keep one study in each file")])
    tree = documents[0]
    if not isinstance(tree, dict) or "kind" not in tree:
        remedy = f"Start it with `apiVersion: {API_VERSION}` and `kind: {KIND}`"
        raise StudyError([_whole(source, f"is YAML, but not a {KIND}", remedy)])
    if _has_too_many_nodes(tree):
        remedy = "Use fewer aliases (*name): each repeats everything in its anchor"
        raise StudyError([_whole(source, f"holds more than {_MOST_NODES:,} values", remedy)])
    return tree


def _has_too_many_nodes(tree: object) -> bool:
    """Return whether the expanded document is too large; stops early, as a few aliases can exceed any memory."""
    waiting, count = [tree], 0
    while waiting and count <= _MOST_NODES:
        node = waiting.pop()
        count += 1
        if isinstance(node, dict):
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
    return count > _MOST_NODES


def _whole(source: str, message: str, remedy: str) -> Problem:
    return Problem(field=source, value="", message=message, remedy=remedy)
