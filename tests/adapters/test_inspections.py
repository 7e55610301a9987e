"""Checks before a study starts: workload files, model configurations, landscapes, devices."""

import gzip
from pathlib import Path

import httpx
import pytest

from api.documents import changed
from infpop_operator.adapters.landscape_file import check_landscape
from infpop_operator.adapters.model_config import check_config, directory_config, directory_fingerprint, hub_config
from infpop_operator.adapters.run_state import RunStates
from infpop_operator.adapters.workload_file import workload_fingerprint
from infpop_operator.api.parse import parse_object
from infpop_operator.core.errors import StudyError
from infpop_operator.core.model import Phase, Running
from infpop_runner.contract import (
    BuiltinSource,
    FileSource,
    KnownModels,
    ModelFacts,
    RecordedLandscape,
    SyntheticSource,
)

LINES = b'{"prompt": "a", "id": 1}\n\n{"prompt": "b", "id": 2}\n'
CSV = "gpu_model,engine,model,gpu_count,batch_size,outcome,throughput_tokens_per_second\nA100,vllm,m,1,1,ok,5\n"


def prompts(directory: Path, content: bytes, name: str = "prompts.jsonl", field: str = "prompt") -> FileSource:
    """Write a workload file and return it as a source."""
    (directory / name).write_bytes(content)
    return FileSource(path=str(directory / name), field=field)


def test_a_workload_file_is_identified_by_its_content(tmp_path: Path) -> None:
    """Moving a file changes nothing; another text, or another field of it, is another workload."""
    first = workload_fingerprint(prompts(tmp_path, LINES), samples=2)
    assert workload_fingerprint(prompts(tmp_path, LINES, "moved.jsonl"), samples=2) == first
    both = b'{"prompt": "a", "other": "b"}\n'
    fingerprints = {
        first,
        workload_fingerprint(prompts(tmp_path, LINES + b'{"prompt": "c"}\n'), samples=2),
        workload_fingerprint(prompts(tmp_path, both), samples=1),
        workload_fingerprint(prompts(tmp_path, both, field="other"), samples=1),
    }
    assert len(fingerprints) == 4


def test_a_compressed_workload_file_is_read(tmp_path: Path) -> None:
    """A compressed JSONL file is recognised by its content, not its name, and its prompts are counted."""
    source = prompts(tmp_path, gzip.compress(LINES), "prompts")
    assert workload_fingerprint(source, samples=2)
    with pytest.raises(StudyError, match="only 2 prompts"):
        workload_fingerprint(source, samples=3)


def test_other_sources_are_identified_by_what_they_are() -> None:
    """Each source has its own fingerprint, the same every time."""
    sources = [BuiltinSource(), SyntheticSource(prompt_tokens=8), SyntheticSource(prompt_tokens=9)]
    once, again = ([workload_fingerprint(source, samples=8) for source in sources] for _ in range(2))
    assert once == again
    assert len(set(once)) == 3


@pytest.mark.parametrize(
    ("content", "field", "samples", "parts"),
    [
        (LINES, "text", 1, ("source.file.field: text", "line 1", "prompt, id")),
        (LINES, "id", 1, ("source.file.field: id", "line 1", "no text")),
        (b'{"prompt": ""}\n', "prompt", 1, ("source.file.field: prompt", "no text")),
        (LINES + b"oops\n", "prompt", 3, ("source.file.path", "line 4 is not JSON")),
        (b"[1]\n", "prompt", 1, ("source.file.path", "line 1 is not a JSON object")),
        (b"[" * 100_000 + b"\n", "prompt", 1, ("source.file.path", "line 1 is nested more than 64 levels deep")),
        (LINES, "prompt", 3, ("spec.workload.samples: 3", "only 2 prompts", "Use 2 or fewer")),
        (b"", "prompt", 1, ("spec.workload.samples: 1", "only 0 prompts", "Name a file with prompts")),
        (b"\x1f\x8bnonsense", "prompt", 1, ("source.file.path", "is not complete gzip")),
        (b"\xff\xfe{}", "prompt", 1, ("source.file.path", "line 1 is not UTF-8 text")),
    ],
)
def test_a_wrong_workload_file_names_line_and_remedy(
    tmp_path: Path, content: bytes, field: str, samples: int, parts: tuple[str, ...]
) -> None:
    """Every prompt that will be used is checked before an engine is loaded."""
    source = prompts(tmp_path, content, field=field)
    with pytest.raises(StudyError) as caught:
        workload_fingerprint(source, samples=samples)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_lines_after_the_samples_are_not_read(tmp_path: Path) -> None:
    """Only the prompts that will be used have to be valid."""
    source = prompts(tmp_path, LINES + b"oops\n")
    assert workload_fingerprint(source, samples=2)
    with pytest.raises(StudyError, match="line 4 is not JSON"):
        workload_fingerprint(source, samples=3)


