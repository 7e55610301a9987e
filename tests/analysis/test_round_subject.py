"""What the trials of a round share is told by the round, in words of the study."""

import pytest

from factories.studies import START
from infpop_operator.analysis.round_subject import shared_fields
from infpop_operator.api.study_object import parse_study_object
from infpop_operator.core.model import Round
from report.study_objects import ended


@pytest.mark.parametrize("contents", ["0a1b2c3d", "infpop/t"])
def test_a_model_is_named_without_its_contents(contents: str) -> None:
    """A journal adds the start of a fingerprint, which is a hash or a name, to the model's name; a row has the name."""
    subject = {"model": f"/models/tiny (contents {contents})"}
    entry = Round(pool="a100", number=1, identity="i", opened_at=START, subject=subject)
    assert shared_fields(parse_study_object(ended()), "here", "a100", 1, entry)["model"] == "/models/tiny"


def test_a_row_says_for_which_metric_its_study_recommends() -> None:
    """Without it a reader could not tell the cheapest configuration from the fastest."""
    body = ended()
    body["spec"]["objective"] = {"metric": "throughputPerGPU"}
    assert shared_fields(parse_study_object(body), "here", "a100", 1, None)["objective"] == "throughputPerGPU"
