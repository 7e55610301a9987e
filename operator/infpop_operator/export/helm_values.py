"""The values of a Helm release, as the operator publishes them."""

from infpop_operator.api.serving_values import render_values
from infpop_operator.export.result import ExportedResult


def render_helm_values(result: ExportedResult) -> str:
    """Return the text of the key `values.yaml` of a published ConfigMap, under comments."""
    return "".join(f"# {note}\n" for note in result.notes) + render_values(result.values)