STUDY = {"spec.workload.source": {"synthetic": {"promptTokens": 100}}, "spec.workload.maxNewTokens": 28}
LLAMA = {"architectures": ["LlamaForCausalLM"], "num_attention_heads": 8, "max_position_embeddings": 128}


def check(config: dict[str, object], changes: dict[str, object] | None = None) -> ModelFacts:
    """Check a configuration for a study of 100 prompt tokens and 28 new ones."""
    known = KnownModels(engine="vLLM 1", architectures=frozenset({"LlamaForCausalLM"}))
    return check_config(config, "org/model", parse_object(changed({**STUDY, **(changes or {})})).spec, known)


def test_a_model_is_checked_against_the_study() -> None:
    """A model that the engine serves and that the workload fits gives its facts."""
    assert check(LLAMA) == ModelFacts(attention_heads=8)
    with pytest.raises(
        StudyError, match=r"spec\.model\.name: org/model: is a XForCausalLM, which vLLM 1 does not know"
    ):
        check({"architectures": ["XForCausalLM"]})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"spec.workload.maxNewTokens": 29},
            ("source.synthetic.promptTokens: 100", "need 129 positions", "Use 99 or less"),
        ),
        ({"spec.workload.maxNewTokens": 128}, ("spec.workload.maxNewTokens: 128", "Use 127 or less")),
        (
            {"spec.workload.source": {"builtin": "code-infilling-v1"}, "spec.workload.maxNewTokens": 128},
            ("spec.workload.maxNewTokens: 128", "need 129 positions, the model has 128", "Use 127 or less"),
        ),
    ],
)
def test_a_workload_longer_than_the_context_is_refused(changes: dict[str, object], words: tuple[str, ...]) -> None:
    """What is certain without a tokenizer is said before anything starts, with the largest number that fits."""
    with pytest.raises(StudyError) as refused:
        check(LLAMA, changes)
    assert all(word in str(refused.value) for word in words), str(refused.value)


def test_an_override_of_the_configuration_counts() -> None:
    """A longer context that the study gives to vLLM is the one that is checked."""
    longer = {
        "spec.workload.maxNewTokens": 29,
        "spec.engine.args": {"hf_overrides": '{"max_position_embeddings": 129}'},
    }
    assert check(LLAMA, longer) == ModelFacts(attention_heads=8)


