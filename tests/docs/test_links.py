"""Every link between the pages leads to an existing target, and their drawings can be shown anywhere."""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "charts" / "infpop" / "README.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    """Files are in the tree, and anchors are headings of their page."""
    assert [link for link in links_of(page) if not leads_somewhere(page, link)] == []


def test_the_index_has_every_page() -> None:
    """docs/README.md leads to each page beside it, once."""
    listed = [link for link in links_of(ROOT / "docs" / "README.md") if "/" not in link]
    assert sorted(listed) == sorted(page.name for page in (ROOT / "docs").glob("*.md") if page.name != "README.md")


@pytest.mark.parametrize("drawing", sorted((ROOT / "docs").glob("*.svg")), ids=lambda drawing: drawing.name)
def test_a_drawing_needs_nothing_but_itself(drawing: Path) -> None:
    """It is well-formed, runs nothing and loads nothing, so that a package index shows it as GitHub does."""
    for element in ET.parse(drawing).iter():  # noqa: S314 - our own file
        assert element.tag.rpartition("}")[2] not in {"script", "foreignObject"}
        targets = [value for name, value in element.attrib.items() if name.rpartition("}")[2] == "href"]
        assert [target for target in targets if not target.startswith(("#", "data:"))] == []


def links_of(page: Path) -> Iterator[str]:
    """Yield the targets of links that stay within the project."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("https://", "http://")):
            yield target


def leads_somewhere(page: Path, link: str) -> bool:
    """Return whether a link's file and anchor exist."""
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in anchors_of(target))


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a Markdown page, as GitHub derives them from headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
