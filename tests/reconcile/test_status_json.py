"""The status as the operator sends it to the API server."""

import json

from factories.studies import START
from infpop_operator.api.status import waiting_status
from infpop_operator.api.status_context import StatusContext
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.cluster.status_writer import dump_status


def test_a_status_is_sent_as_json_and_read_back_unchanged() -> None:
    """Times are texts, names are those of the CRD, and an unknown field is left out, not null."""
    status = waiting_status("QuotaExceeded", "no room", START, previous=None, context=StatusContext(generation=3))
    sent = dump_status(status)
    text = json.dumps(sent)
    assert StudyStatus.model_validate(json.loads(text)) == status
    assert sent["observedGeneration"] == 3
    assert "null" not in text
