"""A study that publishes, and the ConfigMaps to which it does."""

from collections.abc import Mapping
from typing import Any

from reconcile.stage import Stage

PUBLISHED = {"publish": {"configMap": "best"}}


def published_by(stage: Stage) -> Mapping[str, Any]:
    """Return the data of the published ConfigMap."""
    data: Mapping[str, Any] = stage.cluster.get("configmaps", "best")["data"]
    return data
