"""Each number, list, map and text of a study is accepted exactly up to its bound, by Python and by the schema."""

from collections.abc import Callable
from typing import Any

import pytest

from api.cel_evaluation import Schema, schema_of_object
from api.documents import Document, changed_of
from api.whole_studies import SOURCES, WHOLE, simulated, with_source
from infpop_operator.api.parse import parse_object
from infpop_operator.core.errors import StudyError

# Rules between fields leave room for each bound here.
ROOM: dict[str, object] = {
    "spec.searchSpace.gpuCount": [1],
    "spec.budget.maxConcurrentGPUs": 4096,
    "spec.budget.parallelTrials": 1,
    "spec.measurement.minDuration": "0s",
    "spec.baseline.gpuCount": 1,
}
ROOMY = changed_of(WHOLE, ROOM)
FORMULA, RECORDED = simulated("formula"), simulated("recorded")
SOURCE, LANDSCAPE = "spec.workload.source", "spec.engine.simulation"
NUMBERS: dict[str, tuple[int, int, Document]] = {
    "spec.searchSpace.gpuCount.0": (1, 1024, ROOMY),
    "spec.searchSpace.batchSize.0": (1, 65_536, ROOMY),
    "spec.algorithm.seed": (0, 2**31 - 1, ROOMY),
    "spec.algorithm.trialsPerRun": (1, 8, ROOMY),
    "spec.budget.maxTrials": (1, 10_000, ROOMY),
    "spec.budget.parallelTrials": (1, 64, changed_of(ROOMY, {"spec.budget.maxTrials": 100})),
    "spec.budget.maxConcurrentGPUs": (1, 4096, ROOMY),
    "spec.budget.maxFailedTrials": (0, 1000, ROOMY),
    "spec.budget.plateau.trials": (1, 1000, ROOMY),
    "spec.measurement.warmupBatches": (1, 100, ROOMY),
    "spec.measurement.repeats": (3, 100, ROOMY),
    "spec.baseline.gpuCount": (1, 1024, ROOMY),
    "spec.baseline.batchSize": (1, 65_536, ROOMY),
    "spec.engine.maxNumBatchedTokens": (1, 1_048_576, ROOMY),
    "spec.workload.samples": (1, 100_000, ROOMY),
    "spec.workload.maxNewTokens": (1, 131_072, ROOMY),
    "spec.ttlSecondsAfterFinished": (0, 31_536_000, ROOMY),
    "spec.nodePools.0.tolerations.0.tolerationSeconds": (0, 86_400, ROOMY),
    f"{SOURCE}.synthetic.promptTokens": (1, 1_000_000, with_source("synthetic")),
    f"{LANDSCAPE}.formula.bestGpuCount": (1, 1024, FORMULA),
    f"{LANDSCAPE}.formula.bestBatchSize": (1, 65_536, FORMULA),
    f"{LANDSCAPE}.formula.largestBatchPerGPU": (1, 65_536, FORMULA),
}
# The number of entries, and how to create the entry with a given number.
ENTRIES: dict[str, tuple[int, int, Any]] = {
    "spec.searchSpace.gpuCount": (1, 32, lambda number: number + 1),
    "spec.searchSpace.batchSize": (1, 64, lambda number: number + 1),
    "spec.searchSpace.extra": (0, 4, lambda number: {"name": f"extra_{number}", "values": ["1"]}),
    "spec.searchSpace.extra.0.values": (1, 16, str),
    "spec.objective.constraints": (0, 8, lambda _: {"metric": "spread", "max": "1"}),
    "spec.engine.imagePullSecrets": (0, 8, lambda number: {"name": f"secret-{number}"}),
    "spec.nodePools": (1, 16, lambda number: {"name": f"pool-{number}"}),
    "spec.nodePools.0.tolerations": (0, 16, lambda number: {"key": f"key-{number}"}),
    "spec.metrics": (2, 6, lambda number: {"name": ("queue", "power", "a", "b", "c", "d", "e")[number],
                                           "query": "q", "unit": "count"}),
}  # fmt: skip
MAPS = {"spec.engine.args": 30, "spec.nodePools.0.nodeSelector": 16}  # 32 arguments with the two searched ones
TEXTS: dict[str, tuple[int, Document]] = {
    "metadata.name": (52, ROOMY),
    "metadata.namespace": (63, ROOMY),
    "spec.model.name": (512, ROOMY),
    "spec.model.revision": (128, ROOMY),
    "spec.model.tokenSecretRef.name": (253, ROOMY),
    "spec.model.tokenSecretRef.key": (253, ROOMY),
    "spec.model.cacheClaim": (253, ROOMY),
    "spec.engine.image": (512, ROOMY),
    "spec.engine.imagePullSecrets.0.name": (253, ROOMY),
    "spec.engine.args.block_size": (512, ROOMY),
    "spec.searchSpace.extra.0.name": (64, ROOMY),
    "spec.searchSpace.extra.0.values.0": (512, ROOMY),
    "spec.nodePools.0.name": (63, ROOMY),
    "spec.nodePools.0.gpuProduct": (128, ROOMY),
    "spec.nodePools.0.nodeSelector.node-key": (63, ROOMY),
    "spec.nodePools.0.tolerations.0.key": (317, ROOMY),
    "spec.nodePools.0.tolerations.0.value": (63, ROOMY),
    "spec.nodePools.0.image": (512, ROOMY),
    "spec.metrics.1.query": (1024, ROOMY),
    "spec.publish.configMap": (248, ROOMY),  # the second ConfigMap has -vars after it
    "spec.scheduling.queueName": (63, ROOMY),
    "spec.scheduling.priorityClassName": (253, ROOMY),
    f"{SOURCE}.huggingFace.dataset": (512, ROOMY),
    f"{SOURCE}.huggingFace.config": (128, ROOMY),
    f"{SOURCE}.huggingFace.split": (128, ROOMY),
    f"{SOURCE}.huggingFace.field": (128, ROOMY),
    f"{SOURCE}.huggingFace.revision": (128, ROOMY),
    f"{SOURCE}.file.path": (512, with_source("file")),
    f"{SOURCE}.file.field": (128, with_source("file")),
    f"{SOURCE}.configMap.name": (253, with_source("config-map")),
    f"{SOURCE}.configMap.key": (253, with_source("config-map")),
    f"{SOURCE}.configMap.field": (128, with_source("config-map")),
    f"{LANDSCAPE}.recorded.path": (512, RECORDED),
    f"{LANDSCAPE}.recorded.gpuModel": (128, RECORDED),
    f"{LANDSCAPE}.recorded.engine": (128, RECORDED),
    f"{LANDSCAPE}.recorded.model": (256, RECORDED),
}


