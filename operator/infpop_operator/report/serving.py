"""What to copy: how to serve the model with the best configuration. Text only; nothing is run."""

import shlex

from infpop_operator.core.engine_args import engine_args
from infpop_operator.core.model import Configuration, Study


def render_serving(study: Study, configuration: Configuration) -> str | None:
    """Return a command or a program that uses `configuration`, None for an engine that serves nothing."""
    args = engine_args(study, configuration)
    match study.engine.name:
        case "vllm":
            parts = [f"vllm serve {shlex.quote(study.model.name)}", *(shlex.quote(arg) for arg in args)]
            return " \\\n  ".join(parts)
        case "hf-pipeline":
            lines = ['"text-generation"', f"model={study.model.name!r}", *args]
            body = "".join(f"    {line},\n" for line in lines)
            return f"from transformers import pipeline\n\ngenerate = pipeline(\n{body})"
        case "simulated":
            return None
