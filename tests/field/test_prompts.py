"""Prompt files from the field: `infpop validate` and the runner refuse the same line, in the same words."""

from pathlib import Path

import pytest

from infpop_operator.adapters.workload_file import workload_fingerprint
from infpop_operator.core.errors import StudyError
from infpop_runner.contract import FileSource, WorkloadSpec
from infpop_runner.workload import WorkloadError, load_prompts


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [("C05-surrogate.jsonl", 2, "half of a character"), ("deep-nesting.jsonl", 1, "nested more than 64 levels")],
)
def test_a_line_that_no_engine_can_take_is_refused_alike(field: Path, name: str, line: int, words: str) -> None:
    """The line is named before anything starts, and by a runner that reads the same file."""
    source = FileSource(path=str(field / "prompts" / name))
    with pytest.raises(StudyError) as before:
        workload_fingerprint(source, samples=line)
    with pytest.raises(WorkloadError) as running:
        load_prompts(WorkloadSpec(source=source, samples=line, max_new_tokens=2), seed=0)
    for error in (before, running):
        assert f"line {line} " in str(error.value)
        assert words in str(error.value)
