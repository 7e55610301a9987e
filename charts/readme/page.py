"""Fill the page: how to install the chart, a table of values, and one of rights."""

import re
from collections.abc import Iterable
from pathlib import Path

import yaml

from readme.commented import Commented, commented_items, commented_values

_FOLDER = Path(__file__).parent
# The named templates of the rights, and when the operator gets them.
_SCOPES = {
    "namespacedRules": "where studies are handled",
    "nodeRules": "cluster; with `rbac.readNodes`",
    "scanningRules": "cluster; if studies of all namespaces are handled",
}


def render_page(page: str, *, values: str, rules: str) -> str:
    """Return the README.

    Args:
        page: the text with the places `@VALUES@` and `@RIGHTS@`.
        values: the text of values.yaml.
        rules: the text of the named templates with the rights.

    Raises:
        ValueError: a value or a right has no comment.
    """
    return page.replace("@VALUES@", _value_table(values)).replace("@RIGHTS@", _rights_table(rules))


def readme_of(chart: Path, *, published_at: str | None = None) -> str:
    """Return the README of a chart from the files in its folder.

    Args:
        chart: the folder.
        published_at: what Helm installs it from, `oci://...` and its options; None if it is installed from a checkout,
            with images that the user builds.

    Raises:
        ValueError: a value or a right has no comment.
    """
    install = "from_checkout.md" if published_at is None else "from_registry.md"
    page = (_FOLDER / "page.md").read_text().replace("@INSTALL@\n", (_FOLDER / install).read_text())
    return render_page(
        page.replace("@CHART@", published_at or "charts/infpop"),
        values=(chart / "values.yaml").read_text(),
        rules=(chart / "templates" / "_rules.tpl").read_text(),
    )


def _value_table(values: str) -> str:
    rows = [
        (f"`{value.path}`", value.kind, "" if value.text is None else f"`{value.text}`", _comment_of(value, value.path))
        for value in commented_values(values)
    ]
    return _table(("value", "type", "default", "meaning"), rows)


def _rights_table(rules: str) -> str:
    rows = []
    for name, scope in _SCOPES.items():
        (body,) = re.findall(rf'define "infpop\.{name}" -}}}}\n(.*?){{{{- end -}}}}', rules, flags=re.DOTALL)
        text = re.sub(r"^\{\{-.*\}\}\n", "", body, flags=re.MULTILINE)
        for rule, item in zip(yaml.safe_load(text), commented_items(text), strict=True):
            resources = ", ".join(f"`{each}`" for each in rule["resources"])
            rows.append((resources, ", ".join(rule["verbs"]), scope, _comment_of(item, resources)))
    return _table(("resource", "verbs", "scope", "why"), rows)


def _comment_of(part: Commented, name: str) -> str:
    if not part.comment:
        raise ValueError(f"{name} has no comment above it. Write one: it is the README's text.")
    return part.comment


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
