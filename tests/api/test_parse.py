"""A study document is either valid, or yields a list of problems that name field, value and remedy."""

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from api.documents import VALID, Document
from api.documents import changed as changed_document
from factories.studies import make_pool
from infpop_operator.api.convert import to_study
from infpop_operator.api.parse import parse_document
from infpop_operator.api.spec import ThroughputStudy
from infpop_operator.core.errors import StudyError
from infpop_operator.core.model import PlannedTrial, Run
from infpop_operator.core.run_spec import build_run_spec
from infpop_operator.core.space import cells
from infpop_runner.contract import PINNED_ARGUMENTS, RunSpec


def changed(path: str, value: object) -> str:
    """Return the valid document as YAML with one value replaced; "a.b.0.c" walks mappings and lists."""
    return yaml.safe_dump(changed_document({path: value}))


def problems(text: str) -> str:
    """Return the whole message for an invalid document."""
    with pytest.raises(StudyError) as caught:
        parse_document(text, source="study.yaml")
    return str(caught.value)


def test_a_small_valid_document_gets_the_documented_defaults() -> None:
    """The schema fills in what the user leaves out, not later code."""
    spec = parse_document(yaml.safe_dump(VALID), source="study.yaml").spec
    assert (spec.budget.max_trials, spec.measurement.repeats, spec.algorithm.name) == (20, 3, "landscape")
    assert spec.workload.source.builtin == "code-infilling-v1"
    assert spec.engine.gpu_memory_utilization == "0.85"


