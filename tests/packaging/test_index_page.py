"""A package index shows the README with links and pictures that lead somewhere."""

import email
import subprocess
import sys
import zipfile
from email.message import Message
from html.parser import HTMLParser
from pathlib import Path

import pytest
from readme_renderer import markdown

from infpop_operator import __version__

ROOT = Path(__file__).parents[2]
REPOSITORY = "https://git.example.com/serving/infpop"


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Message:
    """Return the metadata of a released wheel: built from the source distribution, which knows the address."""
    folder = tmp_path_factory.mktemp("released")
    assert build(folder, address=f"{REPOSITORY}/").returncode == 0
    (wheel,) = folder.glob("*.whl")
    return metadata_of(wheel)


class Targets(HTMLParser):
    """Collects what a page links to, and what it shows."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.pictures: list[str] = []
        self.feed(page)

    @property
    def all(self) -> list[str]:
        """Return both."""
        return [*self.links, *self.pictures]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the target of a link and the source of a picture."""
        found = [value or "" for name, value in attrs if (tag, name) == ("a", "href")]
        self.links += [target for target in found if not target.startswith("#user-content-")]  # a heading to itself
        self.pictures += [value or "" for name, value in attrs if (tag, name) == ("img", "src")]


def test_every_link_and_picture_of_the_page_exists_under_the_address(released: Message) -> None:
    """Each is absolute, and those into the repository name a file of the tree at the tag of this version."""
    page = markdown.render(released.get_payload())
    assert page is not None
    targets = Targets(page)
    assert [target for target in targets.all if not target.startswith("https://")] == []
    assert missing_files(targets.links, "blob") == []
    assert missing_files(targets.pictures, "raw") == []
    assert len(targets.pictures) == (ROOT / "README.md").read_text().count("![")


def test_the_page_links_to_the_project(released: Message) -> None:
    """Source, documents, changes and issues are beside the text."""
    urls = dict(line.split(", ") for line in released.get_all("Project-URL", []))
    assert urls["Source"] == REPOSITORY
    assert urls["Changelog"] == f"{REPOSITORY}/blob/v{__version__}/CHANGELOG.md"
    assert {"Documentation", "Issues"} <= set(urls)


def test_a_build_without_an_address_invents_none(tmp_path: Path) -> None:
    """The README is as it is in the tree, and the project has no links."""
    assert build(tmp_path, "--wheel").returncode == 0
    (wheel,) = tmp_path.glob("*.whl")
    metadata = metadata_of(wheel)
    assert metadata.get_payload() == (ROOT / "README.md").read_text()
    assert metadata.get_all("Project-URL") is None


def test_a_wrong_address_stops_the_build(tmp_path: Path) -> None:
    """The message names the variable, its value and what to write."""
    done = build(tmp_path, "--wheel", address="github.com/serving/infpop")
    assert done.returncode != 0
    assert "REPOSITORY_URL: 'github.com/serving/infpop' is not the address of a repository. Write" in done.stderr


def build(folder: Path, *arguments: str, address: str | None = None) -> subprocess.CompletedProcess[str]:
    """Build the source distribution and from it the wheel, or what the arguments ask for."""
    command = [str(Path(sys.executable).with_name("uv")), "build", *arguments, "--out-dir", str(folder), str(ROOT)]
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("REPOSITORY_URL", raising=False)
        if address is not None:
            environment.setenv("REPOSITORY_URL", address)
        return subprocess.run(command, capture_output=True, text=True, check=False)


def metadata_of(wheel: Path) -> Message:
    """Return the metadata of a wheel; its text is the page of an index."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_string(archive.read(name).decode())


def missing_files(targets: list[str], kind: str) -> list[str]:
    """Return the targets in the repository that are no files of the tree, or not of this kind and version."""
    inside = [target.removeprefix(f"{REPOSITORY}/") for target in targets if target.startswith(REPOSITORY)]
    prefix = f"{kind}/v{__version__}/"
    return [path for path in inside if not exists(path, prefix)]


def exists(path: str, prefix: str) -> bool:
    """Return whether a path begins with the prefix and is there."""
    return path.startswith(prefix) and (ROOT / path.removeprefix(prefix).partition("#")[0]).exists()
