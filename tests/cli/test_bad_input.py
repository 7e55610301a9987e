"""Every user mistake gives one message with field, value and remedy, exit code 2, and starts nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from infpop_operator.cli.main import app
from local.local_studies import study_document, write_study

VLLM: dict[str, Any] = {"name": "vllm"}


def invoke(*arguments: object) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def in_an_empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run each test in an empty directory that is also the home directory, without network access."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return tmp_path


def refused(*arguments: object) -> str:
    """Return the message of a command that must refuse without starting or leaving anything."""
    before = sorted(Path.cwd().rglob("*"))
    result = invoke(*arguments)
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert sorted(Path.cwd().rglob("*")) == before
    return result.stderr


def changed(path: str, value: object) -> dict[str, Any]:
    """Return the valid document with the value at a dotted path replaced."""
    document = study_document()
    *parents, last = path.split(".")
    node: Any = document
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    return document


def test_a_directory_instead_of_a_study_is_named_as_such(in_an_empty_home: Path) -> None:
    """The directory with the results is easily named in place of the file."""
    (in_an_empty_home / "out").mkdir()
    assert "out: is a directory. Name a file that holds a ThroughputStudy." in refused("tune", "out")


@pytest.mark.parametrize(
    ("path", "value", "parts"),
    [
        ("spec.serchSpace", {}, ("spec.serchSpace", "unknown field", "searchSpace")),
        ("spec.searchSpace.batchSize", [0], ("spec.searchSpace.batchSize[0]", "0", "Use 1 or more")),
        ("spec.searchSpace.batchSize", [], ("spec.searchSpace.batchSize", "[]", "Add an entry")),
        ("spec.searchSpace.batchSize", [8, 8], ("spec.searchSpace.batchSize", "8", "List each value once")),
        ("spec.searchSpace.gpuCount", ["two"], ("spec.searchSpace.gpuCount[0]", '"two"', "whole number")),
        ("spec.engine", {"name": "vlm"}, ("spec.engine.name", '"vlm"', "Did you mean 'vllm'")),
        ("spec.objective", {"metric": "tokensPerJoule"}, ("spec.metrics", "in watts", "gpuPower")),
        ("spec.objective", {"metric": "speed"}, ("spec.objective.metric", '"speed"', "'throughput'")),
        ("spec.algorithm", {"name": "bayes"}, ("spec.algorithm.name", '"bayes"', "'tpe'")),
        ("kind", "Deployment", ("kind", '"Deployment"', "ThroughputStudy")),
        (
            "spec.workload.source",
            {"file": {"path": "none.jsonl"}},
            ("spec.workload.source.file.path", "none.jsonl", "does not exist", "relative to the study file"),
        ),
        (
            "spec.workload.source",
            {"file": {"path": "~/none.jsonl"}},
            ("spec.workload.source.file.path", "does not exist"),
        ),
        (
            "spec.workload.source",
            {"file": {"path": "~no-such-user/none.jsonl"}},
            ("spec.workload.source.file.path", "~no-such-user/none.jsonl", "does not exist"),
        ),
        (
            "spec.workload.source",
            {"configMap": {"name": "prompts"}},
            ("spec.workload.source.configMap", "prompts", "outside a cluster", "file: {path: prompts.jsonl}"),
        ),
        ("spec.workload.source", {"file": {"path": "a\0b"}}, ("spec.workload.source.file.path", "control character")),
        (
            "spec.engine.simulation",
            {"recorded": {"path": "none.csv", "gpuModel": "A", "engine": "vllm", "model": "m"}},
            ("spec.engine.simulation.recorded.path", "none.csv", "does not exist"),
        ),
    ],
)
@pytest.mark.parametrize("command", ["tune", "validate"])
def test_a_wrong_study_is_refused(
    in_an_empty_home: Path, command: str, path: str, value: object, parts: tuple[str, ...]
) -> None:
    """Each mistake in a study names its field, its value and the remedy."""
    study = in_an_empty_home / "study.yaml"
    study.write_text(yaml.safe_dump(changed(path, value)))
    message = refused(command, study)
    assert all(part in message for part in parts), message


POWER = [{"name": "power", "preset": "gpuPower"}]


@pytest.mark.parametrize(
    ("objective", "field", "value"),
    [
        ({"metric": "tokensPerJoule"}, "spec.objective.metric", "tokensPerJoule"),
        ({"secondMetric": "tokensPerJoule"}, "spec.objective.secondMetric", "tokensPerJoule"),
        ({"metric": "power", "goal": "Minimize"}, "spec.objective.metric", "power"),
        ({"constraints": [{"metric": "power", "max": "1"}]}, "spec.objective.constraints[0].metric", "power"),
    ],
)
@pytest.mark.parametrize("command", ["tune", "validate"])
def test_a_prometheus_only_objective_is_refused_on_one_machine(
    in_an_empty_home: Path, command: str, objective: dict[str, object], field: str, value: str
) -> None:
    """A search whose every trial would lack a required metric is refused."""
    message = refused(command, write_study(in_an_empty_home, metrics=POWER, objective=objective))
    problem = f"{field}: {value}: needs Prometheus, which `infpop tune` does not query. Tune on a cluster, or remove"
    assert problem in message


def test_extra_prometheus_metrics_are_left_out_with_a_message(in_an_empty_home: Path) -> None:
    """One file works on a cluster and on one machine; metrics that need Prometheus are reported before the start."""
    study = write_study(in_an_empty_home, metrics=POWER)
    note = "Not measured on this machine: power (spec.metrics needs a cluster with Prometheus)."
    for command in ("validate", "tune"):
        result = invoke(command, study)
        assert result.exit_code == 0, result.output
        assert note in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: [1", "is not valid YAML"),
        ("just text", "not a ThroughputStudy"),
        ("", "is empty"),
        ("apiVersion: v1\nkind: Pod\n", "kind"),
    ],
)
def test_a_file_that_is_not_a_study_is_refused(in_an_empty_home: Path, text: str, part: str) -> None:
    """The file holds YAML of something else, or no YAML at all."""
    (in_an_empty_home / "x.yaml").write_text(text)
    assert part in refused("tune", "x.yaml")


def test_a_study_in_another_encoding_is_refused(in_an_empty_home: Path) -> None:
    """The remedy is to save it as UTF-8."""
    (in_an_empty_home / "x.yaml").write_text("kind: ThroughputStudy", encoding="utf-16")
    assert "x.yaml: is not UTF-8. Save it as UTF-8" in refused("tune", "x.yaml")


@pytest.mark.parametrize("place", ["missing.yaml", "."])
def test_a_study_that_cannot_be_read_is_refused(place: str) -> None:
    """The path is a missing file or a directory."""
    message = refused("tune", place)
    assert "Name a file that holds a ThroughputStudy" in message


def test_more_devices_than_the_machine_has_are_refused_before_anything_starts(in_an_empty_home: Path) -> None:
    """The message names each count above this machine's devices, the number of devices, and what to use."""
    (in_an_empty_home / "model").mkdir()
    config = {"architectures": ["LlamaForCausalLM"], "num_attention_heads": 4}
    (in_an_empty_home / "model" / "config.json").write_text(json.dumps(config))
    space = {"gpuCount": [1, 1000], "batchSize": [1]}
    study = write_study(
        in_an_empty_home,
        engine=VLLM,
        model={"name": "./model"},
        searchSpace=space,
        budget={"maxConcurrentGPUs": 1000},
    )
    message = refused("tune", study)
    assert "spec.searchSpace.gpuCount[1]: 1000: this machine has" in message
    assert "Use at most" in message


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        (None, ("has no config.json", "infpop tiny-model DIR")),
        ({"architectures": ["BertModel"]}, ("is a BertModel", "ForCausalLM")),
        ({"architectures": ["T5ForConditionalGeneration"]}, ("T5ForConditionalGeneration", "ForCausalLM")),
        ({}, ("names no architecture", "ForCausalLM")),
        ([], ("is not a JSON object", "download it again")),
    ],
)
def test_a_model_that_is_not_a_causal_language_model_is_refused(
    in_an_empty_home: Path, config: object, parts: tuple[str, ...]
) -> None:
    """A model directory next to the study is checked before an engine is loaded."""
    (in_an_empty_home / "model").mkdir()
    if config is not None:
        (in_an_empty_home / "model" / "config.json").write_text(json.dumps(config))
    message = refused("tune", write_study(in_an_empty_home, engine=VLLM, model={"name": "model"}))
    assert "spec.model.name: " + str(in_an_empty_home / "model") in message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize("name", ["./none", "/none", "~/none", "~no-such-user/x", "./" + "long" * 75])