def test_the_engines_default_as_baseline_may_be_one_word() -> None:
    """In a file it means the same as the mapping; another word is no mapping."""
    one_word = parse_document(changed("spec.baseline", "EngineDefault"), source="study.yaml")
    assert one_word == parse_document(changed("spec.baseline", {"source": "EngineDefault"}), source="study.yaml")
    assert "spec.baseline" in problems(changed("spec.baseline", "Default"))


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
        (
            "spec.engine",
            {"name": "simulated"},
            ("spec.engine.simulation", "is required by the simulated engine", "formula"),
        ),
        ("spec.objective.metric", "speed", ("spec.objective.metric", '"speed"', "throughput")),
        ("spec.objective.metric", "costPerMillionTokens", ("spec.nodePools[0].pricePerGPUHour", "3.67", "objective")),
        ("spec.objective.constraints", [{"metric": "spread"}], ("spec.objective.constraints[0]", "bound", "max")),
        ("spec.objective.metric", "throughputPerGpu", ("spec.objective.metric", "Did you mean 'throughputPerGPU'?")),
        (
            "spec.objective.constraints",
            [{"metric": "load", "max": "1"}],
            ("constraints[0].metric", '"load"', "metrics"),
        ),
        (
            "spec.objective.goal",
            "Maximize",
            ("spec.objective.goal", "Maximize", "throughput has its own goal", "Remove it"),
        ),
        ("spec.objective.goal", "up", ("spec.objective.goal", '"up"', "'Maximize' or 'Minimize'")),
        ("spec.objective.metric", "tokensPerJoule", ("spec.metrics", "in watts", "preset: gpuPower")),
        ("spec.metrics", [{"name": "load"}], ("spec.metrics[0]", "exactly one query", "exactly one")),
        (
            "spec.metrics",
            [{"name": "GPU load", "preset": "gpuPower"}],
            ("spec.metrics[0].name", '"GPU load"', "gpuPower"),
        ),
        (
            "spec.metrics",
            [{"name": "spread", "preset": "gpuPower"}],
            ("spec.metrics[0].name", "spread", "another name"),
        ),
        (
            "spec.metrics",
            [{"name": "load", "preset": "gpuLoad"}],
            ("spec.metrics[0].preset", "'gpuUtilization'", "one of"),
        ),
        ("spec.metrics", [{"name": "load", "query": ""}], ("spec.metrics[0].query", "too short", "at least 1")),
        ("spec.metrics", [{"name": "load", "query": "q" * 1025}], ("spec.metrics[0].query", "at most 1024")),
        (
            "spec.metrics",
            [{"name": "load", "query": "q"}],
            ("spec.metrics[0].unit", "is required with a query", "watts"),
        ),
        (
            "spec.metrics",
            [{"name": "load", "query": 'a{node="$node"}', "unit": "ratio"}],
            ("spec.metrics[0].query: $node: has an unknown placeholder", "Use $namespace, $pod, $window"),
        ),
        (
            "spec.metrics",
            [{"name": "load", "preset": "gpuPower", "unit": "watts"}],
            ("spec.metrics[0].unit", "watts", "the preset gpuPower has its own unit", "Remove it"),
        ),
        (
            "spec.metrics",
            [{"name": f"m{number}", "preset": "gpuPower"} for number in range(7)],
            ("spec.metrics", "at most 6 entries"),
        ),
        ("spec.metrics", [{"name": "load", "preset": "gpuPower"}] * 2, ("spec.metrics[1].name", "load", "of its own")),
        ("spec.nodePools.0.resources", {"cpus": 8}, ("spec.nodePools[0].resources.cpus", "unknown field", "cpu?")),
        ("spec.nodePools.0.resources.cpu", 0, ("spec.nodePools[0].resources.cpu: 0: must be above 0", "remove it")),
        ("spec.nodePools.0.resources.cpu", "0m", ("spec.nodePools[0].resources.cpu: 0m: must be above 0", "example 8")),
        ("spec.nodePools.0.resources.cpu", True, ("spec.nodePools[0].resources.cpu", "true", "must be text")),
        ("spec.nodePools.0.resources.cpu", 1.5, ("spec.nodePools[0].resources.cpu", "1.5", "quotes")),
        ("spec.nodePools.0.resources.cpu", -1, ("spec.nodePools[0].resources.cpu", "-1", '"500m"')),
        (
            "spec.nodePools.0.resources.cpu",
            "8 CPUs",
            ("nodePools[0].resources.cpu", '"8 CPUs"', "not an amount of CPUs"),
        ),
        ("spec.nodePools.0.resources.memory", 64, ("spec.nodePools[0].resources.memory", "64", "must be from 256Mi")),
        (
            "spec.nodePools.0.resources.memory",
            "64",
            ("resources.memory: 64:", "256Mi to 64Ti", 'unit, for example "64Gi"'),
        ),
        (
            "spec.nodePools.0.resources.memory",
            "64GB",
            ("resources.memory", '"64GB"', "not an amount of memory", '"64Gi"'),
        ),
        (
            "spec.nodePools.0.resources.memory",
            "400m",
            ("resources.memory", '"400m"', "not an amount of memory", '"64Gi"'),
        ),
        ("spec.nodePools.0.resources.memory", "65Ti", ("resources.memory: 65Ti:", "from 256Mi to 64Ti")),
        (
            "spec.nodePools",
            [{"name": "here", "gpuResource": "cpu", "resources": {"cpu": "8"}}],
            ("spec.nodePools[0].resources.cpu: 8: is not allowed with gpuResource cpu", "Remove it"),
        ),
        ("spec.nodePools.0.gpuResource", "amd.com/gpu", ("gpuResource", '"amd.com/gpu"', "is not supported", "NVIDIA")),
        ("spec.nodePools.0.gpuResource", "gpu.intel.com/i915", ("is not supported", "NVIDIA GPUs", "CPUs (cpu)")),
        ("spec.nodePools.0.gpuResource", "habana.ai/gaudi", ("is not supported", "NVIDIA GPUs")),
        ("spec.nodePools.0.gpuResource", "nvidia.com/mig-1g.5gb", ("MIG partitions", '"single"', '"MIG-1g.5gb"')),
        ("spec.nodePools.0.gpuResource", "nvidia.com/gpu.shared", ("is not supported", "whole GPUs")),
        ("spec.nodePools.0.gpuResource", "nvidia.com/gpus", ("must be", "Did you mean 'nvidia.com/gpu'?")),
        ("spec.nodePools.0.gpuResource", "gpu", ("must be", "Did you mean 'nvidia.com/gpu'?")),
        ("spec.nodePools.0.gpuResource", "nvidia/gpu", ("must be", "Did you mean 'nvidia.com/gpu'?")),
        ("spec.algorithm.name", "bayes", ("spec.algorithm.name", '"bayes"', "tpe")),
        *(
            ("spec.algorithm.trialsPerRun", value, ("spec.algorithm.trialsPerRun: ", shown, "from 1 to 8, or auto"))
            for value, shown in ((0, "0"), (9, "9"), ("Auto", '"Auto"'), ("4", '"4"'), (True, "true"), (1.5, "1.5"))
        ),
        ("spec.budget.parallelTrials", 64, ("spec.budget.parallelTrials", "64", "maxTrials")),
        ("spec.budget.deadline", "soon", ("spec.budget.deadline", '"soon"', "1h30m")),
        ("spec.measurement.repeats", 1, ("spec.measurement.repeats", "1", "3 or more")),
        ("spec.measurement.minDuration", "20m", ("spec.measurement.timeouts.measure", "30m", "3600s")),
        ("spec.measurement.minDuration", "21m", ("spec.measurement.minDuration", "21m", '"20m" or less')),
        ("spec.engine.simulation", {"formula": {}, "loadTime": "2h"}, ("simulation.loadTime", "2h", '"60m" or less')),
        ("spec.engine.simulation", {"formula": {}, "repeatTime": "61m"}, ("simulation.repeatTime", "61m", "less")),
        ("spec.model.revision", "r" * 129, ("spec.model.revision", "rrr", "at most 128")),
        (
            "spec.workload.source",
            {"huggingFace": {"dataset": "d", "field": "f" * 129}},
            ("spec.workload.source.huggingFace.field", "fff", "at most 128"),
        ),
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
        (
            "spec.searchSpace.extra",
            [{"name": "max_num_batched_tokens", "values": ["8192", "many"]}],
            ("spec.searchSpace.extra[0].values", '"many"', "8192"),
        ),
        (
            "spec.searchSpace.extra",
            [{"name": name, "values": [str(value) for value in range(16)]} for name in ("a", "b", "c")],
            ("spec.searchSpace", "16,384", "more than 2,000", "fewer"),
        ),
        ("kind", "Deployment", ("kind", '"Deployment"', "ThroughputStudy")),
        ("apiVersion", "v1", ("apiVersion", '"v1"', "infpop.io/v1alpha1")),
        ("spec.model", "llama", ("spec.model", '"llama"', "Write {name: llama}")),
    ],
)
def test_a_mistake_is_named_with_field_value_and_remedy(path: str, value: object, expected: tuple[str, ...]) -> None:
    """A user can fix a mistake from the message alone."""
    message = problems(changed(path, value))
    for part in expected:
        assert part in message


