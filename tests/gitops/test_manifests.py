"""The manifests for Argo CD and Flux name existing files, and values that the chart accepts."""

from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml

from charts.helm import CHART, of_kind, rendered
from gitops.judges import DEPLOY

pytestmark = pytest.mark.cluster  # needs no control plane, only helm, which is built with it
ROOT = DEPLOY.parent
IMAGE = "registry.example.com/infpop-operator:"


def documents(path: str) -> dict[str, dict[str, Any]]:
    """Return the specs of the documents of a file in deploy/, by kind and name."""
    found = yaml.safe_load_all((DEPLOY / path).read_text())
    return {f"{document['kind']} {document['metadata']['name']}": document.get("spec", {}) for document in found}


def image_of_the_operator(values_files: list[str], values: dict[str, Any]) -> str:
    """Return the image that the chart would run with these values."""
    deployments = of_kind(rendered(*(f"--values={file}" for file in values_files), values=values), "Deployment")
    image: str = deployments[0]["spec"]["template"]["spec"]["containers"][0]["image"]
    return image


def test_argo_cd_finds_the_chart_and_the_studies() -> None:
    """This covers paths, values files and values of both Applications."""
    applications = documents("argocd/application.yaml")
    source = applications["Application infpop"]["source"]
    assert ROOT / source["path"] == CHART
    files = [str(CHART / file) for file in source["helm"]["valueFiles"]]
    assert image_of_the_operator(files, source["helm"]["valuesObject"]).startswith(IMAGE)
    assert (DEPLOY / "repository" / applications["Application studies"]["source"]["path"]).is_dir()


def test_studies_that_come_before_their_kind_are_tried_again() -> None:
    """Without retries Argo CD would give up after three minutes and Flux wait ten; no order of applying is needed."""
    assert documents("argocd/application.yaml")["Application studies"]["syncPolicy"]["retry"]["limit"] < 0
    assert documents("flux/serving.yaml")["Kustomization studies"]["retryInterval"] == "1m"


def test_what_serves_may_wait_for_a_study() -> None:
    """The Deployment does not count as failed while its ConfigMap is missing, for at least two days."""
    (deployment,) = yaml.safe_load_all((DEPLOY / "repository" / "serving" / "codellama-7b.yaml").read_text())
    assert deployment["spec"]["progressDeadlineSeconds"] >= 2 * 24 * 3600


@pytest.mark.parametrize("folder", ["serving", "serving-flux"])
def test_what_serves_goes_where_runs_went(folder: str) -> None:
    """The Deployment tolerates the taints of GPU Nodes, as the runs did."""
    (deployment,) = yaml.safe_load_all((DEPLOY / "repository" / folder / "codellama-7b.yaml").read_text())
    job = yaml.safe_load((ROOT / "tests" / "adapters" / "kube" / "manifests" / "default.yaml").read_text())
    tolerated = [pod["template"]["spec"]["tolerations"] for pod in (deployment["spec"], job["spec"])]
    assert tolerated[0] == tolerated[1]


def test_flux_finds_the_chart() -> None:
    """This covers paths, values files and values of the HelmRelease, and its source."""
    given = documents("flux/infpop.yaml")
    release = given["HelmRelease infpop"]
    chart = release["chart"]["spec"]
    assert ROOT / chart["chart"] == CHART
    assert release["releaseName"] == "infpop"  # as in docs/install.md, whose commands name it and its objects
    files = [str(ROOT / file) for file in chart["valuesFiles"]]
    assert image_of_the_operator(files, release["values"]).startswith(IMAGE)
    assert f"GitRepository {chart['sourceRef']['name']}" in given


@pytest.mark.parametrize("name", ["studies", "codellama-7b"])
def test_flux_finds_what_it_applies(name: str) -> None:
    """This covers the paths of both Kustomizations, and their source."""
    given = documents("flux/serving.yaml")
    kustomization = given[f"Kustomization {name}"]
    assert (DEPLOY / "repository" / PurePosixPath(kustomization["path"])).is_dir()
    assert f"GitRepository {kustomization['sourceRef']['name']}" in given
