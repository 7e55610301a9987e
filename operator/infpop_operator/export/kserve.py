"""A KServe `LLMInferenceServiceConfig`, which an `LLMInferenceService` names in `baseRefs`.

KServe merges it over its own preset, whose container `main` passes its `args` to `vllm serve` by way of a shell: in
KServe 0.19 and later the preset's command ends in `eval "exec vllm serve ... $@"`. So each argument that a shell would
change is quoted for one; all others are right without a shell too. KServe also expands Go templates in the whole
object. `spec.parallelism` is left out: some presets make arguments from it, which would then be given twice.

Sources: kserve/kserve, config/llmisvcconfig/config-llm-template.yaml and config-llm-cpu-offload.yaml,
pkg/controller/v1alpha2/llmisvc/config_merge.go; issue 5048.
"""

import shlex

from infpop_operator.api.serving_values import container_argument
from infpop_operator.api.yaml_text import render_yaml
from infpop_operator.export.container import gpu_resources
from infpop_operator.export.result import ExportedResult

API_VERSION = "serving.kserve.io/v1alpha2"
KIND = "LLMInferenceServiceConfig"
_CONTAINER = "main"  # the name of the engine's container in KServe's presets
_USE = "Name it in spec.baseRefs of an LLMInferenceService of the same namespace."
_QUOTED = "Some arguments have shell quotes, because the presets of KServe 0.19 and later pass args through a shell."


def render_kserve(result: ExportedResult) -> str:
    """Return the configuration with the arguments and the GPUs of the container `main`."""
    args = [shlex.quote(argument) for argument in result.values.args]
    container: dict[str, object] = {
        "name": _CONTAINER,
        "args": [literal_template(container_argument(argument)) for argument in args],
        **gpu_resources(result.values),
    }
    tree = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": result.name},
        "spec": {"template": {"containers": [container]}},
    }
    quoted = () if tuple(args) == result.values.args else (_QUOTED,)
    return render_yaml(tree, (*result.notes, _USE, *quoted))


def literal_template(text: str) -> str:
    """Return text that a Go template renders as `text`; the back quotes stay as they are in JSON."""
    return text.replace("{{", "{{`{{`}}")
