"""The command or program that serves the model with the best configuration, for the user to copy. Pure."""

import shlex
from collections.abc import Sequence


def render_serving(engine: str, model: str, args: Sequence[str]) -> str | None:
    """Return a command or a program that serves `model`; None for an engine that cannot serve.

    Args:
        engine: name of the engine.
        model: a hub id or a directory.
        args: as built by `core.engine_args`.
    """
    match engine:
        case "vllm":
            parts = [f"vllm serve {shlex.quote(model)}", *(shlex.quote(arg) for arg in args)]
            return " \\\n  ".join(parts)
        case "hf-pipeline":
            lines = ['"text-generation"', f"model={model!r}", *args]
            body = "".join(f"    {line},\n" for line in lines)
            return f"from transformers import pipeline\n\ngenerate = pipeline(\n{body})"
        case _:
            return None
