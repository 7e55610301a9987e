"""Derive facts about a model's shape from its configuration, without loading weights."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM

from infpop_runner.contract import ModelFacts


def model_facts(config: Any, *, dtype: torch.dtype, trust_remote_code: bool) -> ModelFacts:  # noqa: ANN401 - transformers has no types
    """Return the head counts in `config`, and the parameter count of a model built from it without memory.

    Args:
        config: the transformers configuration of the whole model.
        dtype: data type of the loaded weights, for their size in bytes.
        trust_remote_code: whether code of the model's repository may define the model.
    """
    text = config.get_text_config()
    heads = getattr(text, "num_attention_heads", None)
    parameters = _count_parameters(config, trust_remote_code=trust_remote_code)
    return ModelFacts(
        attention_heads=heads,
        key_value_heads=getattr(text, "num_key_value_heads", None) or heads,
        parameters=parameters,
        weight_bytes=None if parameters is None else parameters * dtype.itemsize,
    )


def _count_parameters(config: Any, *, trust_remote_code: bool) -> int | None:  # noqa: ANN401 - transformers has no types
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except Exception:  # noqa: BLE001 - an architecture that only the engine knows; the count is optional
        return None
    return sum(int(parameter.numel()) for parameter in model.parameters())
