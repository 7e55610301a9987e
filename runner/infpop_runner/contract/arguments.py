"""Values of engine arguments: a structured one is a JSON text in specs and results, and an object for the engine."""

from typing import Any

from infpop_runner.contract.strict_json import parse_json

Scalar = str | int | float | bool
# Arguments of `transformers.pipeline` itself: they go to configuration, tokenizer and weights alike.
PIPELINE_HUB_ARGUMENTS = ("code_revision", "token", "trust_remote_code")
# By default vLLM's CPU build reserves half of the machine's memory for its KV cache. 1 GiB holds any batch of a small
# model; for a larger model the user sets `kv_cache_memory_bytes` in `args`.
CPU_KV_CACHE_BYTES = 1 << 30
_TEMPLATES = ("{{", "{%", "{#")  # a template's text is no JSON, though it starts like an object


def is_structured(value: Scalar) -> bool:
    """Return whether a value is written as a JSON object or list."""
    return isinstance(value, str) and value.lstrip()[:1] in {"{", "["} and not value.lstrip().startswith(_TEMPLATES)


def decode_argument(value: Scalar) -> Any:  # noqa: ANN401 - a JSON value
    """Return the value as an engine's Python interface takes it.

    Raises:
        StrictJsonError: it is written as an object or a list, but is not JSON.
    """
    return parse_json(value) if isinstance(value, str) and is_structured(value) else value
