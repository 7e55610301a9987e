"""A release goes to the registry and the index that its publisher names, and what is signed is what was pushed."""

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from charts.helm import CHART, find_helm, helm
from infpop_operator import __version__
from registry.server import digest_of, start_registry
from release.artifacts import Artifacts
from release.chart import Publication, package_chart, with_images_in
from release.errors import ReleaseError
from release.publication import Programs, problems_of_place, publish

pytestmark = pytest.mark.cluster  # needs no control plane, only helm, which is built with it

ROOT = Path(__file__).parents[2]
UV = str(Path(sys.executable).with_name("uv"))
PUSHED = "sha256:" + "12" * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the tests publish.

    Attributes:
        registry: HOST/PATH in a real registry.
        programs: the real uv and helm; the builder and cosign only write down what they are asked.
        calls: what they wrote: a line for each.
        uploads: the files that the index has received.
    """

    registry: str
    programs: Programs
    calls: Path
    uploads: list[str]

    @property
    def asked(self) -> list[str]:
        """What builder and cosign were asked, in order, and nothing if they were not."""
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real registry in memory."""
    with start_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel, the source distribution and a bill of materials."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([UV, "build", "--quiet", "--out-dir", str(folder), str(ROOT)], check=True)
    Artifacts(folder=folder, version=__version__).bill.write_text("{}")
    return folder


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A package index that takes everything, and what it has received."""
    received: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(body.partition(b'filename="')[2].partition(b'"')[0].decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    monkeypatch.setenv("UV_PUBLISH_URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("UV_PUBLISH_TOKEN", "a-token")
    Thread(target=server.serve_forever, daemon=True).start()
    yield received
    server.shutdown()
    server.server_close()


@pytest.fixture
def place(registry: str, uploads: list[str], tmp_path: Path) -> Place:
    """A place for one test."""
    calls = tmp_path / "calls"
    return Place(
        registry=f"{registry}/{tmp_path.name.replace('_', '-').lower()}",
        programs=Programs(
            uv=UV,
            helm=str(find_helm()),
            builder=str(_program(tmp_path / "docker", calls, says=f"0.1.0: digest: {PUSHED} size: 1")),
            cosign=str(_program(tmp_path / "cosign", calls, says="signed")),
        ),
        calls=calls,
        uploads=uploads,
    )


@pytest.fixture
def artifacts(packages: Path, place: Place, tmp_path: Path) -> Artifacts:
    """A release whose chart is packaged for the place."""
    folder = shutil.copytree(packages, tmp_path / "dist")
    artifacts = Artifacts(folder=folder, version=__version__)
    publication = Publication(version=__version__, registry=place.registry)
    package_chart(CHART, artifacts, helm=place.programs.helm, publication=publication)
    return artifacts


def _program(path: Path, calls: Path, *, says: str, fails_at: str = "nothing") -> Path:
    """Write a program that notes its arguments, says a line, and fails if its first argument is `fails_at`."""
    path.write_text(f'#!/bin/sh\necho "{path.name} $*" >> {calls}\necho "{says}"\ntest "$1" != {fails_at} || exit 1\n')
    path.chmod(0o755)
    return path


def test_everything_is_pushed_then_signed_by_digest(place: Place, artifacts: Artifacts) -> None:
    """Both images and the chart are signed by the digest of the push, and the bill is attached to the operator."""
    pulled = publish(artifacts, registry=place.registry, programs=place.programs)
    host, _, path = place.registry.partition("/")
    chart = f"{place.registry}/charts/infpop@{digest_of(host, f'{path}/charts/infpop', __version__)}"
    operator, runner = (f"{place.registry}/infpop-{name}" for name in ("operator", "runner"))
    assert place.asked == [
        f"docker push {operator}:{__version__}",
        f"cosign sign --yes {operator}@{PUSHED}",
        f"docker push {runner}:{__version__}",
        f"cosign sign --yes {runner}@{PUSHED}",
        f"cosign attest --yes --type cyclonedx --predicate {artifacts.bill} {operator}@{PUSHED}",
        f"cosign sign --yes {chart}",
    ]
    assert pulled == (f"{operator}@{PUSHED}", f"{runner}@{PUSHED}", chart)
    assert sorted(place.uploads) == [artifacts.wheel.name, artifacts.source.name]


def test_the_published_chart_installs_the_published_images(place: Place, artifacts: Artifacts, tmp_path: Path) -> None:
    """A user who pulls the chart sets no image: its defaults are where the release put them."""
    publish(artifacts, registry=place.registry, programs=place.programs)
    helm("pull", f"oci://{place.registry}/charts/infpop", "--version", __version__, "--destination", str(tmp_path))
    text = helm("template", "infpop", str(tmp_path / f"infpop-{__version__}.tgz"), "--kube-version=1.34.0")
    for name in ("operator", "runner"):
        assert f"{place.registry}/infpop-{name}:{__version__}" in text


def test_nothing_reaches_the_index_if_a_signature_fails(place: Place, artifacts: Artifacts, tmp_path: Path) -> None:
    """The index takes a version once, so it comes last; the error has the command and what it said."""
    _program(tmp_path / "cosign", place.calls, says="no identity", fails_at="attest")
    with pytest.raises(ReleaseError, match=r"(?s)cosign attest .* failed:\nno identity"):
        publish(artifacts, registry=place.registry, programs=place.programs)
    assert place.uploads == []


def test_a_push_without_a_digest_is_not_signed(place: Place, artifacts: Artifacts, tmp_path: Path) -> None:
    """A tag can be moved between push and signature, so the signature never goes by tag."""
    _program(tmp_path / "docker", place.calls, says="pushed")
    with pytest.raises(ReleaseError, match="did not print the digest"):
        publish(artifacts, registry=place.registry, programs=place.programs)
    assert not [call for call in place.asked if call.startswith("cosign")]


def test_only_the_packaged_values_name_the_registry(artifacts: Artifacts, place: Place) -> None:
    """The checkout's values stay as they are, and the packaged ones keep their comments."""
    with tarfile.open(artifacts.chart) as archive:
        member = archive.extractfile("infpop/values.yaml")
        assert member is not None
        packaged = member.read().decode()
    values = (CHART / "values.yaml").read_text()
    assert packaged == with_images_in(place.registry, values)
    assert [line for line in packaged.splitlines() if "#" in line] == [
        line for line in values.splitlines() if "#" in line
    ]
    assert place.registry not in values


