"""Check a study without starting anything, as `infpop validate` does."""

from typing import Literal

from infpop.documents import StudyDocument, prepared_study, read_study
from infpop_operator.api.parse import parse_document
from infpop_operator.api.rules_cluster import cluster_rules
from infpop_operator.core.errors import Problem, StudyError

_TARGETS = ("machine", "cluster")


def validate(study: StudyDocument, *, target: Literal["machine", "cluster"] = "machine") -> list[Problem]:
    """Return everything that is wrong with a study, and why it cannot be tuned; empty if it can.

    Args:
        study: a path, YAML text, or a dict.
        target: where it is to be tuned: on this machine, or on any cluster, of which nothing is asked.

    Returns:
        For each problem its `field`, `value`, `message` and `remedy`.

    Raises:
        ValueError: there is no such target.
    """
    if target not in _TARGETS:  # or a typing error would be an answer about another place
        raise ValueError(f"target: {target!r}: is not known. Use one of: {', '.join(_TARGETS)}.")
    try:
        if target == "cluster":
            text, name, _ = read_study(study)
            return list(cluster_rules(parse_document(text, source=name).spec))
        prepared_study(study)
    except StudyError as error:
        return list(error.problems)
    return []
