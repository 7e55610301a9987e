"""Write a study as YAML again, as short as it can be said: for whoever wants to know where a result came from."""

from typing import Any

import yaml

from infpop_operator.api.spec import ThroughputStudy


def render_study(document: ThroughputStudy) -> str:
    """Return the document as YAML without the fields that have their default; it parses to an equal document."""
    tree: dict[str, Any] = document.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=120)