def long_image(length: int) -> str:
    """Return an image of that length whose name, tag and digest are not too long."""
    name, rest = "a" * min(length, 255), length - 255
    return name if rest <= 0 else f"{name}:{'T' * (rest - 137)}@sha512:{'0' * 128}"


def long_key(length: int) -> str:
    """Return the key of a label of that length with the longest prefix."""
    return "a" * length if length < 255 else f"{'a' * 253}/{'b' * (length - 254)}"


LONG: dict[str, Callable[[int], str]] = {  # where a text as long as it may be has parts
    "spec.engine.image": long_image,
    "spec.nodePools.0.image": long_image,
    "spec.nodePools.0.tolerations.0.key": long_key,
}


def is_study(document: Document, path: str, value: object) -> bool:
    """Return whether the document with that value is valid; a problem with any other field raises an error."""
    try:
        parse_object(changed_of(document, {path: value}))
    except StudyError as error:
        field = "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in path.split(".")).removeprefix(".")
        if any(problem.field.startswith(field) for problem in error.problems):
            return False
        raise
    return True


def schema_at(path: str) -> Schema:
    """Return the schema of the value at a path."""
    schema = schema_of_object()
    for part in path.split("."):
        if part.isdigit():
            schema = schema["items"]
        else:
            schema = schema.get("properties", {}).get(part) or schema["additionalProperties"]
    return schema


@pytest.mark.parametrize("path", NUMBERS)
def test_a_number_is_taken_up_to_its_bounds(path: str) -> None:
    """The minimum and the maximum are accepted; one below and one above are refused."""
    low, high, document = NUMBERS[path]
    taken = [is_study(document, path, value) for value in (low - 1, low, high, high + 1)]
    assert taken == [False, True, True, False]
    assert (schema_at(path)["minimum"], schema_at(path)["maximum"]) == (low, high)


@pytest.mark.parametrize("path", ENTRIES)
def test_a_list_has_as_many_entries_as_it_may_have(path: str) -> None:
    """Shortest and longest list are accepted; one entry more is refused, and one less where there is a minimum."""
    least, most, entry = ENTRIES[path]
    amounts = (least, most, most + 1)
    taken = [is_study(ROOMY, path, [entry(number) for number in range(amount)]) for amount in amounts]
    assert taken == [True, True, False]
    assert schema_at(path)["maxItems"] == most
    if schema_at(path).get("minItems", 0):
        assert not is_study(ROOMY, path, [])


@pytest.mark.parametrize("path", MAPS)
def test_a_map_has_as_many_keys_as_it_may_have(path: str) -> None:
    """One key too many is refused."""
    most = MAPS[path]
    taken = [is_study(ROOMY, path, {f"z{number}": "1" for number in range(amount)}) for amount in (0, most, most + 1)]
    assert taken == [True, True, False]


@pytest.mark.parametrize("path", TEXTS)
def test_a_text_is_as_long_as_it_may_be(path: str) -> None:
    """One character too many is refused."""
    longest, document = TEXTS[path]
    write = LONG.get(path, "a".__mul__)
    assert [is_study(document, path, write(length)) for length in (1, longest, longest + 1)] == [True, True, False]
    if not path.startswith("metadata."):
        assert schema_at(path)["maxLength"] == longest


def test_every_source_is_there() -> None:
    """The texts above cover every source that has text fields."""
    named = {path.split(".")[3] for path in (*TEXTS, *NUMBERS) if path.startswith(SOURCE)}
    assert named | {"builtin"} == {kind for each in SOURCES.values() for kind in each}
