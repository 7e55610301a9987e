"""Prompts from each source, and the errors of each source."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infpop_runner.contract import WorkloadSpec
from infpop_runner.measure import SyntheticPrompts, TextPrompts
from infpop_runner.workload import WorkloadError, load_prompts
from infpop_runner.workload.sources import hash_texts


def workload(source: dict[str, Any], *, samples: int = 2) -> WorkloadSpec:
    """Return a workload of the given source."""
    return WorkloadSpec.model_validate({"source": source, "samples": samples, "max_new_tokens": 5})


def write_lines(path: Path, *records: object) -> dict[str, Any]:
    """Write JSON lines and return the source that reads them."""
    text = "\n".join(json.dumps(record) for record in records)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return {"kind": "file", "path": str(path), "field": "text"}


@pytest.mark.parametrize("name", ["prompts.jsonl", "prompts.jsonl.gz"])
def test_a_file_gives_its_first_prompts_in_order(tmp_path: Path, name: str) -> None:
    """Plain and compressed files give the same texts, in order, and no more than requested."""
    source = write_lines(tmp_path / name, {"text": "a"}, {"text": "ü\n"}, {"text": "c"})
    prompts = load_prompts(workload(source), seed=0)
    assert isinstance(prompts, TextPrompts)
    assert prompts.texts == ("a", "ü\n")
    assert prompts.workload_hash == hash_texts(["a", "ü\n"])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b'{"text": "a"}\n{"other": 1}', "line 2 lacks the field 'text'. Name one that the line has: other"),
        (b'{"text": "a"}\nrubbish', "line 2 is not JSON"),
        (b'{"text": "a"}\n[1]', "line 2 is not a JSON object"),
        (b'{"text": "a"}\n\n{"text": 3}', "line 3 has no text in the field 'text'"),
        (b'{"text": ""}', "line 1 has no text in the field 'text'"),
        (b'{"text": "a"}', "samples is 2, but the file .* has 1 prompts: ask for at most 1"),
        (b"\x1f\x8brubbish", "is not complete gzip"),
        (b"\xff\xfe", "line 1 is not UTF-8 text"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, content: bytes, text: str) -> None:
    """The message is one sentence with path, line and field."""
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(content)
    with pytest.raises(WorkloadError, match=text) as error:
        load_prompts(workload({"kind": "file", "path": str(path), "field": "text"}), seed=0)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named() -> None:
    """A file that is not there is an error with its path."""
    with pytest.raises(WorkloadError, match=r"/nowhere/prompts\.jsonl: No such file"):
        load_prompts(workload({"kind": "file", "path": "/nowhere/prompts.jsonl"}), seed=0)


def test_the_builtin_set_has_an_end() -> None:
    """Asking for more prompts than exist gives an error with both numbers."""
    assert isinstance(load_prompts(workload({"kind": "builtin"}, samples=1033), seed=0), TextPrompts)
    with pytest.raises(WorkloadError, match=r"samples is 1034, .* has 1033 prompts"):
        load_prompts(workload({"kind": "builtin"}, samples=1034), seed=0)


def test_synthetic_prompts_are_a_recipe() -> None:
    """Synthetic prompts depend on number, length and seed, and so does their hash."""
    source = {"kind": "synthetic", "prompt_tokens": 16}
    first, again, other = (load_prompts(workload(source), seed=seed) for seed in (1, 1, 2))
    assert isinstance(first, SyntheticPrompts)
    assert (first.samples, first.prompt_tokens) == (2, 16)
    assert first == again
    assert first.workload_hash != other.workload_hash


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5), st.lists(st.text(min_size=1), min_size=1, max_size=5))
def test_different_lists_of_texts_have_different_hashes(first: list[str], second: list[str]) -> None:
    """Two workloads have the same hash only if they have the same texts in the same order."""
    assert (hash_texts(first) == hash_texts(second)) == (first == second)


def test_a_dataset_directory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local directory that `datasets` can read gives its first rows; a wrong field is named."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    write_lines(tmp_path / "data" / "test.jsonl", {"text": "a"}, {"text": "b"}, {"text": "c"})
    source = {"kind": "huggingface", "dataset": str(tmp_path / "data"), "split": "test", "field": "text"}
    prompts = load_prompts(workload(source), seed=0)
    assert isinstance(prompts, TextPrompts)
    assert prompts.texts == ("a", "b")
    with pytest.raises(WorkloadError, match="no field 'prompt'"):
        load_prompts(workload(source | {"field": "prompt"}), seed=0)
    with pytest.raises(WorkloadError, match="split missing"):
        load_prompts(workload(source | {"split": "missing"}), seed=0)
