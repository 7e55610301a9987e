"""The chart's README is what its generator writes, and true."""

import re
from collections.abc import Iterator

import pytest
import yaml

from charts.helm import CHART, Document, helm, rendered
from charts.values import EVERYTHING
from readme import commented_values, readme_of, render_page

README = CHART / "README.md"


def test_the_readme_is_up_to_date() -> None:
    """A value, a default or a right that changes is changed there, too."""
    assert README.read_text() == readme_of(CHART), "make chart-readme writes it again"


def test_every_value_has_a_row_with_its_default() -> None:
    """What Helm reads and what the table says are the same."""
    rows = {value.path: value.text for value in commented_values((CHART / "values.yaml").read_text())}
    defaults = dict(leaves(yaml.safe_load((CHART / "values.yaml").read_text()), rows))
    assert {path: yaml.safe_load(text) for path, text in rows.items() if text is not None} == defaults


def leaves(values: Document, rows: dict[str, str | None], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the path and value of each part that has a default of its own in `rows`, or should have."""
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value and rows.get(path) is None:
            yield from leaves(value, rows, f"{path}.")
        else:
            yield path, value


def test_comments_become_the_text_and_examples_stay_in_the_file() -> None:
    """A comment of several lines is one text; what is indented in it is an example."""
    text = "# The title.\n\n# Lists\n# b.\n#   - example\na:\n  # One\n  b: [1, 2]   # not this\n"
    page = render_page("@VALUES@", values=text, rules=RULES)
    assert page.splitlines()[2:] == ["| `a` | object |  | Lists b. |", "| `a.b` | list | `[1, 2]` | One |"]


def test_a_value_without_a_comment_is_refused() -> None:
    """No row is empty."""
    with pytest.raises(ValueError, match="b has no comment above it"):
        render_page("@VALUES@", values="# One\na: 1\nb: 2\n", rules=RULES)


@pytest.mark.cluster
def test_every_kind_that_the_chart_creates_is_listed() -> None:
    """An administrator reads in advance which kinds the release needs."""
    listed = set(re.findall(r"\w+", " ".join(re.findall(r"^\| ([A-Z][\w, ]+) \|", README.read_text(), re.MULTILINE))))
    ways: tuple[Document, ...] = ({}, EVERYTHING, {"rbac": {"namespaced": True}})
    assert {document["kind"] for values in ways for document in rendered(values=values)} == listed


@pytest.mark.cluster
def test_the_command_that_installs_is_accepted() -> None:
    """Its options are all that the chart needs."""
    (command,) = re.findall(r"^helm install infpop charts/infpop (.*(?:\n  .*)+)", README.read_text(), re.MULTILINE)
    options = [each.replace("--create-namespace", "") for each in re.findall(r"--set \S+", command)]
    assert len(options) == 2
    helm("template", "infpop", "CHART", "--kube-version=1.34", *(part for each in options for part in each.split()))


RULES = "".join(
    f'{{{{- define "infpop.{name}" -}}}}\n# Why.\n- {{resources: [pods], verbs: [get]}}\n{{{{- end -}}}}\n'
    for name in ("namespacedRules", "nodeRules", "scanningRules")
)
