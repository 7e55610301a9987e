"""What a model's config.json says: can the engine serve it, how many heads and positions does it have?

The same answers for `infpop validate`, which reads the file before anything starts, and for the runner, which reads it
before it loads the model. A model that also sees or hears has its text model's values in a part of its own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infpop_runner.contract.result import ModelFacts
from infpop_runner.contract.text import one_line

Config = Mapping[str, Any]

_TEXT_PARTS = ("text_config", "llm_config", "language_config", "language_model", "thinker_config", "decoder")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KEY_VALUE_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num")
_POSITIONS = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len")
# Scalings of positions whose model already states the scaled number.
_ALREADY_SCALED = {"default", "llama3", "longrope", "mrope", "su"}
# Tasks other than text generation, by the names that transformers gives to classes.
_OTHER_TASK = re.compile(
    r"For(?!CausalLM|ConditionalGeneration|CausalGeneration)[A-Z]\w*$|(?<!Chat)(?<!LM)(?<!LMHead)Model$"
)
_CAUSAL = ("ForCausalLM", "LMHeadModel")
_DEEPEST_PART = 3
_MOST = 2**31 - 1  # heads or positions; a larger number says nothing about a model
_GENERATES = "Name a model that generates text, such as one whose architecture ends in ForCausalLM"
_NOT_CAUSAL = "not a causal language model"
_NAMELESS = "its config.json names no architecture, so it may not be a causal language model"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModels:
    """The models that an engine serves; both sets are empty if that is not known.

    `engine` is its name and version for messages. `architectures` has names as in config.json, `model_types` has those
    that the engine loads whatever their architecture is called.
    """

    engine: str
    architectures: frozenset[str] = frozenset()
    model_types: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRefusal:
    """Why an engine cannot serve a model; `message` continues a sentence that names the model.

    `needs_code` is whether the model's own code would do, which the study has to allow.
    """

    message: str
    remedy: str
    needs_code: bool = False


def find_refusal(config: Config, known: KnownModels, *, trust_remote_code: bool) -> ModelRefusal | None:
    """Return why the engine cannot serve the model, None if it can or if only a load finds out."""
    names = _architectures(config)
    if _is_encoder_decoder(config) and not any(name.endswith(_CAUSAL) for name in names):
        return _refusal(f"is a {names[0] if names else 'model'} with an encoder, {_NOT_CAUSAL}", _GENERATES)
    return _refusal_by_name(config, names, known, trust_remote_code=trust_remote_code)


def _refusal_by_name(
    config: Config, names: list[str], known: KnownModels, *, trust_remote_code: bool
) -> ModelRefusal | None:
    if any(name in known.architectures for name in names):
        return None
    listed = bool(known.architectures or known.model_types)
    if _has_own_code(config):
        return None if trust_remote_code or not listed else _own_code_refusal()
    other_task = bool(names) and all(map(_OTHER_TASK.search, names))
    if config.get("model_type") in known.model_types and not other_task:
        return None
    if other_task:
        return _refusal(f"is a {names[0]}, {_NOT_CAUSAL}", _GENERATES)
    if names and listed:
        remedy = "Use a version of the engine that knows it, or a model such as a LlamaForCausalLM"
        return _refusal(f"is a {names[0]}, which {known.engine} does not know", remedy)
    return None if names else _refusal(_NAMELESS, _GENERATES)


def read_facts(config: Config) -> ModelFacts:
    """Return the numbers of heads in a configuration; unknown values stay unknown."""
    text = text_part(config)
    return ModelFacts(attention_heads=_first(text, _HEADS), key_value_heads=_first(text, _KEY_VALUE_HEADS))


def read_positions(config: Config) -> int | None:
    """Return the most positions, of prompt and new tokens together, that the model can have; None if not stated.

    Never less than what an engine allows: where versions of engines differ, the larger number counts.
    """
    text = text_part(config)
    stated = [value for name in _POSITIONS if (value := _first(text, (name,))) is not None]
    return int(min(max(stated) * _scaling(text), _MOST)) if stated else None


def text_part(config: Config) -> Config:
    """Return the configuration of the text model; what its own part does not state comes from the whole."""
    merged = dict(config)
    for _ in range(_DEEPEST_PART):
        part = next((merged[name] for name in _TEXT_PARTS if isinstance(merged.get(name), Mapping)), None)
        if part is None:
            break
        merged = {key: value for key, value in merged.items() if key not in _TEXT_PARTS} | dict(part)
    return merged


def with_overrides(config: Config, overrides: object) -> Config:
    """Return the configuration with vLLM's `hf_overrides`, if they are an object; parts are merged."""
    if not isinstance(overrides, Mapping):
        return config
    return {**config, **{key: _merged(config.get(key), value) for key, value in overrides.items()}}


def _merged(old: object, new: object) -> object:
    return {**old, **new} if isinstance(old, Mapping) and isinstance(new, Mapping) else new


def _architectures(config: Config) -> list[str]:
    names = config.get("architectures")
    return [one_line(name) for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _is_encoder_decoder(config: Config) -> bool:
    """Return whether the model writes an answer to a whole text or a recording, instead of continuing a prompt."""
    return config.get("is_encoder_decoder") is True or {"encoder_layers", "decoder_layers"} <= config.keys()


def _has_own_code(config: Config) -> bool:
    own = config.get("auto_map")
    return isinstance(own, Mapping) and any(str(name).startswith("AutoModel") for name in own)


def _refusal(message: str, remedy: str) -> ModelRefusal:
    return ModelRefusal(message=message, remedy=remedy)


def _own_code_refusal() -> ModelRefusal:
    return ModelRefusal(
        message="needs code from its own repository",
        remedy='Read that code, then set trust_remote_code: "true" in spec.engine.args',
        needs_code=True,
    )


def _scaling(text: Config) -> float:
    """Return by how much the positions are scaled; layers of several kinds may each have a scaling."""
    found = text.get("rope_scaling") or text.get("rope_parameters")
    if not isinstance(found, Mapping):
        return 1.0
    kinds = [found, *(value for value in found.values() if isinstance(value, Mapping))]
    return max([1.0, *(_factor(kind) for kind in kinds)])


def _factor(scaling: Config) -> float:
    factor = scaling.get("factor")
    if scaling.get("rope_type", scaling.get("type")) in _ALREADY_SCALED or isinstance(factor, bool):
        return 1.0
    return float(factor) if isinstance(factor, int | float) else 1.0


def _first(config: Config, names: tuple[str, ...]) -> int | None:
    values = (config.get(name) for name in names)
    numbers = (value for value in values if isinstance(value, int) and not isinstance(value, bool))
    return next((number for number in numbers if 0 < number <= _MOST), None)
