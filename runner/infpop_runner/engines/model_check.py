"""Check before a load what a model's config.json says: whether the engine serves it, and whether the prompts fit.

The same rules as in `infpop validate`; on a cluster only the runner has an engine to ask. A configuration that cannot
be read refuses nothing: the load then says why.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from transformers import PretrainedConfig
from transformers.models.auto import modeling_auto

from infpop_runner.contract import (
    TRANSFORMERS_TABLES,
    VLLM_TABLES,
    InfeasibleReason,
    KnownModels,
    RunSpec,
    find_refusal,
    read_positions,
)
from infpop_runner.engines.errors import EngineRefusedError
from infpop_runner.engines.user_args import trusts_remote_code

Config = Mapping[str, Any]
_CONFIG_FILE_ARGUMENTS = ("cache_dir", "local_files_only", "revision", "subfolder", "token")


def read_config(name: str, args: Mapping[str, Any]) -> Config | None:
    """Return the content of the model's config.json, None if it cannot be read.

    Args:
        name: a hub id or a directory.
        args: the arguments with which the model's tokenizer is loaded; those about files count.
    """
    files = {key: args[key] for key in _CONFIG_FILE_ARGUMENTS if key in args}
    try:
        config: Config = PretrainedConfig.get_config_dict(name, **files)[0]
    except Exception:  # noqa: BLE001 - the load raises the same, and `failures` classifies it
        return None
    return config or None


def check_model(spec: RunSpec, config: Config | None, known: KnownModels) -> None:
    """Refuse a model that the engine does not serve.

    Raises:
        EngineRefusedError: it does not know the model, or must not run its code.
    """
    refusal = None if config is None else find_refusal(config, known, trust_remote_code=trusts_remote_code(spec))
    if refusal is not None:
        reason: InfeasibleReason = "RejectedArguments" if refusal.needs_code else "UnsupportedModel"
        raise EngineRefusedError(reason, f"model {spec.model.name} {refusal.message}. {refusal.remedy}")


def check_length(spec: RunSpec, config: Config | None, longest_prompt: int) -> None:
    """Refuse prompts that are longer than the model's context, before anything is loaded.

    Raises:
        EngineRefusedError: the longest prompt and its new tokens need more positions than the model has.
    """
    positions = None if config is None else read_positions(config)
    new = spec.workload.max_new_tokens
    if positions is not None and longest_prompt + new > positions:
        raise EngineRefusedError(
            "RejectedArguments",
            f"workload: the longest prompt has {longest_prompt} tokens; with {new} new ones it needs "
            f"{longest_prompt + new} positions, the model has {positions}. Use shorter prompts or fewer new tokens",
        )


def pipeline_known(version: str) -> KnownModels:
    """Return the models of this version of transformers."""
    table = getattr(modeling_auto, TRANSFORMERS_TABLES[0], {})
    return KnownModels(
        engine=f"transformers {version}", architectures=frozenset(_names(table.values())), model_types=frozenset(table)
    )


def vllm_known(version: str, registry: Any, supported: Callable[[], Iterable[str]]) -> KnownModels:  # noqa: ANN401 - a module
    """Return the models that this version of vLLM generates text with.

    Args:
        version: the version of vLLM.
        registry: its module of that name.
        supported: returns all architectures that it has, those of plugins among them.
    """
    tables = [getattr(registry, name, {}) for name in VLLM_TABLES]
    everything = getattr(registry, "_VLLM_MODELS", {})
    if not any(tables) or not everything:
        return KnownModels(engine=f"vLLM {version}")
    of_plugins = set(supported()) - set(everything)
    others = [_names(getattr(modeling_auto, name, {}).values()) for name in TRANSFORMERS_TABLES]
    return KnownModels(engine=f"vLLM {version}", architectures=frozenset().union(of_plugins, *tables, *others))


def _names(values: Iterable[object]) -> list[str]:
    nested = [value if isinstance(value, tuple | list) else (value,) for value in values]
    return [str(name) for names in nested for name in names]
