"""Buildah with its own storage: it builds without a daemon and without the machine's own images.

It needs root. A build can use the machine's network and certificates; neither remains in an image.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# A node reads it twice as fast as gzip; writing is as fast as uncompressed, and the size is a quarter.
_COMPRESSION = ("--compression-format", "zstd", "--compression-level", "1")
_LAST_LINES = 20
_PACKAGES = {"buildah": "buildah", "debootstrap": "debootstrap"}


class MissingToolError(Exception):
    """A tool that is needed to build images is missing on this machine; the message names it."""


class BuildahError(Exception):
    """Buildah failed; the message has its last lines and how much of the disk is free."""


class Buildah:
    """The images in one folder.

    Args:
        folder: the storage folder; it is created if missing and keeps what was built.
    """

    def __init__(self, folder: Path) -> None:
        _require_tools()
        self._scratch = folder / "scratch"
        self._scratch.mkdir(parents=True, exist_ok=True)
        # The program with this storage, for others that run it.
        self.command = (
            "buildah",
            "--root",
            str(folder / "root"),
            "--runroot",
            str(folder / "run"),
            "--storage-driver",
            "overlay",
        )

    def has(self, reference: str) -> bool:
        """Return whether an image with this name exists."""
        try:
            self.inspect(reference)
        except BuildahError:
            return False
        return True

    def inspect(self, reference: str) -> str:
        """Return the metadata of an image, as buildah's JSON."""
        return self._ask("inspect", "--type", "image", reference)

    def build(
        self,
        dockerfile: Path,
        context: Path,
        reference: str,
        *,
        arguments: Mapping[str, str],
        mounts: Mapping[Path, str] | None = None,
        keep_steps: bool = False,
    ) -> None:
        """Build an image and name it.

        Args:
            dockerfile: the path of the Dockerfile.
            context: the folder that `COPY` reads.
            reference: the image's name.
            arguments: the build arguments.
            mounts: folders of this machine and their paths during the build; they are not part of the image.
            keep_steps: cache each step, so that the next build starts at the first changed step. Each costs a copy.
        """
        options = [
            f"--layers={str(keep_steps).lower()}",
            "--isolation",
            "chroot",
            "--file",
            str(dockerfile),
            "--tag",
            reference,
        ]
        for name, value in arguments.items():
            options += ["--build-arg", f"{name}={value}"]
        for source, target in (mounts or {}).items():
            options += ["--volume", f"{source}:{target}"]
        if _CERTIFICATES.exists():
            options += ["--volume", f"{_CERTIFICATES}:{_CERTIFICATES}:ro"]
        self._do("build", *options, str(context))

    def add_folder(self, folder: Path, reference: str) -> None:
        """Create an image from a folder, with the usual PATH."""
        with self._container("scratch") as container:
            self._do("add", "--quiet", container, str(folder), "/")
            paths = ":".join(f"{top}/{kind}" for top in ("/usr/local", "/usr", "") for kind in ("sbin", "bin"))
            self._do("config", "--env", f"PATH={paths}", container)
            self._do("commit", "--quiet", container, reference)

    def export(self, reference: str, archive: Path) -> None:
        """Write an image to a file for `ctr images import`; an existing file is always complete."""
        with tempfile.TemporaryDirectory(dir=archive.parent, prefix="export-") as scratch:
            unfinished = Path(scratch) / archive.name
            self._do("push", "--quiet", *_COMPRESSION, reference, f"oci-archive:{unfinished}:{reference}")
            unfinished.rename(archive)

    def references(self, repository: str) -> tuple[str, ...]:
        """Return the names of all images of this repository, newest first."""
        listed = self._ask("images", "--noheading", "--format", "{{.Name}}:{{.Tag}}")
        return tuple(line for line in listed.split() if line.rpartition(":")[0] == repository)

    def remove(self, reference: str) -> None:
        """Remove an image; layers that other images use stay. Containers of a killed build are removed with it."""
        self._do("rmi", "--force", reference)

    @contextmanager
    def mounted(self, reference: str) -> Iterator[Path]:
        """Mount an image's files in a folder."""
        with self._container(reference) as container:
            yield Path(self._ask("mount", container).strip())

    @contextmanager
    def _container(self, reference: str) -> Iterator[str]:
        container = self._ask("from", "--pull-never", reference).strip()
        try:
            yield container
        finally:
            self._ask("rm", container)

    def _ask(self, *arguments: str) -> str:
        """Return what buildah prints."""
        done = subprocess.run(
            self._command(arguments), env=self._environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise self._error(arguments, done.returncode, done.stderr.splitlines())
        return done.stdout

    def _do(self, *arguments: str) -> None:
        """Let buildah work, and show what it prints."""
        last: deque[str] = deque(maxlen=_LAST_LINES)
        with subprocess.Popen(
            self._command(arguments),
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            for line in process.stdout or ():
                sys.stderr.write(line)
                last.append(line.rstrip())
        if process.returncode:
            raise self._error(arguments, process.returncode, last)

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        command, *rest = arguments
        return [*self.command, command, *rest]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "TMPDIR": str(self._scratch)}  # noqa: TID251 - the edge of the tests

    def _error(self, arguments: tuple[str, ...], status: int, last: Iterable[str]) -> BuildahError:
        free = shutil.disk_usage(self._scratch).free / 1e9
        lines = "\n".join(f"  {line}" for line in last)
        return BuildahError(
            f"buildah {arguments[0]} failed ({status}); {free:.0f} GB are free; its last lines:\n{lines}"
        )


def _require_tools() -> None:
    if os.geteuid() != 0:
        raise MissingToolError("images are built as root; run this as root")
    missing = [package for tool, package in _PACKAGES.items() if shutil.which(tool) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise MissingToolError(f"install {', '.join(missing)}")
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    try:
        subprocess.run(install, stdout=2, check=True)
    except subprocess.CalledProcessError:
        subprocess.run([install[0], "update"], stdout=2, check=True)
        subprocess.run(install, stdout=2, check=True)
