"""What people write first, and what they are told: the message names the field, the value and what to write instead."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import yaml

from api.documents import changed
from infpop_operator.api.guesses import listed_range, meant_decimal, meant_duration
from infpop_operator.api.parse import parse_document
from infpop_operator.core.errors import StudyError

POOL = {"name": "pool", "gpuProduct": "A100"}


def told(text: str) -> str:
    """Return the whole message for a wrong document."""
    with pytest.raises(StudyError) as caught:
        parse_document(text, source="study.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("spec.measurement.minDuration", 10, '10: is a duration without a unit. Write "10s".'),
        ("spec.measurement.minDuration", "10", '"10": is not a duration. Did you mean "10s"?'),
        ("spec.measurement.minDuration", "90 sec", '"90 sec": is not a duration. Did you mean "1m30s"?'),
        ("spec.measurement.timeouts.load", "1.5h", '"1.5h": is not a duration. Did you mean "1h30m"?'),
        ("spec.measurement.timeouts.load", "soon", '"soon": is not a duration. Write for example "30s"'),
        ("spec.measurement.maxSpread", "25", 'at most 10. 1 is 100 %. Did you mean "0.25"?'),
        ("spec.engine.gpuMemoryUtilization", "90", 'at most 1. 1 is 100 %. Did you mean "0.90"?'),
        ("spec.engine.gpuMemoryUtilization", 0.9, '0.9: must be text. Put it in quotes: "0.9".'),
        ("spec.engine.gpuMemoryUtilization", 90, 'at most 1. 1 is 100 %. Did you mean "0.90"?'),
        ("spec.engine.args", {"block_size": 16}, '16: must be text. Put it in quotes: "16".'),
        (
            "spec.engine.args",
            {"max_model_len": 4096},
            "is set by InfPop. Remove it and set spec.workload.maxNewTokens.",
        ),
        ("spec.nodePools.0.pricePerGPUHour", "-3", '"-3": must not be negative. Write a plain decimal in quotes'),
        ("spec.nodePools.0.pricePerGPUHour", "3,50", '"3,50": is not a decimal. Did you mean "3.5"?'),
        ("spec.nodePools.0.pricePerGPUHour", "$3.20", '"$3.20": is not a decimal. Did you mean "3.2"?'),
        (
            "spec.nodePools",
            [POOL, {**POOL, "name": "b"}, POOL],
            "nodePools[2].name: pool: is the name of nodePools[0] too",
        ),
        (
            "spec.searchSpace.batchSize",
            {"min": 1, "max": 8},
            "ranges are not supported. Write the values: [1, 2, 4, 8].",
        ),
        (
            "spec.searchSpace.batchSize",
            {"from": 1, "to": 30, "factor": 3},
            "ranges are not supported. Write the values: [1, 3, 9, 27].",
        ),
        ("spec.searchSpace.gpuCount", 2, "gpuCount: 2: must be a list. Write it as [2]."),
        ("spec.engine.name", "vLLM", "must be 'vllm', 'hf-pipeline' or 'simulated'. Did you mean 'vllm'?"),
        ("spec.budget", {"max_trials": 3}, "spec.budget.max_trials: unknown field. Did you mean maxTrials?"),
        ("spec.budget", {"maxDuration": "2h"}, "spec.budget.maxDuration: unknown field. Did you mean deadline?"),
        ("spec.budget.maxTrials", "20", '"20": must be a whole number. Write 20, without quotes or decimals.'),
        ("spec.budget.maxTrials", 20.0, "20.0: must be a whole number. Write 20, without quotes or decimals."),
        ("spec.searchSpace.batchSize", "1, 2,4", '"1, 2,4": must be a list. Write it as [1, 2, 4].'),
        ("spec.searchSpace.batchSize", [], "batchSize: []: must not be empty. Add an entry."),
        ("spec.nodePools", POOL, "must be a list. Put a dash before its first key, or [ ] around it."),
        ("spec.model", "org/model", 'spec.model: "org/model": must be a mapping. Write {name: org/model}.'),
        ("spec.workload", {"source": {"file": "a.jsonl"}}, '"a.jsonl": must be a mapping. Write {path: a.jsonl}.'),
        (
            "spec.model.name",
            "https://huggingface.co/org/model/tree/main",
            "is an address, not the name of a model. Write org/model.",
        ),
        ("spec.nodePools.0", {"name": "a", 50: None}, "nodePools[0][50]: 50: is a key here, and keys must be text"),
        ("spec.engine", {"name:vllm": None}, 'spec.engine["name:vllm"]: unknown field. Put a space after the colon.'),
        ("spec.measurement.minDuration", "“10s”", '"“10s”": is not a duration. Did you mean "10s"?'),
        ("spec.nodePools.0.pricePerGPUHour", "“3.20”", 'is not a decimal. Did you mean "3.2"?'),
        ("spec.algorithm", "name:grid", "must be a mapping. Put a space after the colon: name: grid."),
        ("metadata.name", datetime(2026, 1, 31, tzinfo=UTC).date(), 'must be text. Put it in quotes: "2026-01-31".'),
        ("status", {}, "status: the operator writes it. Remove it."),
        ("kind", "Study", "kind: \"Study\": must be 'ThroughputStudy'. Write ThroughputStudy."),
    ],
)
def test_a_wrong_value_is_told_what_to_write(path: str, value: object, expected: str) -> None:
    """A guess at what was meant is part of the message, and never used."""
    assert expected in told(yaml.safe_dump(changed({path: value})))


def test_what_is_wrong_beside_missing_quotes_is_told_with_them() -> None:
    """A number without its quotes hides no other mistake, and its own is told once."""
    wrong = {"spec.engine.gpuMemoryUtilization": 90, "spec.measurement.maxSpread": "25"}
    message = told(yaml.safe_dump(changed(wrong)))
    assert 'Did you mean "0.90"?' in message
    assert 'Did you mean "0.25"?' in message
    assert "Put it in quotes" not in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "kind: ThroughputStudy\nspec:\n\tmodel: x\n",
            "study.yaml: line 3 is indented with a tab. Indent with spaces.",
        ),
        (
            "kind: ThroughputStudy\nspec: {a: 1\n",
            "study.yaml: is not valid YAML in line 3: the { of line 2 is not closed. Close it with }.",
        ),
        ("kind: ThroughputStudy\nspec:\n    a: {}\n  b: {}\n", "The keys of a mapping start in the same column"),
        ("kind: ThroughputStudy\nspec: a: b\n", "put a text with a colon in quotes"),
        ('kind: ThroughputStudy\nspec: {a: "x}\n', "in line 3: the quote that line 2 opens is not closed. Close it."),
        ("kind: ThroughputStudy\nspec: {a: [1, 2}\n", "in line 2: the [ of line 2 is not closed. Close it with ]."),
        ("kind: ThroughputStudy\na: *x\n", "in line 2: the alias *x has no anchor. Put &x before its value, or write"),
        (
            "kind: ThroughputStudy\na: !!python/object:os.system ls\n",
            "python/object:os.system is not supported. Remove",
        ),
        ("kind: ThroughputStudy\na: x\0\n", "study.yaml: line 2 has a control character (U+0000). Remove it."),
        ("kind: ThroughputStudy\na: 1\na: 2\n", "the key 'a' is used twice in the mapping that starts on line 1. Keep"),
        ("kind: ThroughputStudy\na: {<<: [&a {x: 1}, *a]}\n", "has a list, and only one alias is supported. Write the"),
        ("kind: ThroughputStudy\n", "apiVersion: this field is required. Add apiVersion: infpop.io/v1alpha1."),
        ("kind: ThroughputStudy\n", "metadata: this field is required. Add metadata: {name: my-study}."),
        ("kind: ThroughputStudy\nspec:\n  model: 1\n   engine: 2\n", "Check the indentation"),
        (
            "- kind: ThroughputStudy\n",
            "study.yaml: is YAML, but not a ThroughputStudy. Start it with `apiVersion: infpop",
        ),
        ("", "study.yaml: is empty. Write a ThroughputStudy into it."),
        ("---\na: 1\n---\nb: 2\n", "study.yaml: holds 2 YAML documents. Keep one study in each file."),
    ],
)
def test_a_wrong_file_is_told_in_which_line(text: str, expected: str) -> None:
    """A text that is no study at all is described in words, with the line where there is one."""
    assert expected in told(text)


def test_several_problems_are_told_at_once_and_each_once() -> None:
    """A user corrects a study in one go."""
    wrong = {"spec.searchSpace.batchSize": [0, "x"], "spec.budget": {"maxTrials": -1}, "spec.banana": 3}
    message = told(yaml.safe_dump(changed(wrong)))
    assert [message.count(field) for field in ("batchSize[0]", "batchSize[1]", "maxTrials: -1", "spec.banana")] == [
        1
    ] * 4


@pytest.mark.parametrize(
    ("wrong", "told_not"),
    [
        ({"spec.searchSpace": {"gpus": [1], "batchSize": [1]}}, "gpuCount: this field is required"),
        ({"spec.objective": {"metric": "throughputPerGpu"}}, "spec.objective.goal"),
    ],
)
def test_one_mistake_is_one_problem(wrong: dict[str, object], told_not: str) -> None:
    """A misspelt name is said once: that what it stands for is missing follows from it."""
    message = told(yaml.safe_dump(changed(wrong)))
    assert "Did you mean" in message
    assert told_not not in message


@pytest.mark.parametrize("text", ["", "s", "ten", "1:30", "99999999s", "-1s", "1.2.3", "5 parsecs"])
def test_no_duration_is_guessed_from_what_is_none(text: str) -> None:
    """Without a number and the name of a unit nothing is suggested."""
    assert meant_duration(text) is None


@pytest.mark.parametrize("text", ["", "1,234.5", "nan", "inf", "1e30", "-2", "0.90 of all"])
def test_no_decimal_is_guessed_from_what_is_none(text: str) -> None:
    """What may mean two numbers, or no number, is not guessed."""
    assert meant_decimal(text) is None


@pytest.mark.parametrize("fields", [{}, {"min": 8, "max": 1}, {"from": "1", "to": "8"}, {"min": 1}])
def test_no_values_are_guessed_from_half_a_range(fields: dict[object, object]) -> None:
    """Both ends must be numbers, in order."""
    assert listed_range(fields) is None


@pytest.mark.parametrize(
    "write",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: f"\ufeff{text}",
        lambda text: f"---\n{text}---\n",
        lambda text: json.dumps(yaml.safe_load(text)),
        lambda text: text.replace("kind:", "kind:  # a study\n ", 1),
    ],
    ids=["Windows line ends", "byte-order mark", "document markers", "JSON", "comment"],
)
def test_a_study_may_be_written_as_any_editor_writes_it(write: Callable[[str], str]) -> None:
    """What means the same is read as the same."""
    text = yaml.safe_dump(changed({}))
    assert parse_document(write(text), source="study.yaml") == parse_document(text, source="study.yaml")


def test_mappings_may_be_merged_as_kubectl_does() -> None:
    """A key << takes the keys of an anchor over, and those beside it win."""
    pools = "  nodePools: [&a {name: a, gpuProduct: A100}, {<<: *a, name: b}]\n"
    document = changed({})
    del document["spec"]["nodePools"]
    study = parse_document(yaml.safe_dump(document).replace("spec:\n", f"spec:\n{pools}"), source="study.yaml")
    assert [(pool.name, pool.gpu_product) for pool in study.spec.node_pools] == [("a", "A100"), ("b", "A100")]
