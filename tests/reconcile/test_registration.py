"""Invariant 2: what is registered with the framework can neither mark an object nor keep it from being deleted."""

import ast
import inspect
from contextlib import asynccontextmanager
from pathlib import Path

import kopf
import pytest

import infpop_operator
from infpop_operator.handlers.registration import WATCHED, configure, register
from infpop_operator.settings import Settings

SOURCES = Path(infpop_operator.__file__).parent
# Handlers of the process itself, and the only kind of handler of objects that leaves them alone: timers, daemons and
# handlers of deletions put a finalizer on an object, those of changes and fields keep annotations on it.
HARMLESS = {"event", "startup", "cleanup", "probe", "login"}


@pytest.fixture
def registry() -> kopf.OperatorRegistry:
    """A registry with everything of the operator."""
    return registered(Settings())


def registered(settings: Settings) -> kopf.OperatorRegistry:
    """Return a registry with everything of an operator that is set up so."""

    @asynccontextmanager
    async def unopened():  # type: ignore[no-untyped-def]  # noqa: ANN202 - never entered
        yield

    registry = kopf.OperatorRegistry()
    register(registry, unopened, settings)
    return registry


def test_objects_have_event_handlers_alone(registry: kopf.OperatorRegistry) -> None:
    """Invariant 2: each watched kind has one handler of events, and no object has a handler of another sort."""
    assert len(registry._watching.get_all_handlers()) == len(WATCHED) == 4
    assert registry._spawning.get_all_handlers() == []
    assert registry._changing.get_all_handlers() == []
    assert registry._webhooks.get_all_handlers() == []


def test_nodes_out_of_a_file_are_not_watched() -> None:
    """An operator that may not ask for nodes does not ask: kopf would give up on the refusals and end."""
    registry = registered(Settings(nodes_file=Path("nodes.yaml")))
    assert {handler.id for handler in registry._watching.get_all_handlers()} == {"study", "job", "pod"}


def test_no_source_registers_another_sort() -> None:
    """Invariant 2: whatever `kopf.on` is asked for anywhere in the operator leaves objects alone."""
    used = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "kopf":
                used.add((path.name, node.attr))
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "kopf.on":
                used.add((path.name, f"on.{node.attr}"))
    decorators = {name for _, name in used if name.startswith("on.") or name in ("timer", "daemon", "index")}
    assert decorators <= {f"on.{name}" for name in HARMLESS}
    assert {"on.event", "on.startup", "on.cleanup"} <= decorators


def test_event_handlers_return_nothing(registry: kopf.OperatorRegistry) -> None:
    """Invariant 2: what a handler returns would be written into its object, so each says that it returns None."""
    for handler in registry._watching.get_all_handlers():
        assert inspect.signature(handler.fn).return_annotation is None


def test_the_frameworks_own_marks_are_off() -> None:
    """The framework posts no Events, looks for no other operator, and gives up on a watch that has gone silent."""
    settings = kopf.OperatorSettings()
    configure(settings, Settings(node_selector="gpu=true"))
    assert (settings.posting.enabled, settings.peering.standalone) == (False, True)
    assert settings.watching.inactivity_timeout is not None
    assert settings.watching.label_selectors["nodes"] == "gpu=true"
    assert settings.watching.label_selectors["pods"] == "app.kubernetes.io/managed-by=infpop"
