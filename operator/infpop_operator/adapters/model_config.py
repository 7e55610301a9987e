"""Read a model's config.json before anything is loaded, and check it against the study.

Only config.json is downloaded. `None` means unknown, because the hub is busy: the first run finds out.
"""

import hashlib
import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infpop_operator.adapters.hub_refusal import HubRefusal
from infpop_operator.api.spec import StudySpec
from infpop_operator.core.errors import Problem, StudyError
from infpop_runner.contract import (
    KnownModels,
    ModelFacts,
    StrictJsonError,
    decode_argument,
    find_refusal,
    read_facts,
    read_positions,
    with_overrides,
)

_WEIGHTS = {".safetensors", ".bin", ".gguf"}
_TOKENS = ("hf_token", "token")  # arguments of vLLM and of transformers that replace HF_TOKEN
_OTHER_CACHES = {"cache_dir", "download_dir"}  # arguments for a cache that is not looked at here


def directory_config(directory: Path) -> dict[str, Any]:
    """Return the configuration in a local model's config.json.

    Raises:
        StudyError: there is no config.json, or it is not JSON.
    """
    path = directory / "config.json"
    if not path.is_file():
        remedy = "Name a directory with config.json, tokenizer and weights; `infpop tiny-model DIR` writes one"
        raise _error("name", str(directory), "this directory has no config.json", remedy)
    return _read(path, str(directory))


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


def hub_config(study: StudySpec) -> dict[str, Any] | None:
    """Return the configuration in the config.json of a study's hub model, None if it is unknown before the first run.

    Raises:
        StudyError: the hub refuses, or it cannot be reached and the cache lacks the model, or the file is not JSON.
    """
    name, revision, args = study.model.name, study.model.revision, study.engine.args
    if study.engine.name == "vllm" and _uses_modelscope():
        return None
    try:
        hub = importlib.import_module("infpop_operator.adapters.hub")
    except ImportError:  # huggingface_hub comes with the engines
        return None
    try:
        path = hub.find_config(
            name,
            revision,
            needs_weights=study.model.load_format != "dummy",
            token=next((args[key] for key in _TOKENS if key in args), None),
        )
    except HubRefusal as refusal:
        if refusal.is_absence and _OTHER_CACHES & args.keys():
            return None
        value = name if refusal.field == "name" else revision or "main"
        raise _error(refusal.field, value, refusal.message, refusal.remedy) from refusal
    return None if path is None else _read(path, name)


def _uses_modelscope() -> bool:
    """Return whether vLLM loads models from ModelScope, which is not asked here."""
    return os.environ.get("VLLM_USE_MODELSCOPE", "").lower() in {"1", "true"}  # noqa: TID251 - read as vLLM does


def check_config(config: Mapping[str, Any], name: str, study: StudySpec, known: KnownModels) -> ModelFacts:
    """Return the facts in a model's configuration, if the engine can serve it with the study's workload.

    Args:
        config: the configuration as in config.json.
        name: the hub id or the directory that has it.
        study: the study that names the model.
        known: the models that the engine serves.

    Raises:
        StudyError: the engine cannot serve the model, or the workload needs more positions than it has.
    """
    config = with_overrides(config, _overrides(study))
    trusted = study.engine.args.get("trust_remote_code", "").lower() == "true"
    refusal = find_refusal(config, known, trust_remote_code=trusted)
    if refusal is not None:
        raise _error("name", name, refusal.message, refusal.remedy)
    positions = read_positions(config)
    if positions is not None:
        _check_length(study, positions)
    return read_facts(config)


def _overrides(study: StudySpec) -> object:
    try:
        return decode_argument(study.engine.args.get("hf_overrides", ""))
    except StrictJsonError:  # `api.rules` reports it
        return None


def _check_length(study: StudySpec, positions: int) -> None:
    """Refuse a workload of which it is certain, without a tokenizer, that it is longer than the model's context."""
    synthetic, new = study.workload.source.synthetic, study.workload.max_new_tokens
    shortest = 1 if synthetic is None else synthetic.prompt_tokens
    if shortest + new <= positions:
        return
    prompt_is_long = synthetic is not None and new < positions
    problem = Problem(
        field=f"spec.workload.{'source.synthetic.promptTokens' if prompt_is_long else 'maxNewTokens'}",
        value=str(shortest if prompt_is_long else new),
        message=f"prompt and new tokens need {shortest + new} positions, the model has {positions}",
        remedy=f"Use {positions - (new if prompt_is_long else 1)} or less",
    )
    raise StudyError([problem])


def _read(path: Path, name: str) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8-sig"))  # not the strict parser: some files have Infinity
    except (OSError, ValueError, RecursionError) as error:
        raise _error("name", name, f"its config.json cannot be read ({error})", "Write or download it again") from error
    if not isinstance(config, dict):
        raise _error("name", name, "its config.json is not a JSON object", "Write or download it again")
    return config


def _error(key: str, value: str, message: str, remedy: str) -> StudyError:
    return StudyError([Problem(field=f"spec.model.{key}", value=value, message=message, remedy=remedy)])
