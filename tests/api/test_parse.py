"""A study document is either a study, or a list of problems that name field, value and remedy."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from infpop_operator.api.parse import parse_document
from infpop_operator.core.errors import StudyError

Document = dict[str, Any]

VALID: Document = {
    "apiVersion": "infpop.io/v1alpha1",
    "kind": "ThroughputStudy",
    "metadata": {"name": "study", "namespace": "serving", "labels": {"team": "a"}},
    "spec": {
        "model": {"name": "org/model"},
        "engine": {"name": "vllm"},
        "searchSpace": {"gpuCount": [1, 2], "batchSize": [1, 8]},
        "nodePools": [{"name": "a100", "gpuProduct": "A100"}],
    },
}


def changed(path: str, value: object) -> str:
    """Return the valid document as YAML with one value replaced; "a.b.0.c" walks mappings and lists."""
    document = copy.deepcopy(VALID)
    *parents, last = path.split(".")
    node: Any = document
    for key in parents:
        node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
    node[int(last) if isinstance(node, list) else last] = value
    return yaml.safe_dump(document)


def problems(text: str) -> str:
    """Return the whole message that a bad document gets."""
    with pytest.raises(StudyError) as caught:
        parse_document(text, source="study.yaml")
    return str(caught.value)


def test_a_small_valid_document_gets_the_documented_defaults() -> None:
    """What the owner leaves out is filled in by the schema, not by code further down."""
    spec = parse_document(yaml.safe_dump(VALID), source="study.yaml").spec
    assert (spec.budget.max_trials, spec.measurement.repeats, spec.algorithm.name) == (20, 3, "tpe")
    assert spec.workload.source.builtin == "code-infilling-v1"
    assert spec.engine.gpu_memory_utilization == "0.85"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("spec.searchSpace.batchSize", [1, 0], ("spec.searchSpace.batchSize[1]", "0", "at least 1")),
        ("spec.searchSpace.batchSize", [], ("spec.searchSpace.batchSize", "[]", "Add an entry")),
        ("spec.searchSpace.batchSize", [8, 8], ("spec.searchSpace.batchSize", "8", "once")),
        ("spec.searchSpace.batchSize", ["8"], ("spec.searchSpace.batchSize[0]", '"8"', "without quotes")),
        ("spec.searchSpace.gpuCount", [1, 16], ("spec.searchSpace.gpuCount", "16", "maxConcurrentGPUs")),
        ("spec.searchSpace.gpuCounts", [1], ("spec.searchSpace.gpuCounts", "unknown field", "gpuCount?")),
        ("spec.engine.name", "vlm", ("spec.engine.name", '"vlm"', "Did you mean 'vllm'?")),
        ("spec.engine.gpuMemoryUtilization", 0.85, ("spec.engine.gpuMemoryUtilization", "0.85", "quotes")),
        ("spec.engine.gpuMemoryUtilization", "1.5", ("spec.engine.gpuMemoryUtilization", "1.5", "at most 1")),
        ("spec.engine.args", {"max_num_seqs": "4"}, ("spec.engine.args.max_num_seqs", "batchSize", "Remove")),
        ("spec.engine.args", {"--foo; rm -rf": "4"}, ("spec.engine.args", "argument name", "Python name")),
        ("spec.engine.simulation", {"formula": {}}, ("spec.engine.simulation", "simulated", "Remove it")),
        ("spec.engine", {"name": "simulated"}, ("spec.engine.simulation", "needs it", "formula")),
        ("spec.objective.metric", "speed", ("spec.objective.metric", '"speed"', "throughput")),
        ("spec.objective.metric", "costPerMillionTokens", ("spec.nodePools[0].pricePerGPUHour", "3.67", "objective")),
        ("spec.objective.constraints", [{"metric": "spread"}], ("spec.objective.constraints[0]", "bound", "max")),
        ("spec.algorithm.name", "bayes", ("spec.algorithm.name", '"bayes"', "tpe")),
        ("spec.algorithm.trialsPerRun", 9, ("spec.algorithm.trialsPerRun", "9", "8 or less")),
        ("spec.budget.parallelTrials", 64, ("spec.budget.parallelTrials", "64", "maxTrials")),
        ("spec.budget.deadline", "soon", ("spec.budget.deadline", '"soon"', "1h30m")),
        ("spec.measurement.repeats", 1, ("spec.measurement.repeats", "1", "3 or more")),
        ("spec.measurement.minDuration", "20m", ("spec.measurement.timeouts.measure", "30m", "3600s")),
        ("spec.workload.source", {}, ("spec.workload.source", "0 sources", "exactly one")),
        ("spec.workload.samples", True, ("spec.workload.samples", "true", "whole number")),
        ("spec.nodePools", [], ("spec.nodePools", "[]", "Add an entry")),
        ("spec.nodePools.0.gpuProduct", "A100(", ("spec.nodePools[0].gpuProduct", "A100(", "regular expression")),
        ("spec.baseline", {"gpuCount": 9, "batchSize": 1}, ("spec.baseline.gpuCount", "9", "maxConcurrentGPUs")),
        ("metadata.name", "x" * 53, ("metadata.name", "xxx", "at most 52")),
        ("metadata.name", "Upper_Case", ("metadata.name", '"Upper_Case"', "lower-case")),
        (
            "spec.searchSpace.extra",
            [{"name": "block_size", "values": ["1", "true"]}],
            ("spec.searchSpace.extra[0].values", "true", "once"),
        ),
        ("kind", "Deployment", ("kind", '"Deployment"', "ThroughputStudy")),
        ("apiVersion", "v1", ("apiVersion", '"v1"', "infpop.io/v1alpha1")),
        ("spec.model", "llama", ("spec.model", '"llama"', "key: value")),
    ],
)
def test_a_mistake_is_named_with_field_value_and_remedy(path: str, value: object, expected: tuple[str, ...]) -> None:
    """Whoever makes a mistake can mend it from the message alone."""
    message = problems(changed(path, value))
    for part in expected:
        assert part in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "holds 0 YAML documents"),
        ("a: [1", "is not valid YAML"),
        ("just text", "is YAML, but not a ThroughputStudy"),
        ("- 1\n- 2", "is YAML, but not a ThroughputStudy"),
        ("kind: A\n---\nkind: B", "holds 2 YAML documents"),
        ("kind: A\nkind: B", "stands twice"),
        ("[" * 5000, "is not valid YAML"),
        ("x" * 1_000_001, "1000001 characters"),
        ("kind: !!python/object/apply:os.system [echo]", "is not valid YAML"),
    ],
)
def test_text_that_is_no_study_gets_one_problem_that_names_the_file(text: str, expected: str) -> None:
    """Rubbish is answered with the file's name and what a study starts with, never with a traceback."""
    message = problems(text)
    assert message.startswith("study.yaml: ")
    assert expected in message