def test_a_model_directory_that_is_not_there_is_refused(in_an_empty_home: Path, name: str) -> None:
    """A name that looks like a path is not looked up on the hub."""
    message = refused("tune", write_study(in_an_empty_home, engine=VLLM, model={"name": name}))
    assert f"spec.model.name: {name}: this directory does not exist" in message


def test_files_in_the_home_directory_are_found(in_an_empty_home: Path) -> None:
    """`~` means the same in the path of a file as in the name of a model."""
    home, elsewhere = in_an_empty_home, in_an_empty_home / "elsewhere"
    elsewhere.mkdir()
    (home / "prompts.jsonl").write_text('{"prompt": "a"}\n')
    (home / "landscape.csv").write_text(
        "gpu_model,engine,model,gpu_count,batch_size,outcome,throughput_tokens_per_second\nA,vllm,m,1,4,ok,5\n"
    )
    recorded = {"path": "~/landscape.csv", "gpuModel": "A", "engine": "vllm", "model": "m"}
    study = write_study(
        elsewhere,
        workload={"source": {"file": {"path": "~/prompts.jsonl"}}, "samples": 1},
        engine={"name": "simulated", "simulation": {"recorded": recorded}},
    )
    result = invoke("validate", study)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", ["long" * 75, "organisation/" + "long" * 75])
