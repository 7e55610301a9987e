"""Programs of a Go module are built once, completely, and from the requested sources."""

import os
import subprocess
from pathlib import Path

import pytest

from gobuild import GoModule, MissingToolError, download_module
from prometheus.binaries import find_binaries

pytestmark = pytest.mark.prometheus
MAIN = "package main\n\nfunc main() {}\n"


def make_module(folder: Path, source: str = MAIN, tags: tuple[str, ...] = ()) -> GoModule:
    """Return a module with one program and no dependencies."""
    (folder / "go.mod").write_text("module example.com/small\n\ngo 1.26.0\n")
    (folder / "go.sum").touch()
    (folder / "main.go").write_text(source)
    return GoModule(folder=folder, name="small", packages={"small": "example.com/small"}, tags=tags)


def environment(folder: Path) -> dict[str, str]:
    """Return this process's environment with a separate program cache and the usual Go settings."""
    inherited = dict(os.environ)  # noqa: TID251 - passed on
    usual = Path(inherited.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "go-build"
    return {"GOCACHE": str(usual), **inherited, "XDG_CACHE_HOME": str(folder / "cache")}


def test_a_program_is_built_once(tmp_path: Path) -> None:
    """The second time it is only found, even without Go."""
    module = make_module(tmp_path)
    built = module.programs(("small",), environment(tmp_path))["small"]
    subprocess.run([built], check=True)
    assert module.programs(("small",), {**environment(tmp_path), "PATH": "/nowhere"}) == {"small": built}


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """A compile error raises an error, and no complete or partial program remains."""
    module = make_module(tmp_path, source="package main\n")
    with pytest.raises(subprocess.CalledProcessError):
        module.programs(("small",), environment(tmp_path))
    assert [path.name for path in module.cache_folder(environment(tmp_path)).rglob("*")] == ["lock", "bin"]


def test_other_tags_and_other_versions_are_other_programs(tmp_path: Path) -> None:
    """After a change of go.mod or of the tags, the earlier program is never reused."""
    first = make_module(tmp_path).cache_folder({"XDG_CACHE_HOME": "/c"})
    assert make_module(tmp_path, tags=("a",)).cache_folder({"XDG_CACHE_HOME": "/c"}) != first
    (tmp_path / "go.mod").write_text("module example.com/small\n\ngo 1.26.1\n")
    changed = GoModule(folder=tmp_path, name="small", packages={})
    assert changed.cache_folder({"XDG_CACHE_HOME": "/c"}) != first


def test_a_module_with_another_content_is_refused(tmp_path: Path) -> None:
    """Sources are used only if they match the reviewed checksum, whatever a proxy serves."""
    with pytest.raises(MissingToolError, match="h1:wrong"):
        download_module("golang.org/x/text", version="v0.41.0", checksum="h1:wrong", environment=environment(tmp_path))


def test_this_prometheus_discovers_pods() -> None:
    """The Prometheus that is built can discover Pods, unlike a distribution's."""
    said = subprocess.run([find_binaries().prometheus, "--version"], capture_output=True, text=True, check=True).stdout
    assert "enable_kubernetes_sd" in said
