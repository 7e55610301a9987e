"""Which images the chart's Pods and studies use, and what it says where none is named."""

import re

import pytest

from charts.boards import ROOT
from charts.helm import Document, HelmError, of_kind, rendered, template
from infpop_operator import __version__

pytestmark = pytest.mark.cluster  # needs no control plane, only helm, which is built with it
NO_IMAGES = "--set=image.repository=,runner.image.repository="


def test_without_images_the_refusal_has_the_commands_that_help() -> None:
    """No image is published: the chart names both values, how to build the images, and options that it accepts."""
    with pytest.raises(HelmError) as caught:
        template(images=NO_IMAGES)
    message = str(caught.value)
    assert "image.repository and runner.image.repository are empty, and no images are published" in message
    (build,) = re.findall(r"\(make (\S+) IMAGE_PREFIX=\S+\)", message)
    assert re.search(rf"^{build}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    options = [f"--set={each}" for each in re.findall(r"--set (\S+=registry\S+)", message)]
    documents = rendered(*options, images=NO_IMAGES)
    assert operators_image(documents) == f"registry.example.com/infpop-operator:{__version__}"
    assert runners_image(documents) == f"registry.example.com/infpop-runner:{__version__}"


def test_only_the_missing_image_is_asked_for() -> None:
    """A user who named one image reads about the other, and may do without the runner's."""
    with pytest.raises(HelmError, match=r"- runner\.image\.repository is empty") as caught:
        template("--set=runner.image.repository=")
    assert "--set image.repository" not in str(caught.value)
    (optional,) = re.findall(r"--set (\S+optional=true)", str(caught.value))
    assert runners_image(rendered("--set=runner.image.repository=", f"--set={optional}")) is None


def test_several_problems_are_said_at_once() -> None:
    """A user corrects everything before the next try."""
    values = {"prometheus": {"tokenKey": "token"}, "rbac": {"readNodes": False}, "podLabels": {"helm.sh/chart": "x"}}
    with pytest.raises(HelmError) as caught:
        template(values=values, images=NO_IMAGES)
    problems = re.findall(r"^- (\S+)", str(caught.value), flags=re.MULTILINE)
    assert problems == ["image.repository", "prometheus.secretName", "rbac.readNodes:", "podLabels:"]


@pytest.mark.parametrize(
    ("repository", "registry", "image"),
    [
        ("infpop-operator", "mirror.io", "mirror.io/infpop-operator"),
        ("team/op", "mirror.io/proxy/", "mirror.io/proxy/team/op"),
        ("registry.example.com/team/op", "mirror.io:5000", "mirror.io:5000/team/op"),
        ("localhost/op", "mirror.io", "mirror.io/op"),
        ("registry:5000/op", "", "registry:5000/op"),
    ],
)
def test_a_global_registry_holds_for_every_image(repository: str, registry: str, image: str) -> None:
    """It replaces the registry of the operator's image, of the runner's, and of those of `helm test`."""
    values: Document = {
        "global": {"imageRegistry": registry},
        "image": {"repository": repository, "tag": "1"},
        "runner": {"image": {"repository": repository, "digest": f"sha256:{'0' * 64}"}},
        "test": {"runnerImage": f"{repository}:2"},
    }
    documents = rendered(values=values)
    (watcher,), (study,) = of_kind(documents, "Pod"), of_kind(documents, "ThroughputStudy")
    assert operators_image(documents) == watcher["spec"]["containers"][0]["image"] == f"{image}:1"
    assert runners_image(documents) == f"{image}@sha256:{'0' * 64}"
    assert study["spec"]["engine"]["image"] == f"{image}:2"


def test_secrets_of_all_charts_are_used_beside_its_own() -> None:
    """`global.imagePullSecrets` has names or objects, as other charts write them; none is listed twice."""
    values = {"global": {"imagePullSecrets": ["all", {"name": "own"}]}, "imagePullSecrets": [{"name": "own"}]}
    documents = rendered(values=values)
    (deployment,), (watcher,) = of_kind(documents, "Deployment"), of_kind(documents, "Pod")
    (study,) = of_kind(documents, "ThroughputStudy")
    for part in (deployment["spec"]["template"]["spec"], watcher["spec"], study["spec"]["engine"]):
        assert part["imagePullSecrets"] == [{"name": "own"}, {"name": "all"}]


def operators_image(documents: list[Document]) -> str:
    """Return the image of the operator's container."""
    image: str = _container(documents)["image"]
    return image


def runners_image(documents: list[Document]) -> str | None:
    """Return the image for studies that name none."""
    values = {each["name"]: each["value"] for each in _container(documents)["env"]}
    return values.get("INFPOP_RUNNER_IMAGE")


def _container(documents: list[Document]) -> Document:
    (deployment,) = of_kind(documents, "Deployment")
    container: Document = deployment["spec"]["template"]["spec"]["containers"][0]
    return container