def test_a_name_too_long_for_a_directory_is_not_a_traceback(in_an_empty_home: Path, name: str) -> None:
    """A name that can be neither a directory nor a hub id is refused as such."""
    pytest.importorskip("huggingface_hub")
    message = refused("validate", write_study(in_an_empty_home, engine=VLLM, model={"name": name}))
    assert "spec.model.name" in message


def test_a_study_for_other_hardware_is_refused(in_an_empty_home: Path) -> None:
    """If no pool describes this machine, the message says what the machine has and how to describe it."""
    pools = [{"name": "tpus", "gpuProduct": "NoSuchProduct"}]
    message = refused("tune", write_study(in_an_empty_home, engine=VLLM, nodePools=pools))
    assert "spec.nodePools: tpus (NoSuchProduct): none of these pools matches this machine" in message
    assert "gpuResource: cpu" in message


def test_all_problems_are_reported_together(in_an_empty_home: Path) -> None:
    """One attempt shows all three mistakes."""
    study = write_study(
        in_an_empty_home,
        engine=VLLM,
        model={"name": "./none"},
        nodePools=[{"name": "one", "gpuResource": "cpu"}, {"name": "two", "gpuResource": "cpu"}],
        workload={"source": {"file": {"path": "none.jsonl"}}},
    )
    message = refused("tune", study)
    assert all(field in message for field in ("spec.nodePools: one, two", "spec.model.name", "source.file.path"))


def _other_study(directory: Path) -> str:
    directory.mkdir()
    header = {"kind": "journal", "version": 1, "namespace": "", "study": "other", "started_at": "2026-01-01T00:00:00Z"}
    (directory / "journal.jsonl").write_text(json.dumps(header) + "\n")
    (directory / "lock").write_text("")
    return "belongs to the study other, not to study"


def _something_else(directory: Path) -> str:
    directory.mkdir()
    (directory / "thesis.tex").write_text("draft")
    return "is not empty and holds no InfPop study"


def _a_file(directory: Path) -> str:
    directory.write_text("")
    return "is not a directory"


@pytest.mark.parametrize("occupy", [_other_study, _something_else, _a_file])
def test_an_output_directory_that_is_not_ours_is_refused(in_an_empty_home: Path, occupy: Callable[[Path], str]) -> None:
    """Nothing is overwritten, and the message says how to use another directory."""
    expected = occupy(in_an_empty_home / "out")
    message = refused("tune", write_study(in_an_empty_home), "--output", "out")
    assert expected in message
    assert "--output" in message


def test_a_directory_that_is_not_empty_gets_no_model(in_an_empty_home: Path) -> None:
    """`tiny-model` overwrites nothing."""
    (in_an_empty_home / "notes").mkdir()
    (in_an_empty_home / "notes" / "a.txt").write_text("mine")
    assert "is not empty and contains no model" in refused("tiny-model", "notes")


@pytest.mark.parametrize("arguments", [["tune"], ["tune", "a", "b"], ["tune", "--outptu", "x", "a"], ["tuen"]])
def test_a_wrong_command_line_is_refused(arguments: list[str]) -> None:
    """The command line itself is user input too."""
    assert "Usage" in refused(*arguments)
