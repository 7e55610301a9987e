"""Compare what names the version of a release.

Pure, apart from `read_sources`, which reads files and asks Git.
"""

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from release.errors import ReleaseError

VERSION_FILE = "operator/infpop_operator/__init__.py"
CHART_FILE = "charts/infpop/Chart.yaml"
CHANGELOG = "CHANGELOG.md"
# Commands for readers that name the version.
_DOCUMENTED = {
    "docs/install.md": r"infpop-(?:operator|runner):(\d+\.[\w.+-]+)",
    "docs/study.md": r"\brev: v(\d+\.[\w.+-]+)",
}
_HEADING = re.compile(r"(?m)^## \[?([^\]\s]+)\]?(?: - (\d{4}-\d{2}-\d{2}))?[ \t]*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a checkout says of its version.

    Attributes:
        texts: the contents of `VERSION_FILE`, `CHART_FILE`, `CHANGELOG` and the documents that name the version.
        tags: the tags of the commit that begin with `v`.
        changed: the files that differ from the commit or are not in it.
    """

    texts: Mapping[str, str]
    tags: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def version(self) -> str:
        """The version of the Python package, to which everything else is compared.

        Raises:
            ReleaseError: the file has no version.
        """
        match = re.search(r'(?m)^__version__ = "(.+)"$', self.texts[VERSION_FILE])
        if match is None:
            raise ReleaseError(f'{VERSION_FILE} has no version. Add a line: __version__ = "1.2.3"')
        return match[1]


def read_sources(root: Path) -> Sources:
    """Read the files of a checkout and the state of its commit.

    Raises:
        ReleaseError: a file is missing, or this is no checkout of Git.
    """
    try:
        texts = {name: (root / name).read_text() for name in (VERSION_FILE, CHART_FILE, CHANGELOG, *_DOCUMENTED)}
    except FileNotFoundError as error:
        raise ReleaseError(f"{error.filename} is missing; a release needs it") from error
    return Sources(
        texts=texts,
        tags=_git(root, "tag", "--points-at", "HEAD", "--list", "v*"),
        changed=_git(root, "status", "--porcelain"),
    )


def disagreements(sources: Sources) -> tuple[str, ...]:
    """Return a sentence for each place that names another version: wrong for any commit, released or not."""
    return tuple(_disagreements(sources))


def missing_for_publication(sources: Sources) -> tuple[str, ...]:
    """Return a sentence for each thing that a commit needs only when it is published."""
    return tuple(_missing(sources))


def _disagreements(sources: Sources) -> Iterator[str]:
    version = sources.version
    chart = yaml.safe_load(sources.texts[CHART_FILE])
    for field in ("version", "appVersion"):
        if (other := str(chart.get(field))) != version:
            yield f"{CHART_FILE} has {field} {other}, but {VERSION_FILE} has {version}. Write {version} there."
    for name, pattern in _DOCUMENTED.items():
        for other in sorted(set(re.findall(pattern, sources.texts[name])) - {version}):
            yield f"{name} names version {other}, but {VERSION_FILE} has {version}. Write {version} there."
    released = [name for name, date in _HEADING.findall(sources.texts[CHANGELOG]) if name != "Unreleased"]
    if version in released[1:]:
        yield f"{CHANGELOG} has {released[0]} above {version}. Raise the version in {VERSION_FILE} and {CHART_FILE}."
    for tag in sources.tags:
        if tag != f"v{version}":
            yield f"The commit has the tag {tag}, but {VERSION_FILE} has {version}. Move the tag or change the version."


def _missing(sources: Sources) -> Iterator[str]:
    version = sources.version
    sections = dict(_HEADING.findall(sources.texts[CHANGELOG]))
    if version not in sections:
        yield f"{CHANGELOG} has no section for {version}. Rename `## Unreleased` to `## {version} - YYYY-MM-DD`."
    elif not sections[version]:
        yield f"The section {version} of {CHANGELOG} has no date. Write `## {version} - YYYY-MM-DD`."
    if version in sections and _entries(sources.texts[CHANGELOG], "Unreleased"):
        yield f"{CHANGELOG} still has entries under Unreleased. Move them to the section {version}."
    if f"v{version}" not in sources.tags:
        yield f"The commit has no tag v{version}. Run: git tag --annotate v{version} --message 'InfPop {version}'"
    if sources.changed:
        yield (
            f"{len(sources.changed)} files differ from the commit ({sources.changed[0].strip()} first). "
            "Commit them, or remove them: what is published is what is tagged."
        )


def _entries(changelog: str, section: str) -> bool:
    """Return whether a section of the change log has an entry."""
    for heading, following in zip(found := [*_HEADING.finditer(changelog)], [*found[1:], None], strict=True):
        if heading[1] == section:
            return "\n- " in changelog[heading.end() : following.start() if following else None]
    return False


def _git(root: Path, *arguments: str) -> tuple[str, ...]:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"{root} is no checkout of Git ({done.stderr.strip()}). Clone the repository.")
    return tuple(done.stdout.splitlines())
