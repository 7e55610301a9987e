"""A strategic merge patch of a Deployment, for `patches` of kustomize and for `kubectl patch --patch-file`."""

from infpop_operator.api.resource import GROUP
from infpop_operator.api.serving_values import container_argument
from infpop_operator.api.yaml_text import render_yaml
from infpop_operator.export.container import gpu_resources
from infpop_operator.export.result import ExportedResult

_ARGUMENTS = "The patch replaces the container's args: keep arguments of your own, such as the port, in its command."


def render_kustomize(result: ExportedResult) -> str:
    """Return a patch that sets the arguments and the GPUs of one container of a Deployment."""
    values = result.values
    metadata: dict[str, object] = {"name": result.name}
    if result.is_simulated:
        metadata["annotations"] = {f"{GROUP}/simulated": "true"}
    container: dict[str, object] = {
        "name": result.container,
        "args": [container_argument(argument) for argument in values.args],
        **gpu_resources(values),
    }
    tree = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    return render_yaml(tree, (*result.notes, _ARGUMENTS))
