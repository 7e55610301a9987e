"""The blocks of docs/python.md run one after another, as the cells of a notebook do."""

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.mark.process
def test_every_block_of_the_python_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In order and in one place; what they print is about the landscape that they tune."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number + 1}", "exec"), names)  # noqa: S102 - our own page
    printed = capsys.readouterr().out
    assert "spec.budget.maxTrials | 0 | " in printed
    assert re.search(r"4 GPUs, batch size 64: \d,\d{3} tokens/s", printed)
    assert "several landscapes: choose one with only(source=...)" in printed
    assert "nowhere: does not exist" in printed
    assert names["best"].gpu_count == 4
    assert (tmp_path / "landscape.png").exists()
