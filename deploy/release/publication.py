"""Publish a release: images, chart, packages, in this order, each signed as soon as it is pushed.

What can be repeated comes first. The package index comes last: it takes each version only once. The programs find their
own credentials (`docker login`, `helm registry login`, UV_PUBLISH_TOKEN, COSIGN_KEY); nothing here reads them.
"""

import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from release.artifacts import IMAGES, Artifacts, image_name
from release.commands import run_aloud
from release.errors import ReleaseError

_REGISTRY = re.compile(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)*")
_DIGEST = re.compile(r"(?i)digest: (sha256:[0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The programs that publish; `builder` may have options, as in "buildah --storage-driver vfs"."""

    uv: str
    helm: str
    builder: str
    cosign: str = "cosign"


def problems_of_place(registry: str, repository: str, programs: Programs) -> tuple[str, ...]:
    """Return a sentence for each reason why nothing can be published from here.

    Args:
        registry: where images and chart go, HOST/PATH.
        repository: where the sources are, https://HOST/PATH.
        programs: what publishes.
    """
    return tuple(_problems(registry, repository, programs))


def publish(artifacts: Artifacts, *, registry: str, programs: Programs) -> tuple[str, ...]:
    """Publish what `dist/` and the builder's storage have, and return what can be pulled, by digest.

    Raises:
        ReleaseError: a step failed. Repeat the command: what was pushed before is pushed again without harm.
    """
    pulled = [_publish_image(name, artifacts, registry=registry, programs=programs) for name in IMAGES]
    # The bill of materials is attached to the image that it describes: users find it with the image.
    attest = ("attest", "--yes", "--type", "cyclonedx", "--predicate", str(artifacts.bill))
    run_aloud(programs.cosign, *attest, pulled[IMAGES.index("operator")])
    output = run_aloud(programs.helm, "push", str(artifacts.chart), f"oci://{registry}/charts")
    pulled.append(f"{registry}/charts/infpop@{_digest(output, programs.helm)}")
    run_aloud(programs.cosign, "sign", "--yes", pulled[-1])
    run_aloud(programs.uv, "publish", str(artifacts.wheel), str(artifacts.source))
    return tuple(pulled)


def push_image(reference: str, *, builder: str) -> str:
    """Push an image with docker, podman or buildah, and return its digest.

    Raises:
        ReleaseError: the builder refuses, or does not say the digest.
    """
    program = shlex.split(builder)
    with tempfile.TemporaryDirectory(prefix="push-") as scratch:
        file = Path(scratch) / "digest"
        # Docker prints the digest; the others can write it to a file, and do not all print it.
        options = [] if Path(program[0]).name == "docker" else ["--digestfile", str(file)]
        output = run_aloud(*program, "push", *options, reference)
        return file.read_text().strip() if file.exists() else _digest(output, builder)


def _publish_image(name: str, artifacts: Artifacts, *, registry: str, programs: Programs) -> str:
    repository = image_name(registry, name)
    digest = push_image(f"{repository}:{artifacts.version}", builder=programs.builder)
    run_aloud(programs.cosign, "sign", "--yes", f"{repository}@{digest}")
    return f"{repository}@{digest}"


def _problems(registry: str, repository: str, programs: Programs) -> Iterator[str]:
    if not _REGISTRY.fullmatch(registry):
        given = f"is {registry!r}" if registry else "is missing"
        yield f"REGISTRY {given}. Name a registry and a path that you may push to: make release REGISTRY=HOST/PATH"
    if not repository:
        yield "REPOSITORY_URL is missing. Name the address of the sources: the package's page on an index links to it."
    for name, program in (("BUILDER", programs.builder), ("HELM", programs.helm), ("COSIGN", programs.cosign)):
        first = shlex.split(program)[:1]
        if not first or shutil.which(first[0]) is None:
            yield f"{name} is {program!r}, which is not on the PATH. Install it, or name another: {name}=PATH"


def _digest(output: str, program: str) -> str:
    match = _DIGEST.search(output)
    if match is None:
        raise ReleaseError(f"{program} pushed, but did not print the digest, so the push cannot be signed.")
    return match[1]
