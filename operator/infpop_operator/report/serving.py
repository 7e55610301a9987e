"""What to copy: how to serve the model with the best configuration. Text only; nothing is run."""

import shlex
from collections.abc import Sequence

from infpop_operator.core.engine_args import engine_args
from infpop_operator.core.model import Configuration, Study


def render_serving(study: Study, configuration: Configuration) -> str | None:
    """Return a command or a program that uses `configuration`, None for an engine that serves nothing."""
    return serving_text(study.engine.name, study.model.name, engine_args(study, configuration))


def serving_text(engine: str, model: str, args: Sequence[str]) -> str | None:
    """Return the same of arguments that are known, as `core.engine_args` makes them."""
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
