"""The arguments that a study passes to an engine: refused before a load if the engine or InfPop does not take them."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from infpop_runner.contract import RunSpec, StrictJsonError, decode_argument, pinned_message, unknown_argument_remedy
from infpop_runner.engines.errors import EngineRefusedError


def refuse_pinned(spec: RunSpec) -> None:
    """Refuse an argument that InfPop sets, in any spelling.

    Raises:
        EngineRefusedError: one of `engine.args` is pinned.
    """
    for name in spec.engine.args:
        if (why := pinned_message(name)) is not None:
            raise EngineRefusedError("RejectedArguments", f"engine.args.{name} {why}. Remove it")


def refuse_unknown(spec: RunSpec, known: AbstractSet[str], engine: str) -> None:
    """Refuse an argument that the engine does not have.

    Args:
        spec: the run.
        known: the names of the engine's arguments; empty if they are not known, which refuses nothing.
        engine: the engine's name and version, for the message.

    Raises:
        EngineRefusedError: one of `engine.args` is not among `known`.
    """
    for name in spec.engine.args:
        if known and name not in known:
            raise EngineRefusedError("RejectedArguments", unknown_message(name, known, engine))


def refuse_unknown_keys(values: Mapping[str, Any], fields: Mapping[str, AbstractSet[str]], engine: str) -> None:
    """Refuse a key of a structured argument that the engine does not have: vLLM would leave it out silently.

    Args:
        values: the run's arguments as the engine takes them.
        fields: the keys of each structured argument of which they are known.
        engine: the engine's name and version, for the message.

    Raises:
        EngineRefusedError: an object has a key that is not among the known ones of its argument.
    """
    for name, value in values.items():
        known: AbstractSet[str] = fields.get(name, frozenset())
        for key in value if known and isinstance(value, dict) else ():
            if key not in known:
                raise EngineRefusedError("RejectedArguments", unknown_message(f"{name}.{key}", known, engine))


def unknown_message(name: str, known: AbstractSet[str], engine: str) -> str:
    """Return the sentence about an argument that the engine does not have, with the most similar one that it has."""
    remedy = unknown_argument_remedy(name.rpartition(".")[2], known)
    return f"engine.args.{name} is not an argument of {engine}. {remedy}"


def trusts_remote_code(spec: RunSpec) -> bool:
    """Return whether the study allows custom code from the model's repository, for the model and its tokenizer."""
    return str(spec.engine.args.get("trust_remote_code", "")).lower() == "true"


def engine_values(spec: RunSpec) -> dict[str, Any]:
    """Return the run's `engine.args` as the engine takes them: JSON texts as objects and lists.

    Raises:
        EngineRefusedError: a value is written as an object or a list, but is not JSON.
    """
    return {name: _decoded(name, value) for name, value in spec.engine.args.items()}


def _decoded(name: str, value: Any) -> Any:  # noqa: ANN401 - a JSON value
    try:
        return decode_argument(value)
    except StrictJsonError as error:
        raise EngineRefusedError("RejectedArguments", f"engine.args.{name} {error.message}") from error
