"""Images without a registry and without a builder: one static program, in an archive that containerd imports.

The archive has two images of one layer, for the pause container of Pods and for a runner that does what its study says
(`stand_in/main.go`). The same program gives the same archive, byte for byte.
"""

import hashlib
import io
import json
import os
import platform
import tarfile
from pathlib import Path

from gobuild import GoModule

PAUSE = "localhost/pause:1"
RUNNER = "localhost/stand-in-runner:1"
# Names of models, with which a study or a run spec controls the stand-in.
REPORTS = "stand-in/report"
EATS_MEMORY = "stand-in/eat-memory"
HOLDS_MEMORY = "stand-in/hold-memory"  # 2.5 GiB
CRASHES = "stand-in/crash"
LISTENS = "stand-in/listen"
HANGS = "stand-in/hang"

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_MODULE = GoModule(folder=Path(__file__).parent / "stand_in", name="stand-in", packages={"stand-in": "."})


def write_stand_in_images(path: Path) -> None:
    """Write the archive with the images `PAUSE` and `RUNNER`, in the format of `docker save`."""
    environment = {**os.environ, "CGO_ENABLED": "0"}  # noqa: TID251 - the edge of the tests
    program = _MODULE.programs(("stand-in",), environment)["stand-in"]
    layer = _layer(program.read_bytes())
    configs = {PAUSE: _config(layer, "/pause"), RUNNER: _config(layer, "/infpop-runner")}
    names = {tag: f"{hashlib.sha256(config).hexdigest()}.json" for tag, config in configs.items()}
    manifest = [{"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]} for tag, name in names.items()]
    with tarfile.open(path, "w") as archive:
        for tag, config in configs.items():
            _add(archive, names[tag], config)
        _add(archive, "layer.tar", layer)
        _add(archive, "manifest.json", json.dumps(manifest).encode())


def _layer(program: bytes) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as layer:
        _add(layer, "pause", program, mode=0o755)
        runner = tarfile.TarInfo("infpop-runner")
        runner.type, runner.linkname, runner.mode = tarfile.LNKTYPE, "pause", 0o755
        layer.addfile(runner)
    return content.getvalue()


def _config(layer: bytes, program: str) -> bytes:
    config = {
        "architecture": _ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {"Entrypoint": [program], "Env": ["PATH=/"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    return json.dumps(config).encode()


def _add(archive: tarfile.TarFile, name: str, content: bytes, *, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))