def test_only_the_repositories_of_the_images_change() -> None:
    """All other values are the checkout's."""
    values = (CHART / "values.yaml").read_text()
    before, after = yaml.safe_load(values), yaml.safe_load(with_images_in("registry.example.com/team", values))
    assert after["image"].pop("repository") == "registry.example.com/team/infpop-operator"
    assert after["runner"]["image"].pop("repository") == "registry.example.com/team/infpop-runner"
    del before["image"]["repository"], before["runner"]["image"]["repository"]
    assert json.dumps(after) == json.dumps(before)


@pytest.mark.parametrize(
    ("registry", "repository", "cosign", "sentence"),
    [
        ("", "https://example.com/x", "sh", "REGISTRY is missing. Name a registry and a path"),
        ("https://example.com/x", "https://example.com/x", "sh", "REGISTRY is 'https://example.com/x'"),
        ("example.com/x/", "https://example.com/x", "sh", "REGISTRY is 'example.com/x/'"),
        ("example.com/x", "", "sh", "REPOSITORY_URL is missing"),
        (
            "example.com/x",
            "https://example.com/x",
            "no-such-cosign",
            "COSIGN is 'no-such-cosign', which is not on the PATH",
        ),
    ],
)
def test_what_is_missing_is_said_before_anything_is_built(
    registry: str, repository: str, cosign: str, sentence: str
) -> None:
    """No place is assumed: each missing one is named, with what to write."""
    programs = Programs(uv=UV, helm="sh", builder="sh -c", cosign=cosign)
    (said,) = problems_of_place(registry, repository, programs)
    assert said.startswith(sentence)
    assert (
        problems_of_place(
            "localhost:5000/x", "https://example.com/x", Programs(uv=UV, helm="sh", builder="sh", cosign="sh")
        )
        == ()
    )
