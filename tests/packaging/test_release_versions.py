"""A release names one version, and says what to write where it does not."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from infpop_operator import __version__
from release.errors import ReleaseError
from release.versions import (
    CHANGELOG,
    CHART_FILE,
    VERSION_FILE,
    Sources,
    disagreements,
    missing_for_publication,
    read_sources,
)

ROOT = Path(__file__).parents[2]
TEXTS = {
    VERSION_FILE: '__version__ = "1.2.0"\n',
    CHART_FILE: "name: infpop\nversion: 1.2.0\nappVersion: 1.2.0  # a remark\n",
    CHANGELOG: "# Changelog\n\n## 1.2.0 - 2026-12-01\n\n### Added\n\n- New.\n\n## 1.1.0 - 2026-11-01\n\n- Old.\n",
    "docs/install.md": "docker push registry.example.com/infpop-runner:1.2.0\nINFPOP_RUNNER_IMAGE=infpop-runner:1\n",
    "docs/study.md": "rev: v1.2.0\n",
}
TAGGED = Sources(texts=TEXTS, tags=("v1.2.0",), changed=())


def with_text(name: str, old: str, new: str) -> Sources:
    """Return the sources of a release with another text in one file."""
    assert old in TEXTS[name]
    return replace(TAGGED, texts={**TEXTS, name: TEXTS[name].replace(old, new)})


def test_a_tagged_release_has_nothing_left_to_do() -> None:
    """One version everywhere, a dated section, the tag and no local change: it can be published."""
    assert disagreements(TAGGED) == ()
    assert missing_for_publication(TAGGED) == ()


@pytest.mark.parametrize(
    ("sources", "sentence"),
    [
        (
            with_text(CHART_FILE, "\nversion: 1.2.0", "\nversion: 1.1.0"),
            "Chart.yaml has version 1.1.0, but .* 1.2.0. Write",
        ),
        (with_text(CHART_FILE, "appVersion: 1.2.0", "appVersion: 1.3.0"), "Chart.yaml has appVersion 1.3.0, but"),
        (with_text("docs/install.md", "runner:1.2.0", "runner:1.1.0"), "docs/install.md names version 1.1.0, but"),
        (with_text("docs/study.md", "v1.2.0", "v1.1.0"), "docs/study.md names version 1.1.0, but"),
        (with_text(CHANGELOG, "1.1.0 -", "1.2.0 -"), "CHANGELOG.md has 1.2.0 above 1.2.0"),
        (replace(TAGGED, tags=("v1.3.0",)), "The commit has the tag v1.3.0, but .* has 1.2.0"),
    ],
)
def test_another_version_anywhere_is_named(sources: Sources, sentence: str) -> None:
    """The sentence has the place, both versions and what to write."""
    (said,) = disagreements(sources)
    assert re.search(sentence, said)


@pytest.mark.parametrize(
    ("sources", "sentence"),
    [
        (with_text(CHANGELOG, "1.2.0 - 2026-12-01", "Unreleased"), "no section for 1.2.0. Rename `## Unreleased`"),
        (with_text(CHANGELOG, " - 2026-12-01", ""), "section 1.2.0 of CHANGELOG.md has no date"),
        (with_text(CHANGELOG, "## 1.2.0", "## Unreleased\n\n- New.\n\n## 1.2.0"), "still has entries under Unreleased"),
        (replace(TAGGED, tags=()), "no tag v1.2.0. Run: git tag --annotate v1.2.0"),
        (replace(TAGGED, changed=(" M README.md", "?? notes")), "2 files differ from the commit .M README.md first."),
    ],
)
def test_what_publication_needs_is_said(sources: Sources, sentence: str) -> None:
    """A commit that cannot be published yet is told why; building it as a trial is no error."""
    (said,) = missing_for_publication(sources)
    assert re.search(sentence, said)
    assert disagreements(sources) == ()


def test_an_empty_section_for_the_next_release_may_stay() -> None:
    """`## Unreleased` without entries hides nothing from the readers of a release."""
    assert missing_for_publication(with_text(CHANGELOG, "## 1.2.0", "## Unreleased\n\n## [1.2.0]")) == ()


def test_a_file_without_a_version_is_named() -> None:
    """Nothing is compared with a version that is not there."""
    with pytest.raises(ReleaseError, match=r"operator/infpop_operator/__init__.py has no version. Add a line"):
        disagreements(with_text(VERSION_FILE, "__version__", "VERSION"))


def test_this_checkout_names_one_version() -> None:
    """The package, the chart, the documents, the change log and the tag, if there is one, agree."""
    sources = read_sources(ROOT)
    assert sources.version == __version__
    assert disagreements(sources) == ()
