"""The engines that can be measured, by name, with the loader of each.

A name maps to a dotted path: the module with its heavy imports is loaded only if its engine is chosen.
"""

from importlib import import_module

from infpop_runner.engines.protocol import AboutEngine, Engine, EngineLoader, LoadRequest

LOADERS = {
    "vllm": "infpop_runner.engines.vllm_offline:load",
    "hf-pipeline": "infpop_runner.engines.hf_pipeline:load",
    "simulated": "infpop_runner.engines.simulated:load",
}
# Dimensioned at load time for the largest batch of a run. Others allocate memory for a batch when they run it.
SIZED_BY_BATCH = frozenset({"vllm"})


def find_loader(name: str) -> EngineLoader:
    """Import the module of the engine called `name` and return its loader.

    Raises:
        KeyError: no engine has that name.
        ImportError: the engine's libraries are not installed.
    """
    module, _, function = LOADERS[name].partition(":")
    loader: EngineLoader = getattr(import_module(module), function)
    return loader


__all__ = ["LOADERS", "SIZED_BY_BATCH", "AboutEngine", "Engine", "EngineLoader", "LoadRequest", "find_loader"]
