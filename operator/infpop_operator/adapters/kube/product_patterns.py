"""Find the Nodes whose GPU product matches a pattern of a user, in bounded time.

Pure. Users write the patterns as regular expressions, so their complexity is bounded: matching one takes milliseconds
at most.
"""

import re
from collections.abc import Sequence

from infpop_operator.adapters.kube.node_gpus import product_of
from infpop_operator.adapters.kube.pool_problems import UnmatchedPool
from infpop_operator.adapters.kube.records import NodeRecord

# Python's matcher tries alternatives one after the other, and a label value has up to 63 characters: an unbounded
# repeat may stop at 64 places, which is 6 bits of choice; an alternative adds at most one bit. 12 bits are a few
# thousand paths. A repeated group has no bound.
_MOST_CHOICE_BITS = 12
_REPEAT_BITS = 6


def matching(pattern: str | None, nodes: Sequence[NodeRecord]) -> list[NodeRecord] | UnmatchedPool:
    """Return the Nodes whose product matches the pattern, ignoring case: clouds write a100 for A100."""
    if pattern is None:
        return list(nodes)
    if not _is_bounded(pattern):
        message = (
            f"gpuProduct {pattern!r} could take too long to match; it may match anywhere in the product's name, so "
            "remove .* at both ends, repeated groups and most alternatives"
        )
        return UnmatchedPool(reason="PatternRefused", message=message)
    try:
        search = re.compile(pattern, re.IGNORECASE).search
    except (re.error, OverflowError, RecursionError) as error:
        message = f"gpuProduct {pattern!r} is not a regular expression: {error}"
        return UnmatchedPool(reason="PatternRefused", message=message)
    matches = {product: product != "" and search(product) is not None for product in map(product_of, nodes)}
    return [node for node in nodes if matches[product_of(node)]]


def _is_bounded(pattern: str) -> bool:
    """Return whether matching tries at most a few thousand paths, for any text.

    The count is an upper bound: characters inside a class count as if they were operators.
    """
    bits, before = 0, ""
    skip = False
    for character in pattern:
        if skip:
            skip, character = False, "\\"  # noqa: PLW2901 - an escaped character is not an operator
        elif character == "\\":
            skip = True
        elif character in "*+{?" and before == ")":
            return False
        elif character == "?" and before == "(":
            pass
        elif character in "*+{":
            bits += _REPEAT_BITS
        elif character in "?|":
            bits += 1
        before = character
    return bits <= _MOST_CHOICE_BITS and not re.search(r"\(\?(?!:|i\))", pattern)
