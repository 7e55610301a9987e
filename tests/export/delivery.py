"""What other programs do with the text of an output before the engine gets its arguments."""

import json
import re
import subprocess
from typing import Any

import yaml


def container_args(container: dict[str, Any]) -> list[str]:
    """Return the arguments of a container's process: Kubernetes replaces `$(NAME)` and makes `$$` to `$`.

    Source: kubernetes/kubernetes third_party/forked/golang/expansion/expand.go.
    """
    return [expanded(argument) for argument in container["args"]]


def expanded(argument: str) -> str:
    """Return an argument as Kubernetes passes it on, with SECRET=leaked as the container's only variable."""

    def replace(found: re.Match[str]) -> str:
        if found.group() == "$$":
            return "$"
        return "leaked" if found.group(1) == "SECRET" else found.group()

    return re.sub(r"\$\$|\$\(([^)]*)\)", replace, argument)


def rendered_by_kserve(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration after KServe: it executes the JSON of the whole object as one Go template.

    The only action that this stand-in knows is a raw string; it fails where Go would find anything else.
    """
    text = json.dumps(tree, ensure_ascii=False)
    rendered = re.sub(r"\{\{`([^`]*)`\}\}", r"\1", text)
    assert "{{" not in re.sub(r"\{\{`[^`]*`\}\}", "", text)
    result: dict[str, Any] = json.loads(rendered)
    return result


def evaluated_by_a_preset(args: list[str]) -> list[str]:
    """Return the arguments of `vllm serve` that a preset of KServe starts with `args`: a real bash evaluates them."""
    script = r"""eval "exec printf '%s\\0' \
      ${NOT_SET} \
      $@" """
    done = subprocess.run(["/bin/bash", "-c", script, "--", *args], capture_output=True, check=True, text=True, env={})
    return done.stdout.split("\0")[:-1]


def production_stack_args(model: dict[str, Any], options: dict[str, str]) -> list[str]:
    """Return the arguments that the chart of the vLLM production stack makes of an entry of `modelSpec`.

    Args:
        model: the entry.
        options: the option that the chart's template writes for each field of vllmConfig.
    """
    args: list[str] = []
    for field, value in model["vllmConfig"].items():
        if field == "extraArgs":
            continue
        option = options[field]
        if isinstance(value, bool):
            args.append(option if value else option.replace("--", "--no-", 1))
        else:
            args.append(f"{option.replace('_', '-')}={value}")
    return [expanded(argument) for argument in (*args, *model["vllmConfig"].get("extraArgs", ()))]


def tree_of(text: str) -> dict[str, Any]:
    """Return an output as a reader of YAML has it."""
    tree: dict[str, Any] = yaml.safe_load(text)
    return tree