@pytest.mark.parametrize("name", sorted(PINNED_ARGUMENTS))
def test_whatever_the_runner_refuses_is_refused_here_first(name: str) -> None:
    """No argument, in `args` or searched, passes the study check and fails once GPUs are allocated."""
    message = problems(changed("spec.engine.args", {name: "1"}))
    assert f"spec.engine.args.{name}" in message
    assert "Remove it" in message
    if name != "max_num_batched_tokens":
        extra = [{"name": name, "values": ["1"]}]
        assert "spec.searchSpace.extra[0].name" in problems(changed("spec.searchSpace.extra", extra))


def test_the_step_limit_may_be_searched_over_with_vllm_alone() -> None:
    """The step limit exists in vLLM and not in pipelines."""
    document = copy.deepcopy(VALID)
    document["spec"]["searchSpace"]["extra"] = [{"name": "max_num_batched_tokens", "values": ["2048", "8192"]}]
    assert parse_document(yaml.safe_dump(document), source="study.yaml").spec.search_space.extra
    document["spec"]["engine"]["name"] = "hf-pipeline"
    assert "spec.searchSpace.extra[0].name: max_num_batched_tokens" in problems(yaml.safe_dump(document))


def test_an_argument_is_either_fixed_or_searched_over() -> None:
    """The same argument in both places is a contradiction, and their total is within the runner's limit."""
    document = copy.deepcopy(VALID)
    document["spec"]["engine"]["args"] = {f"a{number}": "1" for number in range(32)}
    document["spec"]["searchSpace"]["extra"] = [{"name": "a1", "values": ["1"]}]
    message = problems(yaml.safe_dump(document))
    assert "spec.searchSpace.extra[0].name: a1: is also set in spec.engine.args" in message
    assert "spec.engine.args: 33: is more than 32" in message


@pytest.mark.parametrize(
    "metric", ["batchSecondsP50", "batchSecondsP95", "gpuMemoryPeakBytes", "secondsPerOutputToken"]
)
def test_a_bound_that_can_never_be_known_is_refused(metric: str) -> None:
    """A study in which every result would break a bound is refused before it starts."""
    document = copy.deepcopy(VALID)
    document["spec"]["objective"] = {"constraints": [{"metric": metric, "max": "10"}]}
    assert parse_document(yaml.safe_dump(document), source="study.yaml")
    document["spec"]["nodePools"].append({"name": "here", "gpuResource": "cpu"})
    if metric == "gpuMemoryPeakBytes":
        message = problems(yaml.safe_dump(document))
        assert f"spec.objective.constraints[0].metric: {metric}: is never measured on pool here" in message
    else:
        assert parse_document(yaml.safe_dump(document), source="study.yaml")
    document["spec"]["engine"] = {"name": "simulated", "simulation": {"formula": {}}}
    assert "is never measured in simulated runs" in problems(yaml.safe_dump(document))


BOMB = "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in pairwise("abcdefghijkl"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("a: [1", "is not valid YAML"),
        ("just text", "is YAML, but not a ThroughputStudy"),
        ("- 1\n- 2", "is YAML, but not a ThroughputStudy"),
        ("kind: A\n---\nkind: B", "holds 2 YAML documents"),
        ("kind: A\nkind: B", "is used twice"),
        ("[" * 5000, "is not valid YAML"),
        ("x" * 1_000_001, "1000001 characters"),
        ("kind: !!python/object/apply:os.system [echo]", "is not valid YAML"),
        ("kind: &a [*a]", "holds more than 100,000 values"),
        ("kind: A\n? [1]\n: b", "is not valid YAML"),
        ("kind: A\na: &a [0, 0]\n" + BOMB, "holds more than 100,000 values"),
        ("kind: A\n" + "".join(f"k{number}: 1\n" for number in range(50_000)), 'kind: "A"'),
    ],
)
def test_text_that_is_not_a_study_gets_one_problem_that_names_the_file(text: str, expected: str) -> None:
    """Invalid input is answered with the file's name and how a study starts, never with a traceback."""
    message = problems(text)
    assert message.startswith("study.yaml: ") or "unknown field" in message
    assert expected in message


