"""Invariant 2: no handler registered with the framework marks an object or delays its deletion."""

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
# Handlers of the process itself, and the only kind of object handler that does not change objects: timers, daemons and
# deletion handlers add a finalizer to an object, change and field handlers keep annotations on it.
HARMLESS = {"event", "startup", "cleanup", "probe", "login"}


@pytest.fixture
def registry() -> kopf.OperatorRegistry:
    """A registry with all handlers of the operator."""
    return registered(Settings())


def registered(settings: Settings) -> kopf.OperatorRegistry:
    """Return a registry with all handlers of an operator with these settings."""

    @asynccontextmanager
    async def unopened():  # type: ignore[no-untyped-def]  # noqa: ANN202 - never entered
        yield

    registry = kopf.OperatorRegistry()
    register(registry, unopened, settings)
    return registry


def test_objects_have_event_handlers_alone(registry: kopf.OperatorRegistry) -> None:
    """Invariant 2: each watched kind has one event handler, and no object has a handler of another kind."""
    assert len(registry._watching.get_all_handlers()) == len(WATCHED) == 4
    assert registry._spawning.get_all_handlers() == []
    assert registry._changing.get_all_handlers() == []
    assert registry._webhooks.get_all_handlers() == []


def test_nodes_out_of_a_file_are_not_watched() -> None:
    """An operator that may not list Nodes does not try: kopf would give up on the refusals and end."""
    registry = registered(Settings(nodes_file=Path("nodes.yaml")))
    assert {handler.id for handler in registry._watching.get_all_handlers()} == {"study", "job", "pod"}


def test_no_source_registers_another_sort() -> None:
    """Invariant 2: every use of `kopf.on` anywhere in the operator leaves objects unchanged."""
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
    """Invariant 2: kopf would write a handler's return value into its object, so each is annotated to return None."""
    for handler in registry._watching.get_all_handlers():
        assert inspect.signature(handler.fn).return_annotation is None


def test_the_frameworks_own_marks_are_off() -> None:
    """Kopf posts no Events, looks for no other operator, and restarts a watch that has gone silent."""
    settings = kopf.OperatorSettings()
    configure(settings, Settings(node_selector="gpu=true"))
    assert (settings.posting.enabled, settings.peering.standalone) == (False, True)
    assert settings.watching.inactivity_timeout is not None
    assert settings.watching.label_selectors["nodes"] == "gpu=true"
    assert settings.watching.label_selectors["pods"] == "infpop.io/run"
