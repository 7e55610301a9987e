"""What the installed engine takes is checked before anything starts."""

import re
import sys
from importlib.metadata import EntryPoint
from importlib.util import find_spec

import pytest

from api.documents import changed
from infpop_operator.adapters import installed_engine
from infpop_operator.adapters.installed_engine import engine_arguments, known_models
from infpop_operator.api.parse import parse_object
from infpop_operator.core.errors import StudyError
from infpop_operator.local import installed
from infpop_operator.local.installed import check_arguments, check_installed

ENGINES = [
    ("vllm", "vllm", "blok_size", "block_size"),
    ("hf-pipeline", "transformers", "attn_implementaton", "attn_implementation"),
]


@pytest.mark.parametrize(("engine", "package", "wrong", "right"), ENGINES)
def test_an_argument_that_the_installed_engine_lacks_is_refused(
    engine: str, package: str, wrong: str, right: str
) -> None:
    """The one that was meant is proposed, for fixed and for searched arguments, and the engine is not imported."""
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    fixed = {"spec.engine.name": engine, "spec.engine.args": {wrong: "16"}}
    searched = {"spec.engine.name": engine, "spec.searchSpace.extra": [{"name": wrong, "values": ["1"]}]}
    loaded = package in sys.modules
    for changes in (fixed, searched):
        with pytest.raises(StudyError, match=rf"is not an argument of .* [0-9.]+.*\. Did you mean {right}\?"):
            check_arguments(parse_object(changed(changes)).spec)
    check_arguments(parse_object(changed({"spec.engine.name": engine, "spec.engine.args": {right: "16"}})).spec)
    assert (package in sys.modules) is loaded


def test_an_engine_whose_arguments_are_not_known_refuses_nothing() -> None:
    """Another version, or none, decides itself."""
    assert engine_arguments("simulated") == frozenset()


@pytest.mark.parametrize(("module", "known"), [("vllm.plugins.lora", {"A"}), ("company_models", set())])
def test_plugins_of_others_may_add_models(monkeypatch: pytest.MonkeyPatch, module: str, known: set[str]) -> None:
    """Where a package other than vLLM registers plugins, no model is refused by vLLM's own list."""
    tables = {"model_executor/models/registry.py": '_TEXT_GENERATION_MODELS = {"A": ("module", "A")}'}
    monkeypatch.setattr(installed_engine, "_source", lambda _package, path: tables.get(path, ""))
    plugin = EntryPoint("plugin", f"{module}:register", "vllm.general_plugins")
    monkeypatch.setattr(installed_engine, "entry_points", lambda group: [plugin] if group == plugin.group else [])
    assert known_models("vllm").architectures == known


@pytest.mark.parametrize("engine", ["vllm", "hf-pipeline", "simulated"])
def test_one_command_installs_all_that_a_study_lacks(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where engine and search are both missing, the command that installs the engine installs the search as well."""
    monkeypatch.setattr(installed, "find_spec", lambda _module: None)
    simulation = {"spec.engine.simulation": {"formula": {}}} if engine == "simulated" else {}
    with pytest.raises(StudyError) as caught:
        check_installed(parse_object(changed({"spec.engine.name": engine, **simulation})).spec)
    of_engine, of_search = caught.value.problems
    assert set(_extras(of_search.remedy)) <= set(_extras(of_engine.remedy))


def _extras(remedy: str) -> list[str]:
    found = re.search(r"pip install '\.\[([a-z,-]+)\]' in a checkout", remedy)
    assert found is not None, remedy
    return found[1].split(",")