def test_all_problems_are_reported_together() -> None:
    """The user sees all three mistakes in one attempt."""
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


# Every optional part of a document, so that each of its values is replaced by something else.
WHOLE: Document = {
    **VALID,
    "spec": {
        **VALID["spec"],
        "model": {"name": "org/model", "revision": "main", "dtype": "float16", "loadFormat": "dummy"},
        "engine": {"name": "vllm", "gpuMemoryUtilization": "0.9", "args": {"block_size": "16"}},
        "workload": {"source": {"huggingFace": {"dataset": "d", "config": "c", "revision": "r"}}, "samples": 8},
        "searchSpace": {
            "gpuCount": [1, 2],
            "batchSize": [1, 8],
            "extra": [{"name": "max_num_batched_tokens", "values": ["8192"]}],
        },
        "objective": {
            "metric": "queue",
            "goal": "Minimize",
            "constraints": [{"metric": "spread", "max": "0.1"}, {"metric": "power", "max": "900"}],
        },
        "budget": {"maxGPUHours": "1", "deadline": "1h", "plateau": {"trials": 3}},
        "measurement": {"minDuration": "10s", "maxSpread": "0.2", "timeouts": {"load": "5m", "measure": "5m"}},
        "baseline": {"gpuCount": 1, "batchSize": 4},
        "nodePools": [{"name": "a100", "gpuProduct": "A100", "resources": {"cpu": 8, "memory": "64Gi"}}],
        "metrics": [
            {"name": "power", "preset": "gpuPower"},
            {"name": "queue", "query": 'sum(queue{pod="$pod"})', "unit": "count"},
        ],
    },
}
FORMULA = {"peakThroughput": "10", "bestGpuCount": 1, "bestBatchSize": 1, "falloff": "0.5", "largestBatchPerGPU": 8}
SIMULATED: Document = {
    **WHOLE,
    "spec": {
        **WHOLE["spec"],
        "engine": {
            "name": "simulated",
            "simulation": {"formula": FORMULA, "noise": "0.1", "loadTime": "1s", "repeatTime": "1s"},
        },
    },
}
LONG_TEXTS = st.sampled_from(["x" * 100, "x" * 200, "x" * 400, "0", "0.0", "1", "2h", "59m", "999999h", "0.999999999"])


@given(st.data())
def test_any_document_is_either_a_study_or_explained(data: st.DataObject) -> None:
    """Every value at every position is either accepted or explained, up to what the runner is given."""
    document = copy.deepcopy(data.draw(st.sampled_from([VALID, WHOLE, SIMULATED])))
    mutation = data.draw(st.sampled_from(_mutations(document)))
    mutation(document, data.draw(JSON_VALUES | LONG_TEXTS | LONG_TEXTS))
    try:
        parsed = parse_document(yaml.safe_dump(document), source="study.yaml")
    except StudyError as error:
        explained = all(problem.field and problem.remedy for problem in error.problems)
    else:
        explained = _as_the_runner_reads_it(parsed).run == "run"
    assert explained


def _as_the_runner_reads_it(document: ThroughputStudy) -> RunSpec:
    """Return the longest run of the study's largest cell."""
    study = to_study(document, pools=(make_pool(),), model_fingerprint="m", workload_fingerprint="w", model_facts=None)
    trials = (PlannedTrial(index=0, configuration=cells(study.space)[-1]),)
    run = Run(name="run", pool="a100", round=1, attempt=1, trials=trials, longer=True)
    return RunSpec.model_validate_json(build_run_spec(study, run).model_dump_json())


@pytest.mark.parametrize("document", [VALID, WHOLE, SIMULATED])
def test_the_documents_that_are_mutated_are_studies(document: Document) -> None:
    """Otherwise the mutation test would only see refusals: their largest cell is what the runner is given."""
    spec = _as_the_runner_reads_it(parse_document(yaml.safe_dump(document), source="study.yaml"))
    assert (spec.model.name, spec.engine.name) == ("org/model", document["spec"]["engine"]["name"])
    assert (spec.gpu_count, [trial.batch_size for trial in spec.trials]) == (2, [8])
    assert spec.measurement.min_repeat_seconds == 30.0
