"""Models from the field that the installed vLLM serves: accepted, with the heads of their text model."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from api.documents import changed
from infpop_operator.adapters.installed_engine import known_models
from infpop_operator.adapters.model_config import check_config
from infpop_operator.api.parse import parse_object

STUDY = parse_object(changed({})).spec


@pytest.mark.parametrize("installed", [True, False])
def test_models_that_also_see_are_served(field: Path, installed: bool) -> None:  # noqa: FBT001 - a parameter
    """They pass by the installed engine's list, and by their names where no engine is installed."""
    if installed and find_spec("vllm") is None:
        pytest.skip("vllm is not installed")
    files = sorted((field / "models").glob("K*.json"))
    assert files
    known = known_models("vllm" if installed else "simulated")
    for file in files:
        config = json.loads(file.read_text())
        facts = check_config(config, file.name, STUDY, known)
        assert facts.attention_heads == config["text_config"]["num_attention_heads"], file
        assert facts.key_value_heads == config["text_config"]["num_key_value_heads"], file
