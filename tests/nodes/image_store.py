"""The images of all nodes, unpacked once: archives with an engine have several GB, and every node needs a store.

A node's store consists of hard links to this one: containerd and overlayfs never change a file of an image, only
containerd's databases, which are copied. A node's store therefore costs neither time nor disk.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from nodes.programs import run

_SCRIPT = Path(__file__).parent / "import_images.sh"
_IMPORT_SECONDS = 1800.0  # of ten GB on a busy disk
_COPY_SECONDS = 300.0


class ImageStore:
    """The state folder of a containerd that does not run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fill(self, archives: Sequence[Path]) -> None:
        """Unpack the images of archives from `docker save` or `oci-archive:` into the empty store.

        Raises:
            AssertionError: a file is not such an archive; the message has containerd's error.
        """
        self._folder.mkdir(parents=True)
        namespaces = ("--mount", "--pid", "--fork", "--mount-proc", "--propagation=private", "--kill-child=KILL")
        script = ("bash", str(_SCRIPT), str(self._folder), *map(str, archives))
        # It dies with this process, as everything in a cluster does.
        run("setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, *script, seconds=_IMPORT_SECONDS)

    def link_to(self, folder: Path) -> None:
        """Make `folder`, which must be missing and on the same disk, a store with the same images."""
        run("cp", "--archive", "--link", str(self._folder), str(folder), seconds=_COPY_SECONDS)
        for database in self._folder.glob("*/*.db"):
            own = folder / database.relative_to(self._folder)
            own.unlink()
            shutil.copy2(database, own)

    def remove(self) -> None:
        """Remove the store; the stores of nodes keep their images."""
        if self._folder.exists():
            shutil.rmtree(self._folder)
