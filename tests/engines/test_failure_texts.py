"""The table of known failures against a text for each of its phrases, with the source that raises it."""

from pathlib import Path
from typing import cast, get_args

import pytest

from infpop_runner.contract import InfeasibleReason
from infpop_runner.engines.failures import RULES, Device, Evidence, Phase, Refused, classify

Text = tuple[str, Device, Phase, str]


def texts() -> list[Text]:
    """Return reason, device, phase and exception of each recorded text; the fourth column of the file is its source."""
    rows = (Path(__file__).parent / "failure_texts.tsv").read_text().splitlines()
    columns = [row.split("\t") for row in rows]
    return [(row[0], cast("Device", row[1]), cast("Phase", row[2]), row[4]) for row in columns]


@pytest.mark.parametrize(("reason", "device", "phase", "text"), texts())
def test_each_text_has_its_reason(reason: str, device: Device, phase: Phase, text: str) -> None:
    """A text means what its row says, and its detail is the text without its class, on one line."""
    found = classify(Evidence(exception=text, log_tail="", device=device, phase=phase))
    assert found.reason == reason, found
    assert isinstance(found, Refused) == (reason in get_args(InfeasibleReason))
    assert found.detail.isprintable()
    assert not found.detail.startswith(text.partition(": ")[0])


def test_each_phrase_of_the_table_has_a_text() -> None:
    """No phrase is in the table that none of the recorded texts contains."""
    known = [text for *_, text in texts()]
    unused = [phrase.pattern for rule in RULES for phrase in rule.phrases if not any(map(phrase.search, known))]
    assert unused == []
