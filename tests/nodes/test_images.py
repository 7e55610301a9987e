"""Images reach nodes only as archives: their content, and the handling of an invalid one."""

from pathlib import Path

import pytest

from nodes.image_store import ImageStore
from nodes.programs import require_programs
from nodes.stand_in_image import write_stand_in_images

pytestmark = pytest.mark.e2e


def test_the_substitute_image_is_reproducible(tmp_path: Path) -> None:
    """The archive of the substitute images has the same bytes each time, so its images have the same ids."""
    first, second = tmp_path / "first.tar", tmp_path / "second.tar"
    for path in (first, second):
        write_stand_in_images(path)
    assert first.read_bytes() == second.read_bytes()


def test_a_bad_archive_is_reported(tmp_path: Path) -> None:
    """A file that is not an image is refused with containerd's message before a node starts."""
    require_programs()
    archive = tmp_path / "image.tar"
    archive.write_text("no image")
    with pytest.raises(AssertionError, match=f"{archive}: ctr: "):
        ImageStore(tmp_path / "store").fill((archive,))
