"""Images of all nodes, unpacked once: archives with an engine have several GB, and every node wants its own store.

A node's store is made of hard links to this one: containerd and overlayfs never change a file of an image, only
containerd's databases, which are copied. So the store of a node costs neither time nor disk.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from nodes.programs import run

_SCRIPT = Path(__file__).parent / "import_images.sh"
_IMPORT_SECONDS = 1800.0  # of ten GB on a busy disk
_COPY_SECONDS = 300.0


class ImageStore:
    """The state of a containerd that runs nowhere."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fill(self, archives: Sequence[Path]) -> None:
        """Unpack the images of archives, of `docker save` or `oci-archive:`, into the store, which is empty.

        Raises:
            AssertionError: one is no such archive; the message has what containerd said.
        """
        self._folder.mkdir(parents=True)
        namespaces = ("--mount", "--pid", "--fork", "--mount-proc", "--propagation=private", "--kill-child=KILL")
        script = ("bash", str(_SCRIPT), str(self._folder), *map(str, archives))
        # It dies with this process, as everything of a cluster does.
        run("setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, *script, seconds=_IMPORT_SECONDS)

    def link_to(self, folder: Path) -> None:
        """Make `folder`, which is not there yet and on the same disk, a store with the same images."""
        run("cp", "--archive", "--link", str(self._folder), str(folder), seconds=_COPY_SECONDS)
        for database in self._folder.glob("*/*.db"):
            own = folder / database.relative_to(self._folder)
            own.unlink()
            shutil.copy2(database, own)

    def remove(self) -> None:
        """Take it away; the stores of nodes keep what they have."""
        if self._folder.exists():
            shutil.rmtree(self._folder)
