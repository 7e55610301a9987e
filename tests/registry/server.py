"""A registry for images and charts on this machine, in memory: what a release is pushed to in tests."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from controlplane.processes import Process
from controlplane.waiting import wait_for
from registry.binaries import find_registry

_SECONDS = 60.0
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")


@contextmanager
def start_registry(folder: Path) -> Iterator[str]:
    """Start an empty registry and return `localhost:PORT`, to which clients speak HTTP without being told."""
    process = Process("registry", (str(find_registry()), "-port", "0"), folder=folder)
    process.start()
    try:
        yield f"localhost:{wait_for(lambda: _port(process), seconds=_SECONDS, what='the registry listens')}"
    finally:
        process.end()


def digest_of(host: str, repository: str, tag: str) -> str:
    """Return the digest that a registry gives for a tag."""
    address = f"http://{host}/v2/{repository}/manifests/{tag}"
    answer = httpx.head(address, headers={"Accept": ", ".join(_MANIFESTS)}).raise_for_status()
    return answer.headers["Docker-Content-Digest"]


def _port(process: Process) -> str | None:
    process.check()
    match = re.search(r"serving on port (\d+)", process.tail())
    return match[1] if match else None