def test_a_local_configuration_is_read_as_transformers_writes_it(tmp_path: Path) -> None:
    """Infinity and a byte-order mark are no obstacle; what is not a JSON object is refused by its model."""
    path = tmp_path / "config.json"
    path.write_text('\ufeff{"time_step_limit": [0.0, Infinity]}', encoding="utf-8")
    assert directory_config(tmp_path) == {"time_step_limit": [0.0, float("inf")]}
    for text in ("[]", "{", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(StudyError, match=r"spec\.model\.name: .* its config\.json"):
            directory_config(tmp_path)


def test_a_link_to_weights_that_are_gone_is_named(tmp_path: Path) -> None:
    """A half-downloaded model is refused before an engine is loaded."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").symlink_to("../blobs/gone")
    with pytest.raises(StudyError, match=r"spec\.model\.name: .*model\.safetensors cannot be read"):
        directory_fingerprint(tmp_path)


def test_what_can_be_no_hub_id_is_refused() -> None:
    """A name with spaces or three parts is neither a directory nor a hub id."""
    pytest.importorskip("huggingface_hub")
    with pytest.raises(StudyError, match=r"spec\.model\.name: a/b/c: is neither a directory nor a hub id"):
        hub_config(parse_object(changed({"spec.model.name": "a/b/c"})).spec)


@pytest.mark.parametrize(
    ("csv", "changes", "parts"),
    [
        (CSV, {"gpu_model": "H100"}, ("recorded.gpuModel: H100", "A100")),
        (CSV, {"engine": "hf"}, ("recorded.engine: hf", "vllm")),
        (CSV, {"model": "x"}, ("recorded.model: x", "Choose one that the file has: m")),
        ("a,b\n1,2\n", {}, ("recorded.path", "lacks the columns", "gpu_count")),
        ("", {}, ("recorded.path", "lacks the columns")),
    ],
)
def test_a_wrong_landscape_names_the_choice_that_is_wrong(
    tmp_path: Path, csv: str, changes: dict[str, str], parts: tuple[str, ...]
) -> None:
    """A landscape without numbers is refused before the study starts."""
    (tmp_path / "landscape.csv").write_text(csv)
    chosen = {"path": str(tmp_path / "landscape.csv"), "gpu_model": "A100", "engine": "vllm", "model": "m", **changes}
    with pytest.raises(StudyError) as caught:
        check_landscape(RecordedLandscape(**chosen))
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_a_right_landscape_passes(tmp_path: Path) -> None:
    """It has the columns and at least one cell; without any cell there is nothing to replay."""
    path = tmp_path / "landscape.csv"
    landscape = RecordedLandscape(path=str(path), gpu_model="A100", engine="vllm", model="m")
    path.write_text(CSV)
    check_landscape(landscape)
    path.write_text(CSV.splitlines(keepends=True)[0])
    with pytest.raises(StudyError, match="recorded"):
        check_landscape(landscape)


METRICS = """# TYPE infpop_run_state gauge
infpop_run_state{gpu_count="1",run="r",state="loading"} 0.0
infpop_run_state{gpu_count="1",run="r",state="warm-up"} 0.0
infpop_run_state{gpu_count="1",run="r",state="measuring"} 1.0
infpop_trial_state{batch_size="8",run="r",state="measured",trial="0"} 1.0
infpop_trial_state{batch_size="16",run="r",state="warm-up",trial="1"} 0.0
infpop_trial_state{batch_size="16",run="r",state="measuring",trial="1"} 1.0
"""


def answer(request: httpx.Request) -> httpx.Response:
    """Answer on one port, fail on others, and send invalid content on the last."""
    match request.url.port:
        case 1:
            return httpx.Response(200, text=METRICS)
        case 2:
            return httpx.Response(500, text=METRICS)
        case 3:
            return httpx.Response(200, text="<html>")
        case _:
            raise httpx.ConnectError("refused", request=request)


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ("1\n", Running(phase=Phase.MEASURING, trial_index=1)),
        ("2\n", None),
        ("3\n", None),
        ("4\n", None),
        ("", None),
        ("not a port", None),
        (None, None),
    ],
)
def test_a_runner_that_does_not_answer_is_no_error(tmp_path: Path, port: str | None, expected: Running | None) -> None:
    """Outage, invalid content and silence all mean unknown; only a clear answer counts."""
    if port is not None:
        (tmp_path / "port").write_text(port)
    states = RunStates(transport=httpx.MockTransport(answer))
    assert states.ask(tmp_path / "port") == expected
    states.close()
