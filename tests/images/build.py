"""Build the images for the tests on real nodes, once for each content.

Everything is kept in the cache folder, outside the tree: a buildah storage and one archive for each image. Unchanged
content is neither built nor written again; finished images and archives of older content are removed.

`PYTHONPATH=tests python -m images.build` builds in advance and reports the time and size of each step.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from images.buildah import Buildah
from images.recipes import build_base, build_engine, build_operator, build_runner, build_with_model

Report = Callable[[str], None]
Done = TypeVar("Done")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image as a node imports it.

    Attributes:
        reference: its name, which a Pod uses with `imagePullPolicy: Never` or `IfNotPresent`.
        archive: the file for `ctr images import`.
    """

    reference: str
    archive: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """All images of a real cluster.

    Attributes:
        operator: the image of `Dockerfile.operator`.
        runner: the image of `Dockerfile.runner`, on the engines' CPU builds, with a tiny model in /models/tiny-llama.
    """

    operator: Image
    runner: Image


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder in which this machine keeps images."""
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "infpop" / "images"


def build_images(*, report: Report = lambda _: None, environment: Mapping[str, str] | None = None) -> Images:
    """Build all missing images; a second process waits for the first.

    Args:
        report: called with each step that took a while.
        environment: replaces this process's environment.

    Raises:
        MissingToolError: this is not root, or buildah or debootstrap is missing and cannot be installed.
        BuildahError: a build failed.
        subprocess.CalledProcessError: Debian's archive cannot be reached; its output is on standard error.
    """
    environment = dict(os.environ) if environment is None else environment  # noqa: TID251 - the edge of the tests
    folder = cache_folder(environment)
    with _lock(folder):
        buildah = Buildah(folder / "storage")
        step = _Step(report)
        base = step("base", lambda: build_base(buildah, folder))
        engine = step("engine", lambda: build_engine(buildah, base))
        runner = step("runner", lambda: build_runner(buildah, engine))
        finished = {
            "operator": step("operator", lambda: build_operator(buildah, base)),
            "runner": step("model", lambda: build_with_model(buildah, runner)),
        }
        _forget_older(buildah, folder, {base, engine, runner, *finished.values()})
        return Images(
            **{
                name: step(f"archive of {name}", partial(_export, buildah, folder, image))
                for name, image in finished.items()
            }
        )


def _export(buildah: Buildah, folder: Path, reference: str) -> Image:
    archive = folder / _archive_name(reference)
    if not archive.exists():
        buildah.export(reference, archive)
    return Image(reference=reference, archive=archive)


def _archive_name(reference: str) -> str:
    return reference.removeprefix("localhost/").replace(":", "-") + ".tar"


def _forget_older(buildah: Buildah, folder: Path, kept: set[str]) -> None:
    """Remove images with the name of a kept image and other content: they take gigabytes."""
    for repository in {image.rpartition(":")[0] for image in kept}:
        for image in buildah.references(repository):
            if image not in kept:
                buildah.remove(image)
    names = {_archive_name(image) for image in kept}
    for archive in folder.glob("infpop-*.tar"):
        if archive.name not in names:
            archive.unlink()


class _Step:
    """Run one step after another and report how long each took."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def __call__(self, name: str, work: Callable[[], Done]) -> Done:
        start = time.perf_counter()
        done = work()
        self._report(f"{name}: {time.perf_counter() - start:.1f} s")
        return done


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Let one process at a time build; the kernel releases the lock when its owner dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    images = build_images(report=lambda line: print(line, flush=True))  # noqa: T201 - a command
    for image in (images.operator, images.runner):
        print(f"{image.reference}  {image.archive.stat().st_size / 1e6:.0f} MB  {image.archive}")  # noqa: T201
