"""What a model's configuration says about its shape, without loading a weight."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM

from infpop_runner.contract import ModelFacts


def model_facts(config: Any, *, dtype: torch.dtype) -> ModelFacts:  # noqa: ANN401 - transformers has no types
    """Return head counts from `config` and the parameters of a model built from it without memory.

    Args:
        config: of transformers, of the whole model.
        dtype: that the weights are served in, for their size in bytes.
    """
    text = config.get_text_config()
    heads = getattr(text, "num_attention_heads", None)
    parameters = _count_parameters(config)
    return ModelFacts(
        attention_heads=heads,
        key_value_heads=getattr(text, "num_key_value_heads", None) or heads,
        parameters=parameters,
        weight_bytes=None if parameters is None else parameters * dtype.itemsize,
    )


def _count_parameters(config: Any) -> int | None:  # noqa: ANN401 - transformers has no types
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except Exception:  # noqa: BLE001 - any architecture that only the engine knows; the number is a convenience
        return None
    return sum(int(parameter.numel()) for parameter in model.parameters())
