"""Give the package its addresses when it is built: those on its page of an index, and those of the README's links.

The sources name no address, because InfPop's repository may be anywhere. `REPOSITORY_URL=https://github.com/YOU/infpop`
in the environment of a build adds the project's links, and makes the README's relative links and pictures absolute, at
the tag of this version: a package index shows the README without the files beside it. Without the variable the README
stays as it is. A wheel that is built from a source distribution has what that distribution has.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

VARIABLE = "REPOSITORY_URL"
_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_CODE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


class Addresses(MetadataHookInterface):
    """Sets `readme` and `urls`, which pyproject.toml declares dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set what a source distribution has not set already.

        Raises:
            ValueError: the variable is not an https address.
        """
        repository = repository_of(os.environ.get(VARIABLE, ""))  # noqa: TID251 - this is the edge of a build
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        if repository:
            tag = f"v{metadata['version']}"
            text = with_absolute_links(text, repository, tag)
            metadata.setdefault("urls", project_urls(repository, tag))
        metadata.setdefault("readme", {"content-type": "text/markdown", "text": text})


def repository_of(value: str) -> str:
    """Return the repository's address without a slash at its end, or an empty string if none is given.

    Raises:
        ValueError: it is not an https address.
    """
    if value and not re.fullmatch(r"https://[^\s/]+(/[^\s/]+)+/?", value):
        raise ValueError(
            f"{VARIABLE}: {value!r} is not the address of a repository. "
            "Write one such as https://github.com/YOUR-ORGANISATION/infpop, or unset it."
        )
    return value.rstrip("/")


def project_urls(repository: str, tag: str) -> dict[str, str]:
    """Return the links that a package index shows beside the text."""
    return {
        "Source": repository,
        "Documentation": f"{repository}/tree/{tag}/docs",
        "Changelog": f"{repository}/blob/{tag}/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }


def with_absolute_links(text: str, repository: str, tag: str) -> str:
    """Return Markdown whose links and pictures lead to the repository at a tag; code blocks stay as they are.

    A link to a heading of the text itself leads to the repository, too: an index names headings in its own way.
    """
    parts = _CODE.split(text)
    parts[::2] = [_LINK.sub(lambda link: _absolute(link, repository, tag), part) for part in parts[::2]]
    return "".join(parts)


def _absolute(link: re.Match[str], repository: str, tag: str) -> str:
    picture, text, target = link["picture"], link["text"], link["target"]
    if not re.match(r"https?://", target):
        path = f"README.md{target}" if target.startswith("#") else target
        target = f"{repository}/{'raw' if picture else 'blob'}/{tag}/{path}"
    return f"{picture}[{text}]({target})"
