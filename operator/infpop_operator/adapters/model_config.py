"""Read a model's config.json before anything is loaded: is it a causal language model, how many heads does it have?

Only config.json is downloaded. An unreachable hub is not an error: `None` means unknown, and the first run finds out.
"""

import hashlib
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infpop_operator.adapters.hub_refusal import HubRefusal
from infpop_operator.core.errors import Problem, StudyError
from infpop_runner.contract import ModelFacts

_CAUSAL = ("ForCausalLM", "LMHeadModel")
_WEIGHTS = {".safetensors", ".bin", ".gguf"}
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KEY_VALUE_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num")


def directory_facts(directory: Path) -> ModelFacts:
    """Return the facts in a local model's config.json.

    Raises:
        StudyError: there is no config.json, it is not JSON, or the model is not a causal language model.
    """
    path = directory / "config.json"
    if not path.is_file():
        remedy = "Name a directory with config.json, tokenizer and weights; `infpop tiny-model DIR` writes one"
        raise _error("name", str(directory), "this directory has no config.json", remedy)
    return _facts(path, str(directory))


def directory_fingerprint(directory: Path) -> str:
    """Return a hash that identifies a local model in any directory: of config.json, and weight file names and sizes.

    The weights themselves are not read: they may be hundreds of gigabytes, and their values do not affect throughput.

    Raises:
        StudyError: the directory or one of these files cannot be read.
    """
    try:
        weights = sorted((path.name, path.stat().st_size) for path in directory.iterdir() if path.suffix in _WEIGHTS)
        config = (directory / "config.json").read_bytes()
    except OSError as error:
        message = f"{error.filename} cannot be read ({error.strerror})"
        remedy = "Write or download the model again, and check for broken links"
        raise _error("name", str(directory), message, remedy) from error
    return hashlib.sha256(config + json.dumps(weights).encode()).hexdigest()[:16]


def hub_facts(name: str, revision: str | None) -> ModelFacts | None:
    """Return the facts in a hub model's config.json, None if the hub cannot be reached.

    Raises:
        StudyError: the hub refuses, or the model is not a causal language model.
    """
    try:
        hub = importlib.import_module("infpop_operator.adapters.hub")
    except ImportError:  # huggingface_hub comes with the engines
        return None
    try:
        path = hub.find_config(name, revision)
    except HubRefusal as refusal:
        value = name if refusal.field == "name" else str(revision)
        raise _error(refusal.field, value, refusal.message, refusal.remedy) from refusal
    return None if path is None else _facts(path, name)


def _facts(path: Path, name: str) -> ModelFacts:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _error("name", name, f"its config.json cannot be read ({error})", "Write or download it again") from error
    if not isinstance(config, dict):
        raise _error("name", name, "its config.json is not a JSON object", "Write or download it again")
    _refuse_other_kinds(config, name)
    text = config.get("text_config")
    return _heads({**config, **text} if isinstance(text, dict) else config)


def _refuse_other_kinds(config: Mapping[str, Any], name: str) -> None:
    architectures = config.get("architectures")
    if not isinstance(architectures, list) or not architectures:
        message = "its config.json names no architecture, so it may not be a causal language model"
        raise _error("name", name, message, "Name a model whose architecture ends in ForCausalLM")
    if not any(str(architecture).endswith(_CAUSAL) for architecture in architectures):
        message = f"is a {architectures[0]}, not a causal language model"
        raise _error("name", name, message, "Name a model whose architecture ends in ForCausalLM")


def _heads(config: Mapping[str, Any]) -> ModelFacts:
    return ModelFacts(attention_heads=_first(config, _HEADS), key_value_heads=_first(config, _KEY_VALUE_HEADS))


def _first(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    values = (config.get(name) for name in names)
    return next((value for value in values if isinstance(value, int) and value > 0), None)


def _error(key: str, value: str, message: str, remedy: str) -> StudyError:
    return StudyError([Problem(field=f"spec.model.{key}", value=value, message=message, remedy=remedy)])
