"""Render a study as YAML in its shortest form, so that a report can show which study a result came from."""

from typing import Any

import yaml

from infpop_operator.api.spec import ThroughputStudy


def render_study(document: ThroughputStudy) -> str:
    """Return the document as YAML without fields at their default; it parses to an equal document."""
    tree: dict[str, Any] = document.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=120)
