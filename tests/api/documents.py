"""A valid study document, and documents that differ from it in single values."""

import copy
from collections.abc import Mapping
from typing import Any

from infpop_operator.api.resource import API_VERSION, KIND

Document = dict[str, Any]

VALID: Document = {
    "apiVersion": API_VERSION,
    "kind": KIND,
    "metadata": {"name": "study", "namespace": "serving", "labels": {"team": "a"}},
    "spec": {
        "model": {"name": "org/model"},
        "engine": {"name": "vllm"},
        "searchSpace": {"gpuCount": [1, 2], "batchSize": [1, 8]},
        "nodePools": [{"name": "a100", "gpuProduct": "A100"}],
    },
}


def changed(changes: Mapping[str, object]) -> Document:
    """Return the valid document with values replaced; the key "a.b.0.c" walks mappings and lists."""
    return changed_of(VALID, changes)


def changed_of(original: Document, changes: Mapping[str, object]) -> Document:
    """Return another document with values replaced, by the same keys."""
    document = copy.deepcopy(original)
    for path, value in changes.items():
        *parents, last = path.split(".")
        node: Any = document
        for key in parents:
            node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
        node[int(last) if isinstance(node, list) else last] = copy.deepcopy(value)
    return document
