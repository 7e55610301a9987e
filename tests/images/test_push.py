"""A real builder pushes to a real registry, and a release learns the digest."""

import shlex
from pathlib import Path

import pytest

from images.buildah import Buildah
from registry.server import digest_of, start_registry
from release.publication import push_image

pytestmark = pytest.mark.e2e


def test_the_digest_of_a_push_is_what_the_registry_has(tmp_path: Path) -> None:
    """What a release signs is what buildah has pushed; podman pushes with the same code."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files/hello").write_text("hello")
    with start_registry(tmp_path) as host:
        buildah = Buildah(tmp_path / "storage")
        buildah.add_folder(tmp_path / "files", f"{host}/team/infpop-operator:0.1.0")
        builder = shlex.join((*buildah.command, "--tls-verify=false"))
        digest = push_image(f"{host}/team/infpop-operator:0.1.0", builder=builder)
        assert digest == digest_of(host, "team/infpop-operator", "0.1.0")