def test_all_problems_are_told_at_once() -> None:
    """Three mistakes need one round trip, not three."""
    document = copy.deepcopy(VALID)
    document["spec"]["budget"] = {"maxTrials": 0, "parallelTrials": 0, "maxFailedTrials": -1}
    assert len(problems(yaml.safe_dump(document)).splitlines()) == 3


def _mutations(document: Document) -> list[Callable[[Document, object], None]]:
    """Return functions that each replace one value anywhere in the document."""

    def setter(path: tuple[str | int, ...]) -> Callable[[Document, object], None]:
        def replace(target: Document, value: object) -> None:
            node: Any = target
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = value

        return replace

    def walk(node: object, path: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        return [path, *(found for key, child in items for found in walk(child, (*path, key)))]

    return [setter(path) for path in walk(document, ()) if path]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(mutation=st.sampled_from(_mutations(VALID)), value=JSON_VALUES)
def test_whatever_stands_in_a_document_is_either_accepted_or_explained(
    mutation: Callable[[Document, object], None], value: object
) -> None:
    """No value anywhere makes the parser fail in another way than by explaining a problem."""
    document = copy.deepcopy(VALID)
    mutation(document, value)
    try:
        parse_document(yaml.safe_dump(document), source="study.yaml")
    except StudyError as error:
        explained = all(problem.field and problem.remedy for problem in error.problems)
    else:
        explained = True
    assert explained
